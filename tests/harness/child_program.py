"""A program that runs agents in child processes, all at the same time, and prints how each run ended, a
JSON line a run. Processes are forked here, not in the process of the tests.

`python -m harness.child_program all`: every run of RUNS; `… held` and `… blocked`: one that goes on until the program
is killed, and one that never lets its event loop turn; the line then says which processes there are; `… late`: one
whose node stands still beyond its lease, and then goes on."""

import asyncio
import json
import sys
import time
from collections.abc import Awaitable, Callable
from hashlib import sha256
from pathlib import Path
from typing import Any, cast

from agent_node.agents.registry import LoadedAgents
from agent_node.child_process import child
from agent_node.child_process import fork_server as forking
from agent_node.child_process.runs import ChildRuns
from agent_node.events.log import EventLog
from agent_node.events.whole_log import all_events, text_of
from agent_node.once.steps import Once
from agent_node.run.agent_run import run_agent
from agent_node.run.environment import RunEnvironment, TurnLimits
from agent_node.run.outcome import Failed
from agent_node.run.run_input import TurnInput
from agent_node.run.time_limit import PausableDeadline
from agent_node.store.once_records import OnceCaller
from agentring import log
from agentring.agent import OnceFailed
from agentring.ids import Epoch, Incarnation, NodeId, parse_session, parse_task
from agentring.plain_json import to_value
from agentring.process.entry import drive
from agentring.process.owned_loop import OwnedLoop
from agentring.v1 import session_pb2
from harness.child_agents import AGENTS
from harness.clock import FakeClock
from harness.ending import ENDS, WAYS
from harness.premises import lease_on
from harness.sessions import ListedAudit, kind_of

BLOCKED_S = 2.0


EPOCH = Epoch(7)


FENCED_AFTER_S = 8.0
"""Of a lease as lease_on makes it."""


class Answering:
    """Somebody who answers at once."""

    async def ask(
        self, ordinal: int, question: session_pb2.InputRequired, tell: Callable[[str], None], time: PausableDeadline
    ) -> session_pb2.Input:
        tell(f"t.{ordinal}")
        if question.prompt == "answered late":
            await asyncio.wait([asyncio.create_task(asyncio.sleep(0.4))])
        if question.prompt == "never answered":
            await asyncio.Event().wait()
        return session_pb2.Input(text=f"yes to {question.prompt} {dict(question.schema)}")


class Files:
    """One file's content; what is put is kept there."""

    def __init__(self) -> None:
        self.kept = {bytes(32): b"content"}

    async def read_file(self, digest: bytes) -> bytes:
        return self.kept[digest]

    async def put_file(self, data: bytes) -> bytes:
        digest = sha256(data).digest()
        self.kept[digest] = data
        return digest

    async def past_events(self, before_seq: int | None, span: int) -> tuple[bool, list[bytes]]:
        accepted = session_pb2.TurnAccepted(input=session_pb2.Input(text="before"))
        events = [
            session_pb2.Event(seq=1, turn_id="p", turn_accepted=accepted),
            session_pb2.Event(seq=2, turn_id="p", turn_completed=session_pb2.TurnCompleted()),
        ]
        return False, [each.SerializeToString() for each in events]


PARTS = session_pb2.Input(
    parts=[
        session_pb2.Part(text="hi"),
        session_pb2.Part(file=session_pb2.BlobRef(sha256=bytes(32), size_bytes=7, media_type="text/plain")),
        session_pb2.Part(json=to_value({"n": 4})),
    ]
)


class Steps:
    """Calls every step, and remembers how it ended."""

    def __init__(self) -> None:
        self.ended: list[list[str]] = []

    async def call(
        self,
        caller: OnceCaller,
        key: str,
        function: Callable[..., Awaitable[Any]],
        *,
        timeout_s: float,
        idempotent: bool,
        publish_unknown: Callable[[], None],
        in_child: bool = False,
        may_run: Callable[[], Awaitable[None]],
    ) -> Any:
        try:
            await may_run()
            result = await function(idempotency_key=f"once/{key}", fencing_token=9)
        except BaseException as error:
            self.ended.append([key, type(error).__name__])
            if isinstance(error, asyncio.CancelledError):
                publish_unknown()
                raise
            raise OnceFailed(key, type(error).__name__, str(error)) from error
        self.ended.append([key, "done"])
        return result


class Bench:
    """What a run stands on."""

    def __init__(
        self,
        children: ChildRuns | None,
        agent: str,
        *,
        timeout_s: float = 60.0,
        grace_s: float = 0.2,
        lease_s: float = FENCED_AFTER_S,
    ) -> None:
        """lease_s: how long after the node's last sign of life its lease is over."""
        self.steps = Steps()
        self.files = Files()
        self.clock = FakeClock()
        limits = TurnLimits(timeout_s, 1 << 20, 1 << 16, cancel_grace_s=grace_s)
        self.env = RunEnvironment(
            NodeId("n1"),
            lease_on(self.clock),
            ListedAudit(),
            limits,
            Incarnation(1),
            cast(Once, self.steps),
            children,
        )
        self.clock.advance(FENCED_AFTER_S - lease_s)
        self.agent = agent
        self.log = EventLog(EPOCH, 1 << 20)

    async def run(self, *, as_task: bool = False, **data: Any) -> dict[str, Any]:
        turn = TurnInput(
            ref=parse_task("", "k") if as_task else parse_session("", "s"),
            turn_id="" if as_task else "t",
            attempt=2,
            text="hi",
            data=data,
            state_json='{"was": 1}',
            history=(),
            turn_number=1,
            questions=None if as_task else Answering(),
            parts=PARTS.SerializeToString(),
            records=lambda: self.files,
            agent=self.agent,
            deaths=1,
        )
        outcome = await run_agent(self.env, AGENTS[self.agent], turn, self.log, EPOCH)
        seen: dict[str, Any] = {
            "events": [kind_of(event) for event in all_events(self.log)],
            "text": text_of(all_events(self.log)),
            "steps": self.steps.ended,
            "tools": [
                [event.tool_result.name, event.tool_result.reason]
                for event in all_events(self.log)
                if event.HasField("tool_result")
            ],
            "files": sorted(data.decode() for data in self.files.kept.values()),
        }
        if isinstance(outcome, Failed):
            return seen | {"reason": outcome.reason}
        return seen | {
            "state": outcome.state_json,
            "said": outcome.text,
            "result": json.dumps(dict(outcome.result or {}), default=str, sort_keys=True),
        }


def runs(children: ChildRuns) -> dict[str, Awaitable[Any]]:
    """All of them, by name."""

    def ends(as_task: bool, end: str, way: str, **data: Any) -> Awaitable[Any]:
        return Bench(children, "ending").run(as_task=as_task, end=end, way=way, **data)

    found: dict[str, Awaitable[Any]] = {}
    for way in WAYS:
        for end in ends_by(way):
            found[f"{end} {way}"] = ends(as_task=False, end=end, way=way)
    found |= {f"{end} as a task": ends(True, end, "") for end in ("exits", "blocks")}
    found |= {f"{end} in a step": ends(False, end, "", step="k") for end in ("exits", "blocks")}
    found["exits in a step that must not run twice"] = ends(False, "exits", "", step="k", idempotent=False)
    found |= {f"{end} in a tool": ends(False, end, "", tool="look_up") for end in ("is killed", "blocks")}
    found |= {
        agent: Bench(children, agent).run() for agent in ("raising", "exiting", "signalled", "pooling", "unopened")
    }
    for agent in ("everything", "changing_its_mind"):
        found[agent] = Bench(children, agent).run()
        found[f"{agent} as on the node"] = Bench(None, agent).run()
    found["late"] = Bench(children, "waiting", timeout_s=0.2).run()
    found["late and stubborn"] = Bench(children, "stubborn", timeout_s=0.2).run()
    found |= {f"cancelled {agent}": cancelled(children, agent) for agent in ("waiting", "stubborn", "undoing")}
    return found


def ends_by(way: str) -> list[str]:
    """A thread that blocks blocks nobody."""
    return [end for end in ENDS if (end, way) != ("blocks", "in a thread")]


async def cancelled(children: ChildRuns, agent: str) -> dict[str, Any]:
    bench = Bench(children, agent, grace_s=60.0 if agent == "undoing" else 0.2)
    running = asyncio.create_task(bench.run())
    pid, _ = await said(bench)
    running.cancel()
    await asyncio.wait([running])
    while is_there(pid):  # noqa: ASYNC110  else the test's time is over
        await asyncio.sleep(0.01)
    results = [event.tool_result for event in all_events(bench.log) if event.HasField("tool_result")]
    return {"cancelled": running.cancelled(), "undone": [each.result.string_value or each.reason for each in results]}


async def said(bench: Bench) -> list[int]:
    """The processes that the agent says."""
    while not text_of(all_events(bench.log)):  # noqa: ASYNC110  it is said once
        await asyncio.sleep(0.01)
    return [int(pid) for pid in text_of(all_events(bench.log)).split()]


def is_there(pid: int) -> bool:
    return Path(f"/proc/{pid}").exists()


async def main(children: ChildRuns, mode: str) -> None:
    if mode != "all":
        bench = Bench(children, "blocking" if mode == "blocked" else "waiting", lease_s=2.0)
        running = asyncio.create_task(bench.run())
        print(json.dumps(await said(bench)), flush=True)
        if mode == "late":
            time.sleep(4.0)  # noqa: ASYNC251  that is what it is for
            bench.clock.advance(4.0)
        await asyncio.wait([running])
        print(json.dumps(type(running.exception()).__name__), flush=True)
        return

    async def one(name: str, run: Awaitable[Any]) -> None:
        print(json.dumps([name, await run]), flush=True)

    async with asyncio.TaskGroup() as group:
        for name, run in runs(children).items():
            group.create_task(one(name, run))


LOADED = LoadedAgents(AGENTS, (), {"pooling": "its settings"})

if __name__ == "__main__":
    forker = forking.start(lambda: lambda connection: child.serve(connection, LOADED, "info"))
    assert forker is not None
    log.configure("info")
    with asyncio.Runner(loop_factory=OwnedLoop) as runner:
        blocked_s = BLOCKED_S if sys.argv[1] == "all" else 600.0
        drive(runner.get_loop(), main(ChildRuns(forker, blocked_s), sys.argv[1]))
