"""A host of sessions and all that it stands on, made up: claims and store in memory, a clock of the test's."""

import asyncio
from collections.abc import AsyncIterator, Callable
from contextlib import asynccontextmanager, suppress
from pathlib import Path

from agent_node.run.slots import RunSlots
from agent_node.session.host import Host
from agent_node.session.session import Session
from agent_node.settings import NodeSettings
from agentring.agent import AgentEvent, Context
from agentring.errors import NodeFenced, SessionNotFound
from agentring.ids import SessionRef, parse_session
from agentring.v1 import session_pb2
from harness.clock import FakeClock
from harness.premises import FakeClaims, Stage, environment
from harness.read_events import read
from harness.stores import RecordingStore

REF = parse_session("", "s")
OTHER = parse_session("", "other")


class Unusual(BaseException):
    """Neither an Exception nor one of Python's own."""


class HostedNode:
    """A node, as far as it hosts sessions."""

    def __init__(self, tasks: asyncio.TaskGroup, directory: Path, **settings: float) -> None:
        self.clock = FakeClock()
        self.claims = FakeClaims()
        self.stage = Stage()
        self.env = environment(self.clock)
        self.tombstone_s = settings.get("tombstone_s", 0.0)
        self.max_sessions = settings.get("max_sessions", 100)
        self.asked_for_capacity = asyncio.Event()
        self.capacity_known = asyncio.Event()
        """Cleared: whether another session may be taken is not known before it is set."""
        self.capacity_known.set()
        self.store = RecordingStore()
        agents = {"held": self.stage.held, "failing": self.stage.failing, "unusual": self._unusual}
        self.host = Host(
            self.env,
            self.claims.as_claims,
            self.store,
            agents,
            self.clock,
            NodeSettings.model_validate({"node_id": "n1", "data_dir": directory, **settings}),
            RunSlots(10, 10),
            tasks,
            self._takes_new,
        )

    async def _takes_new(self, sessions: Callable[[], int], _agent: str) -> bool:
        self.asked_for_capacity.set()
        await self.capacity_known.wait()
        return sessions() < self.max_sessions

    async def _unusual(self, _ctx: Context) -> AsyncIterator[AgentEvent]:
        yield "text"
        raise Unusual

    async def until_forgotten(self, ref: SessionRef) -> None:
        """Returns once the host does not own the session any more."""
        with suppress(SessionNotFound):
            while await self.host.find(ref):  # noqa: ASYNC110  nothing says that a session was given up
                await asyncio.sleep(0)


@asynccontextmanager
async def hosting(directory: Path, **settings: float) -> AsyncIterator[HostedNode]:
    """A node at work; it is fenced at the end. settings: where they are not the defaults."""
    async with asyncio.timeout(20), asyncio.TaskGroup() as tasks:
        node = HostedNode(tasks, directory, **settings)
        yield node
        node.host.drop_all(NodeFenced())


def text_input(text: str = "hi") -> session_pb2.Input:
    return session_pb2.Input(text=text)


async def until_ended(session: Session, turn_id: str) -> str:
    """The kind of the turn's last event."""
    woken = asyncio.Event()
    session.log.subscribe(woken)
    while (end_seq := session.turn(turn_id).end_seq) is None:
        woken.clear()
        await woken.wait()
    session.log.unsubscribe(woken)
    _, (event,) = read(session.log, end_seq - 1, end_seq)
    return str(event.WhichOneof("body"))
