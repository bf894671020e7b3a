"""The sessions that this incarnation of the node owns: activates, finds, drains and drops them.

Guarantees: one Session per name, made only after its claim; a session that another node holds is answered with
NotOwner, also where this node would refuse a new one; after `drop_all` no session of this incarnation writes
anything. Called by the session service; owned by the incarnation."""

import asyncio
from collections.abc import Awaitable, Callable, Mapping
from functools import partial

import structlog

from agent_node.quota.holds import ANYBODY, Asking, Holds
from agent_node.quota.quota import Held
from agent_node.run.environment import RunEnvironment
from agent_node.run.slots import RunSlots
from agent_node.session.activation import Activator
from agent_node.session.hand_off import hand_off
from agent_node.session.session import Session
from agent_node.settings import NodeSettings
from agent_node.single_flight import SingleFlight
from agent_node.store import Store, StoredSession
from agentring.agent import Agent
from agentring.cluster.claim import Claim, Claims
from agentring.cluster.clock import Clock
from agentring.errors import (
    AgentRequired,
    AgentringError,
    InternalError,
    NodeDraining,
    NodeFenced,
    NodeOverloaded,
    SessionClosed,
    SessionNotFound,
    StaleEpoch,
)
from agentring.ids import Epoch, SessionRef
from agentring.log import SUBJECT

_log = structlog.get_logger()


class Host:
    """Sessions by name."""

    def __init__(
        self,
        env: RunEnvironment,
        claims: Claims,
        store: Store,
        agents: Mapping[str, Agent],
        clock: Clock,
        settings: NodeSettings,
        slots: RunSlots,
        tasks: asyncio.TaskGroup,
        admit: Callable[[Callable[[], int], str], Awaitable[bool]],
    ) -> None:
        """slots: the node's; tasks: owns the sessions' runners; admit: whether the node, having so many sessions,
        takes another of an agent (Admission.admit)."""
        self._admit = admit
        self._activator = Activator(env, claims, store)
        self._env = env
        self._claims = claims
        self._store = store
        self._agents = agents
        self._clock = clock
        self._settings = settings
        self._slots = slots
        self._tasks = tasks
        self._sessions: dict[SessionRef, Session] = {}
        self._departures: SingleFlight[SessionRef, None] = SingleFlight(tasks)
        self._closings: SingleFlight[SessionRef, Epoch] = SingleFlight(tasks)
        self._runners: dict[SessionRef, asyncio.Task[None]] = {}
        self._activations: SingleFlight[SessionRef, Session] = SingleFlight(tasks)
        self._holds: Holds[SessionRef] = Holds(env.quota, Held.SESSIONS)
        self._draining = False

    def __len__(self) -> int:
        """How many sessions this node owns."""
        return len(self._sessions)

    @property
    def owned_or_claimed(self) -> int:
        """How many sessions this node owns or is about to."""
        return len(self._sessions) + len(self._activations)

    def __contains__(self, ref: object) -> bool:
        """Whether this node has the session, or is about to."""
        return ref in self._sessions or (isinstance(ref, SessionRef) and ref in self._activations)

    @property
    def draining(self) -> bool:
        """Whether it activates nothing more."""
        return self._draining

    @property
    def running_turns(self) -> int:
        """How many sessions run a turn."""
        return sum(session.running_turn_id is not None for session in tuple(self._sessions.values()))

    async def open(self, ref: SessionRef, agent: str, asking: Asking = ANYBODY) -> Session:
        """The session, claimed and activated if need be. Raises NotOwner, SessionMoving, AgentNotFound,
        AgentUnavailable, AgentRequired, AgentMismatch, SessionClosed, NodeDraining, NodeOverloaded, QuotaExceeded,
        NodeFenced, CoordinatorUnavailable."""
        self._env.lease.check()
        session = await self._owned(ref)
        if session is None:
            if not agent and ref not in self._activations:
                agent = await self._stored_agent(ref)
            # Refused before the activation, which others may share who ask for another agent.
            if ref not in self._activations and (refusal := await self._refusal(ref, agent, asking)) is not None:
                # Only a session without an owner may be refused; another node's is answered with where it is.
                await self._claims.disclaim(ref, self.__contains__)
                raise refusal
            if (session := self._sessions.get(ref)) is None:  # another call may have activated it meanwhile
                making = partial(self._holds.making, ref, kept=self._sessions)
                session = await self._activations.get(ref, lambda: making(made=self._activate(ref, agent)))
        session.check_agent(agent)
        if session.closed:
            raise SessionClosed
        return session

    async def find(self, ref: SessionRef, asking: Asking = ANYBODY) -> Session:
        """The session if it exists, activated if it has no owner; never makes one. Raises SessionNotFound, and as
        `open`."""
        found = await self.look_up(ref)
        return found if isinstance(found, Session) else await self.open(ref, found.agent, asking)

    async def look_up(self, ref: SessionRef) -> Session | StoredSession:
        """The session if this node owns it; what the store has of it if it has no owner; never claims. Raises NotOwner,
        SessionMoving, SessionNotFound, NodeFenced, CoordinatorUnavailable, StoreUnavailable."""
        self._env.lease.check()
        if (session := await self._owned(ref)) is not None:
            return session
        await self._claims.raise_if_held_elsewhere(ref)
        if (stored := await self._store.read(ref)) is None:
            raise SessionNotFound
        return stored

    async def close(self, session: Session) -> None:
        """Closes a session. Its events can be read as long as it stays here: in a durable store, which keeps its
        tombstone, until it is passivated; in a volatile one its claim is its tombstone, so that no other node can make
        it anew meanwhile."""
        await session.close(self._clock.now_s())

    async def close_unread(self, ref: SessionRef) -> Epoch:
        """Closes a session whose checkpoint cannot be read, and returns under which epoch. Raises NotOwner,
        SessionMoving, NodeFenced, StaleEpoch, CoordinatorUnavailable, StoreUnavailable. Cancellation: it is closed all
        the same."""
        return await self._closings.get(ref, lambda: self._activator.close_unread(ref))

    async def passivate(self, session: Session) -> None:
        """Checkpoints an idle session and gives it up; one that is not idle any more stays."""
        if self._sessions.get(session.ref) is session:
            await self._departures.get(session.ref, lambda: self._depart(session))

    @property
    def sessions(self) -> list[Session]:
        """Those that this node owns now."""
        return list(self._sessions.values())

    async def drain(self, timeout_s: float) -> None:
        """Activates nothing more, and hands its sessions on (hand_off.py). Returns once nothing is claimed or being
        claimed."""
        self._draining = True
        await hand_off(self.sessions, timeout_s, self._leave)
        await self._activations.all_ended()
        await self._departures.all_ended()
        await self._closings.all_ended()

    def drop_all(self, error: AgentringError) -> None:
        """Ends every session at once: its streams end with the error, its turns are cancelled, nothing is stored."""
        for session in self._sessions.values():
            session.drop(error)
        for runner in self._runners.values():
            runner.cancel()
        self._sessions.clear()
        self._runners.clear()
        self._holds.clear()

    async def give_up(self, session: Session) -> None:
        """Forgets a session and releases its claim, if it is here; nothing more is stored of it."""
        if self._sessions.get(session.ref) is not session:
            return
        del self._sessions[session.ref]
        session.release_turns()
        self._holds.end(session.ref)
        if (runner := self._runners.pop(session.ref)) is not asyncio.current_task():
            runner.cancel()
        if not self._store.durable:
            # Another node may own it from now on, so what is here must never be found again.
            try:
                await self._store.release(self._env.ownership(session.ref, session.claim.epoch), None, 0)
            except StaleEpoch:
                _log.warning("forget_failed")
        await self._activator.release(session.claim)

    async def _activate(self, ref: SessionRef, agent_name: str) -> Session:
        if (session := self._sessions.get(ref)) is not None:
            return session  # another call has activated it while this one looked whether it may
        claim, stored = await self._activator.activate(ref, agent_name)
        refusal: Exception | None = None
        try:
            if stored.closed and self._store.durable:
                raise SessionClosed  # the store keeps its tombstone
            made = self._make(stored, claim)
            self._env.lease.check()
            if self._draining:
                raise NodeDraining  # the drain has begun since and does not know of this session
        except Exception as error:
            refusal = error
        if refusal is not None:
            await self._activator.release(claim)
            raise refusal
        self._sessions[ref] = made
        made.hold_turns()
        self._runners[ref] = self._tasks.create_task(self._run(made))
        self._env.audit.write("activated", ref, epoch=claim.epoch, commit=stored.commit)
        return made

    def _make(self, stored: StoredSession, claim: Claim) -> Session:
        if (agent := self._agents.get(stored.agent)) is None:
            raise self._env.missing_agent(stored.agent)
        return Session(
            self._env,
            self._store,
            stored,
            claim,
            agent,
            self._slots,
            self._tasks,
            mailbox_size=self._settings.mailbox_size,
            max_log_bytes=self._settings.max_log_bytes,
            max_stored_log_bytes=self._settings.max_stored_log_bytes,
            max_file_bytes=self._settings.max_session_file_bytes,
        )

    async def _refusal(self, ref: SessionRef, agent_name: str, asking: Asking) -> AgentringError | None:
        if self._draining:
            return NodeDraining()
        if not agent_name:
            return AgentRequired()
        if agent_name not in self._agents:
            return self._env.missing_agent(agent_name)
        if not await self._admit(lambda: self.owned_or_claimed, agent_name):
            return NodeOverloaded()
        return self._holds.begin(ref, ref.tenant, asking)

    async def _run(self, session: Session) -> None:
        SUBJECT.set(session)
        has_failed = False
        try:
            await session.run()
        except Exception as error:
            # The session's own turns never raise; this is the fence, or a fault of the store's. Others go on.
            if self._env.lease.reason is not None:
                session.drop(NodeFenced())
                return
            error_id = f"{session.claim.epoch:x}"
            if isinstance(error, AgentringError):
                _log.warning("session_failed", reason=error.reason)
            else:
                _log.exception("session_failed", error_id=error_id)
            session.drop(error if isinstance(error, AgentringError) else InternalError(error_id))
            has_failed = True
        if has_failed:
            await self.give_up(session)

    async def _leave(self, session: Session) -> None:
        """Hands a settled session on. A call that comes for it meanwhile waits, and is then led to its next owner: if
        it were refused at once, the claim would lead it back here."""
        await self._departures.wait(session.ref)  # it may be in the middle of its passivation
        await self._departures.get(session.ref, lambda: self._hand_on(session))

    async def _hand_on(self, session: Session) -> None:
        try:
            if self._sessions.get(session.ref) is session:  # else it was passivated or has failed meanwhile
                await session.hand_on()
        except AgentringError as error:
            _log.warning("session_drain_failed", reason=error.reason, **session.log_fields)
        except Exception:
            _log.exception("session_drain_failed", **session.log_fields)
        try:
            await self.give_up(session)
        finally:
            session.drop(NodeDraining())

    async def _owned(self, ref: SessionRef) -> Session | None:
        await self._departures.wait(ref)
        return self._sessions.get(ref)

    async def _stored_agent(self, ref: SessionRef) -> str:
        """The agent that an existing session is bound to; empty: there is none, or it is not in this store."""
        stored = await self._store.read(ref)
        return stored.agent if stored is not None else ""

    async def _depart(self, session: Session) -> None:
        if session.closed_at_s is not None or await session.passivate():
            await self.give_up(session)
            self._env.audit.write("passivated", session.ref, epoch=session.claim.epoch)
