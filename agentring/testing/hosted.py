"""The agent of a ClusterTest, on a node: notes what its steps do, and kills the node where the test wants.

Imported by nodes alone, as `agentring.testing.hosted:agent`; what it is to host stands in the environment. Notes are
lines of JSON in a file; a plan is a file that is gone once the node dies of it.
"""

import json
import os
import signal
import traceback
from collections.abc import AsyncIterator, Callable, Sequence
from importlib import import_module
from pathlib import Path
from typing import Any, cast

from agent_node.step.journal import QUESTION
from agent_node.step.typed import as_json
from agent_node.store.step_records import StepState, StoredStep
from agentring.agent import AgentEvent, Context
from agentring.agent.declaration import DeclaredAgent, options_of
from agentring.testing.life import Life
from agentring.testing.step_log import StepLog, WatchedSteps

AGENT, DIRECTORY, STATE = "AGENTRING_TESTING_AGENT", "AGENTRING_TESTING_DIRECTORY", "AGENTRING_TESTING_STATE"
"""Variables: which agent, as module:name; where notes and plans are; the session's first state, as JSON."""
NOTES = "notes.jsonl"
PLANS = "plans"


class HostedAgent(DeclaredAgent):
    """An Agent in front of another, declared as that is."""

    def __init__(self, agent: Any, directory: Path, state: dict[str, Any]) -> None:
        self._agent = agent
        self._directory = directory
        self._state = state
        self.options = options_of(agent)
        self.__name__ = "agent"

    async def __call__(self, ctx: Context[Any], /) -> AsyncIterator[AgentEvent]:
        """As the agent."""
        run = HostedRun(ctx, self._directory)
        if self._state and ctx.turn_number == 1 and type(ctx.state) is dict:
            ctx.state.update(self._state)
        run.watch_steps()
        try:
            async for event in self._agent(ctx):
                yield event
        except Exception as error:
            run.note("raised", [type(error).__name__, str(error), traceback.format_exc()])
            raise
        run.note("state", as_json(ctx.state))
        run.die_at("end", 1)


class HostedRun:
    """One attempt; stands for the Life of a node in the test's process."""

    def __init__(self, ctx: Context[Any], directory: Path) -> None:
        self._ctx = ctx
        self._directory = directory
        self._log = StepLog()
        self.where_in_step: Callable[[], str] = lambda: ""

    def watch_steps(self) -> None:
        """From here on the run's steps are noted: before the first one begins."""
        run_input = cast(Any, self._ctx)._turn  # of the node's own RunContext
        make = run_input.steps
        run_input.steps = lambda: _NotedSteps(make(), self._log, cast(Life, self))

    async def pass_point(self, kind: str, describe: Callable[[], str], number: int) -> None:
        """As Life."""
        step = next(each for each in self._log.steps.values() if each.number == number)
        if kind == "recorded" and step.row is not None:
            outcome = "failed" if step.row.state == StepState.FAILED else step.row.state.name.lower()
            self.note("ended", [number, step.name, step.depth, outcome, self._log.value_of(step.row)])
        self.die_at(kind, number)
        if kind == "begin":
            self.note("called", [number, step.name, step.depth])

    def note(self, what: str, value: Any) -> None:
        """Adds a line to the notes."""
        line = {"run": self._ctx.idempotency_key, "attempt": self._ctx.attempt, "what": what, "value": value}
        with (self._directory / NOTES).open("a") as notes:
            notes.write(json.dumps(line) + "\n")

    def die_at(self, kind: str, number: int) -> None:
        """Kills the node if the next plan is for this place."""
        plans = sorted((self._directory / PLANS).iterdir())
        if plans and plans[0].name.partition("-")[2] == f"{kind}-{number}":
            plans[0].unlink()
            os.kill(os.getpid(), signal.SIGKILL)


class _NotedSteps(WatchedSteps):
    async def read(self, after_ordinal: int) -> Sequence[StoredStep]:
        """Earlier attempts' steps keep their numbers."""
        rows = await super().read(after_ordinal)
        for row in rows:
            if row.state not in (StepState.NOTED, StepState.ENDING) and row.name != QUESTION:
                self._log.seen(row)
        return rows


def _hosted() -> HostedAgent:
    module, _, name = os.environ[AGENT].partition(":")
    return HostedAgent(getattr(import_module(module), name), Path(os.environ[DIRECTORY]), json.loads(os.environ[STATE]))


agent = _hosted() if AGENT in os.environ else None
