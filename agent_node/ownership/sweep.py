"""Sweeps: what a dead node left open is resumed though nobody asks for it again.

Guarantees, on a durable store: what a dead node left open is resumed by a node that lives, at that node's second sweep
after the claim has ended at the latest. Each node sweeps what the ring gives it, and leaves alone what has changed
since its last sweep: that has an owner, or had one until a moment ago. What has not changed may still have an owner,
which works on it for long: it is never touched while its claim stands. Nodes with different rings may both try to
resume the same; its claim decides.

Does not sweep while the node drains, or while etcd takes no claims. What cannot be resumed, whatever the reason, is
left to the next sweep and keeps nothing else from being resumed. Of sessions: session/sweep.py; of tasks:
task/sweep.py.
"""

import asyncio
from abc import ABC, abstractmethod
from collections.abc import Callable, Sequence
from typing import Generic, Protocol, TypeVar

import structlog

from agent_node.log_fields import named
from agentring.cluster.clock import Clock
from agentring.cluster.ring import Ring
from agentring.cluster.snapshot import MembershipSnapshot
from agentring.errors import AgentringError, StoreUnavailable
from agentring.ids import NodeId, SessionRef, TaskRef

PAGE = 1_000
AT_ONCE = 32

R = TypeVar("R", SessionRef, TaskRef)
RefOfOpen = TypeVar("RefOfOpen", SessionRef, TaskRef, covariant=True)

_log = structlog.get_logger()


class Open(Protocol[RefOfOpen]):
    """What the store has open."""

    @property
    def ref(self) -> RefOfOpen:
        """Whose it is."""

    @property
    def agent(self) -> str:
        """The node that resumes it must host this one."""

    @property
    def commit(self) -> int:
        """Grows with whatever happens to it."""


class Sweep(ABC, Generic[R]):
    """One node's sweeps of one kind."""

    def __init__(
        self,
        kind: str,
        membership: Callable[[], MembershipSnapshot | None],
        node_id: NodeId,
        clock: Clock,
        *,
        interval_s: float,
        claims_are_made: Callable[[], bool],
    ) -> None:
        """kind: for the log. membership: as it is now; interval_s: the lease's TTL; claims_are_made: whether etcd takes
        claims now."""
        self._kind = kind
        self._membership = membership
        self._node_id = node_id
        self._clock = clock
        self._interval_s = interval_s
        self._claims_are_made = claims_are_made
        self._seen: dict[R, int] = {}
        """What the last sweep found left, and after which commit."""
        self._ring: Ring | None = None

    @property
    @abstractmethod
    def _draining(self) -> bool:
        """Whether the node resumes nothing any more."""

    @abstractmethod
    async def _list_open(self, after: R | None, at_most: int) -> Sequence[Open[R]]:
        """What the store has open, in one order. Raises StoreUnavailable."""

    @abstractmethod
    def _is_here(self, ref: R) -> bool:
        """Whether this node has it already."""

    @abstractmethod
    async def _resume(self, ref: R) -> None:
        """Resumes it, if its claim is free."""

    async def run(self) -> None:
        """Sweeps again and again, until cancelled."""
        while True:
            await self._clock.sleep(self._interval_s)
            try:
                await self.sweep()
            except StoreUnavailable as error:
                _log.info(f"{self._kind}s_not_swept", reason=error.reason)  # the next one will

    async def sweep(self) -> None:
        """Resumes what was left before the last sweep and has not changed since. Raises StoreUnavailable."""
        before, self._seen = self._seen, {}
        after: R | None = None
        while not self._draining and self._claims_are_made():
            page = await self._list_open(after, PAGE)
            left = [each for each in page if not self._is_here(each.ref)]
            mine = await self._mine(left) if left else []
            self._seen |= {each.ref: each.commit for each in mine}
            # Invariant: what changed since the last sweep is left alone (tests/unit/agent_node/task/test_sweep.py).
            due = [each.ref for each in mine if before.get(each.ref) == each.commit]
            for start in range(0, len(due), AT_ONCE):
                await asyncio.gather(*(self._try_to_resume(ref) for ref in due[start : start + AT_ONCE]))
            if len(page) < PAGE:
                return
            after = page[-1].ref

    async def _mine(self, left: Sequence[Open[R]]) -> list[Open[R]]:
        snapshot = self._membership()
        if snapshot is None:
            return []
        if self._ring is None or self._ring.revision != snapshot.revision:
            self._ring = await asyncio.to_thread(Ring, snapshot)
        ring = self._ring
        return [each for each in left if self._is_mine(ring, each)]

    def _is_mine(self, ring: Ring, left: Open[R]) -> bool:
        hosts = (node for node in ring.candidates(left.ref.ring_key) if left.agent in node.agents)
        first = next(hosts, None)
        return first is not None and first.node_id == self._node_id

    async def _try_to_resume(self, ref: R) -> None:
        if self._draining or not self._claims_are_made():
            return
        try:
            await self._resume(ref)
        except AgentringError as error:
            _log.debug(f"{self._kind}_not_taken_up", reason=error.reason)  # another node's, or for the next sweep
        except Exception:
            _log.exception(f"{self._kind}_not_taken_up", **named(ref))
        else:
            _log.info(f"{self._kind}_taken_up")
