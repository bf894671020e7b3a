"""One session without a host: its runner is a task of the test's, everything that it stands on is made up."""

import asyncio
from collections.abc import AsyncIterator, Callable
from contextlib import asynccontextmanager
from dataclasses import replace

from agent_node.audit import Transition
from agent_node.quota.quota import Quota
from agent_node.run.environment import ChildRunner, RunEnvironment, TurnLimits
from agent_node.run.slots import RunSlots
from agent_node.session.session import Session
from agent_node.store import Ownership, StoredSession, StoredTurn
from agent_node.store.published import still_valid
from agent_node.store.step_records import Life
from agentring.agent import Agent, AgentEvent, Context
from agentring.cluster.claim import Claim
from agentring.errors import NodeDraining, NodeFenced
from agentring.ids import Epoch, Incarnation, NodeId, Revision, SessionRef, TaskRef, parse_session
from agentring.v1 import session_pb2
from agentring.v1.session_pb2 import ON_BUSY_ENQUEUE, Event
from harness.clock import PATIENCE_S, FakeClock
from harness.premises import lease_on
from harness.read_events import read
from harness.stores import RecordingStore

REF = parse_session("", "s")
EPOCH = Epoch(7)
GRACE_S = 0.02
"""How long an agent of these tests may take to end."""


class ListedAudit:
    """An audit log in memory: the transitions, each with its turn or an empty string."""

    def __init__(self) -> None:
        self.incarnation = Incarnation(0)
        self.lines: list[tuple[str, str]] = []

    def write(self, event: Transition, ref: SessionRef | TaskRef | None = None, **fields: str | int) -> None:
        self.lines.append((event, str(fields.get("turn", ""))))


class Actor:
    """A session, its store, its clock and its runner."""

    def __init__(
        self,
        tasks: asyncio.TaskGroup,
        agent: Agent,
        stored: StoredSession,
        store: RecordingStore,
        *,
        mailbox_size: int,
        child_runs: ChildRunner | None = None,
        quota: Quota | None = None,
    ) -> None:
        self.clock = FakeClock()
        self.audit = ListedAudit()
        self.store = store
        limits = TurnLimits(PATIENCE_S, 1 << 20, 1 << 16, cancel_grace_s=GRACE_S)
        self.env = RunEnvironment(
            NodeId("n1"), lease_on(self.clock), self.audit, limits, Incarnation(1), child_runs=child_runs, quota=quota
        )
        self.owner = self.env.ownership(REF, stored.epoch)
        self.session = Session(
            self.env,
            store,
            stored,
            Claim(REF, stored.epoch, Revision(stored.epoch)),
            agent,
            RunSlots(10, 10),
            tasks,
            mailbox_size=mailbox_size,
            max_log_bytes=1 << 20,
            max_stored_log_bytes=1 << 20,
        )
        self.failure: Exception | None = None
        """What `run` raised."""
        self.runner = tasks.create_task(self._run())

    async def _run(self) -> None:
        try:
            await self.session.run()
        except Exception as error:
            self.failure = error

    async def submit(
        self, turn_id: str, text: str = "hi", on_busy: session_pb2.OnBusy.ValueType = ON_BUSY_ENQUEUE
    ) -> bool:
        """Whether the turn is new."""
        return (await self.session.submit(turn_id, session_pb2.Input(text=text), on_busy))[1]

    async def until_ended(self, *turn_ids: str) -> list[str]:
        """How the turns ended: the kinds of their last events."""
        await self.until(lambda: all(self.session.turn(each).end_seq is not None for each in turn_ids))
        last = {event.turn_id: kind_of(event) for event in self.events() if event.turn_id}
        return [last[each] for each in turn_ids]

    async def until(self, found: Callable[[], bool]) -> None:
        """Returns once something holds that comes with an event or with the log's end."""
        woken = asyncio.Event()
        self.session.log.subscribe(woken)
        try:
            while not found():
                woken.clear()
                await woken.wait()
        finally:
            self.session.log.unsubscribe(woken)

    def events(self) -> list[Event]:
        """All that the log has."""
        seq, events = 0, []
        while seq < self.session.log.head_seq:
            seq, more = read(self.session.log, seq)
            events += more
        return events

    @property
    def kinds(self) -> list[str]:
        """Kinds and turns of all events, as `turn_started a`."""
        return [f"{kind_of(event)} {event.turn_id}" for event in self.events()]

    async def drain(self, timeout_s: float) -> None:
        """As a host that drains."""
        await self.session.settle(timeout_s)
        await self.session.hand_on()
        self.session.drop(NodeDraining())

    def drop(self) -> None:
        """As a host at the fence."""
        self.session.drop(NodeFenced())
        self.runner.cancel()


async def _with_published(store: RecordingStore, turn: StoredTurn) -> StoredTurn:
    """As a durable store activates it."""
    if turn.state != session_pb2.TURN_STATE_RUNNING:
        return turn
    return replace(turn, published=still_valid(await store.steps.read_published(Life(REF.tenant, turn.life_id))))


@asynccontextmanager
async def acting(
    agent: Agent,
    *,
    store: RecordingStore | None = None,
    mailbox_size: int = 10,
    epoch: Epoch = EPOCH,
    lost: bool = False,
    child_runs: ChildRunner | None = None,
    quota: Quota | None = None,
) -> AsyncIterator[Actor]:
    """A session of `agent` at work; it is dropped at the end. Its next owner is another one, of a higher epoch. lost:
    its last owner gave nothing up."""
    store = store or RecordingStore()
    async with asyncio.timeout(PATIENCE_S), asyncio.TaskGroup() as tasks:
        stored = await store.memory.activate(Ownership(REF, epoch, "n1/1"), "agent")
        turns = {turn.turn_id: await _with_published(store, turn) for turn in stored.turns.values()}
        stored = replace(stored, was_released=not lost, turns=turns)
        actor = Actor(tasks, agent, stored, store, mailbox_size=mailbox_size, child_runs=child_runs, quota=quota)
        try:
            yield actor
        finally:
            actor.drop()


def kind_of(event: Event) -> str:
    return str(event.WhichOneof("body"))


async def quick(ctx: Context) -> AsyncIterator[AgentEvent]:
    """An agent that counts its turns and says its input."""
    ctx.state["turns"] = ctx.state.get("turns", 0) + 1
    yield ctx.input_text


async def hang_up(call: "asyncio.Task[object]") -> None:
    """Cancels a call as a client does that hangs up."""
    call.cancel()
    await asyncio.wait([call])
    assert call.cancelled()
