"""ClusterTest: the body of an AgentTest on a real local cluster, over the client, with nodes that are killed."""

import asyncio
import json
import os
import sys
import tempfile
from collections.abc import Callable, Mapping
from contextlib import AsyncExitStack
from dataclasses import replace
from pathlib import Path
from typing import Any

from agentring.agent import Agent, JsonObject
from agentring.client.events import Event, InputRequired, Question
from agentring.client.ring import Ring, connect
from agentring.client.session import Turn as TurnStream
from agentring.client.turn_stream import RunStream
from agentring.testing.answering import Answers, Reply, check_end
from agentring.testing.cluster_notes import RunNotes
from agentring.testing.cut_plans import AtNth, plan_of
from agentring.testing.ended_turn import Turn, turn_of
from agentring.testing.errors import QuestionUnanswered, TurnTimeout
from agentring.testing.hosted import AGENT, DIRECTORY, PLANS, STATE
from agentring.testing.step_log import StepLog

_COMMAND = (sys.executable, "-m", "agentring.cli")
_HOSTED = "agent=agentring.testing.hosted:agent"
_LEASE_S = 2
_WAIT_S = 60.0


class ClusterTest:
    """As AgentTest, which makes it: `AgentTest.cluster`. Resource handling: `async with`.

    async with AgentTest.cluster(counter) as t:
        assert (await t.turn("hi")).result == {"turns": 1}
    """

    def __init__(self, agent: Agent, *, state: Mapping[str, Any] | None, nodes: int, data_dir: Path | None) -> None:
        """As AgentTest.cluster."""
        module, name = getattr(agent, "__module__", "__main__"), getattr(agent, "__qualname__", "<locals>")
        if module == "__main__" or not name.isidentifier():
            raise ValueError(f"nodes import the agent, so a module must define it, by its name: not {module}:{name}")
        self.state: JsonObject = json.loads(json.dumps(dict(state or {}), allow_nan=False))
        """As AgentTest.state."""
        self._agent = f"{module}:{name}"
        self._nodes = nodes
        self._data_dir = data_dir
        self._directory = Path()
        self._answers = Answers()
        self._count = self._planned = 0
        self._stack = AsyncExitStack()
        self._ring: Ring

    async def __aenter__(self) -> "ClusterTest":
        async with AsyncExitStack() as stack:
            data_dir = self._data_dir
            if data_dir is None:
                data_dir = Path(stack.enter_context(tempfile.TemporaryDirectory(prefix="agentring-")))
            self._directory = data_dir / "testing"
            (self._directory / PLANS).mkdir(parents=True, exist_ok=True)
            stack.push_async_callback(self._run, "down", "--data-dir", str(data_dir))
            await self._run(
                *("up", "--detach", "--nodes", str(self._nodes), "--port", "0", "--data-dir", str(data_dir)),
                *("--lease-ttl-s", str(_LEASE_S), "--agent", _HOSTED),
            )
            routers = json.loads((data_dir / "cluster.json").read_text())["router"]
            self._ring = await stack.enter_async_context(connect(routers[0]))
            self._stack = stack.pop_all()
        return self

    async def __aexit__(self, *_: object) -> None:
        await self._stack.aclose()

    async def turn(
        self, text: str = "", *, data: JsonObject | None = None, fails: str = "", timeout_s: float = _WAIT_S
    ) -> Turn:
        """As AgentTest.turn."""
        self._count += 1
        session = self._ring.session("test", agent="agent")
        stream = session.send(text, data=data, turn_id=f"turn-{self._count}")
        turn = await self._to_its_end(stream, f"/session/test/turn-{self._count}", timeout_s)
        if not turn.failure:
            self.state = turn.state
        check_end(turn, f"the turn {text!r}", fails, self._missed())
        return turn

    async def task(
        self, key: str, text: str = "", *, data: JsonObject | None = None, fails: str = "", timeout_s: float = _WAIT_S
    ) -> Turn:
        """As AgentTest.task."""
        stream = self._ring.task(key, agent="agent", text=text, data=data)
        turn = await self._to_its_end(stream, f"/task/{key}", timeout_s)
        check_end(turn, f"the task {key}", fails, self._missed())
        return replace(turn, state={})

    def answers(self, *answers: Reply | Callable[[Question], Reply]) -> None:
        """As AgentTest.answers."""
        self._answers.add(answers)

    def crash(
        self,
        *,
        before_step: int | None = None,
        in_step: int | None = None,
        after_step: int | None = None,
        at_end: bool = False,
    ) -> None:
        """As AgentTest.crash: the process of the node is killed."""
        plan = plan_of(before_step, in_step, after_step, None, at_end=at_end)
        place = f"{plan.kind}-{plan.nth if isinstance(plan, AtNth) else plan.step}"
        self._planned += 1
        (self._directory / PLANS / f"{self._planned:06}-{place}").touch()

    async def _to_its_end(self, stream: RunStream, run: str, timeout_s: float) -> Turn:
        events: list[Event] = []
        try:
            async with asyncio.timeout(timeout_s), stream:
                async for event in stream:
                    events.append(event)
                    if isinstance(event, InputRequired) and isinstance(stream, TurnStream):
                        await self._reply(stream, event)
        except TimeoutError:
            raise TurnTimeout(f"not ended after {timeout_s:g} s; its last event was {events[-1:]}") from None
        notes = RunNotes(self._directory, f"default{run}")
        cuts = ["as planned"] * (max((event.attempt for event in events), default=1) - 1)
        state = notes.state
        turn = turn_of(events, StepLog(), state=self.state if state is None else state, cuts=cuts, error=notes.error)
        return replace(turn, steps=notes.steps(turn.attempts), state=self.state if turn.failure else turn.state)

    async def _reply(self, stream: TurnStream, event: InputRequired) -> None:
        answer = self._answers(Question(event.turn_id, event.input_id, event.prompt, event.schema))
        if answer is None:
            await stream.cancel()
            raise QuestionUnanswered(
                f"the agent asks {event.prompt!r}, and the test has no answer: call t.answers(...) before the turn"
            )
        await stream.reply(event.input_id, answer.text, data=answer.data or None)

    def _missed(self) -> str:
        plans = sorted((self._directory / PLANS).iterdir())
        for plan in plans:
            plan.unlink()
        return ", ".join(plan.name.partition("-")[2] for plan in plans)

    async def _run(self, *words: str) -> None:
        env = {
            **os.environ,
            "PYTHONPATH": os.pathsep.join(path for path in sys.path if path),
            AGENT: self._agent,
            DIRECTORY: str(self._directory.absolute()),
            STATE: json.dumps(self.state),
        }
        process = await asyncio.create_subprocess_exec(
            *_COMMAND, *words, env=env, stdout=asyncio.subprocess.PIPE, stderr=asyncio.subprocess.STDOUT
        )
        out, _ = await process.communicate()
        if process.returncode:
            raise RuntimeError(f"agentring {words[0]}: {out.decode()}")
