"""The agent of a ClusterTest, on a node: notes what its steps do, and kills the node where the test wants.

Imported by nodes alone, as `agentring.testing.hosted:agent`; what it is to host stands in the environment. Notes are
lines of JSON in a file; a plan is a file that is gone once the node dies of it.
"""

import inspect
import json
import os
import signal
import traceback
from collections.abc import AsyncIterator, Callable
from importlib import import_module
from pathlib import Path
from typing import Any

from agent_node.step.typed import as_json
from agentring.agent import AgentEvent, Context, StepFailed, StepUnknown
from agentring.agent.declaration import DeclaredAgent, options_of

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
        context: Any = ctx  # the node's own RunContext
        context.step = run.step
        try:
            async for event in self._agent(ctx):
                yield event
        except Exception as error:
            run.note("raised", [type(error).__name__, str(error), traceback.format_exc()])
            raise
        run.note("state", as_json(ctx.state))
        run.die_at("end", 1)


class HostedRun:
    """One attempt."""

    def __init__(self, ctx: Context[Any], directory: Path) -> None:
        self._ctx = ctx
        self._directory = directory
        self._step = ctx.step
        self._count = 0

    async def step(self, name: str, function: Callable[..., Any], /, *args: Any, **how: Any) -> Any:
        """As Context.step."""
        self._count += 1
        number = self._count
        self.note("step", [number, name])
        try:
            value = await self._step(name, _Called(function, self, number), *args, **how)
        except StepFailed as error:
            self.note("failed", [number, [error.type_name, error.text]])
            self.die_at("recorded", number)
            raise
        except StepUnknown:
            self.note("unknown", [number, None])
            raise
        self.note("completed", [number, as_json(value)])
        self.die_at("recorded", number)
        return value

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


class _Called:
    """A step's function, with its signature, which says what the step hands to it."""

    def __init__(self, function: Callable[..., Any], run: HostedRun, number: int) -> None:
        self._function = function
        self._run = run
        self._number = number
        self.__signature__ = inspect.signature(function)

    async def __call__(self, *args: Any, **kwargs: Any) -> Any:
        self._run.die_at("begin", self._number)
        self._run.note("called", self._number)
        value = await self._function(*args, **kwargs)
        self._run.die_at("called", self._number)
        return value


def _hosted() -> HostedAgent:
    module, _, name = os.environ[AGENT].partition(":")
    return HostedAgent(getattr(import_module(module), name), Path(os.environ[DIRECTORY]), json.loads(os.environ[STATE]))


agent = _hosted() if AGENT in os.environ else None
