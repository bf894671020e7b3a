"""Finds the node to send a call to, and the next one when that was not it.

The ring proposes; a node's answer decides. A `Walk` is one call's search: first the owner that was learnt from an
earlier redirect, else the ring's candidates in their order, each at most once, past nodes that cannot be reached or
refuse (only unclaimed sessions get that far: for a claimed one every node answers with the owner). Redirects are
followed at most twice, so two nodes that disagree cannot make a loop; each is remembered for the next call.

Pure: no sockets and no waiting here. Called by the relay.
"""

import time
from collections import OrderedDict
from collections.abc import Callable, Iterator
from typing import NamedTuple, Protocol

from agentring.cluster.ring import Ring
from agentring.cluster.snapshot import MembershipSnapshot
from agentring.errors import (
    AgentNotFound,
    AgentringError,
    NodeDraining,
    NodeOverloaded,
    NodeUnreachable,
    NoNodes,
    OwnerUnreachable,
    SessionMoving,
)
from agentring.ids import NodeId, SessionRef, TaskRef

MAX_REDIRECTS = 2
RECENT_S = 10.0
_MAX_AGENTS = 1_000
"""Names that clients say are remembered up to so many."""

Ref = SessionRef | TaskRef
Labels = tuple[tuple[str, str], ...]
"""Names and values."""


class View(Protocol):
    """A ring and the snapshot that it was built from; both raise CoordinatorUnavailable before the first one."""

    @property
    def ring(self) -> Ring:
        """The latest ring."""

    @property
    def snapshot(self) -> MembershipSnapshot:
        """What it was built from."""


class Target(NamedTuple):
    """A node to send a call to."""

    node_id: NodeId
    address: str


class OwnerLookup:
    """Owners by session or task: what was learnt, and else what the ring proposes."""

    def __init__(
        self,
        view: View,
        cache_size: int,
        now_s: Callable[[], float] = time.monotonic,
        missing: Callable[[str], AgentringError] = AgentNotFound,
    ) -> None:
        """cache_size: how many learnt owners are kept, the latest used ones; now_s: a clock that only grows; missing:
        the error for a call to an agent that no node hosts."""
        self.missing = missing
        self._now_s = now_s
        self._overloaded_at_s: dict[NodeId, float] = {}
        self._view = view
        self._cache_size = cache_size
        self._learnt: OrderedDict[str, Target] = OrderedDict()
        """By ring keys, no two of which are the same."""
        self._hosted: dict[str, bool] = {}
        self._hosted_in: MembershipSnapshot | None = None
        """The snapshot in which agents were looked for."""
        self._lists = 0
        """Calls that belonged to no session: each begins at the next node."""

    def walk(self, ref: Ref, agent: str, labels: Labels = ()) -> "Walk":
        """The search of one call; agent: empty where the caller did not name one; labels: of the nodes where it may be
        made. Raises CoordinatorUnavailable."""
        return Walk(self, ref, agent, labels, self._agent_hosted(agent))

    def any_node(self) -> "AnyNode":
        """The search of a call that belongs to no session. Raises CoordinatorUnavailable."""
        nodes = [Target(node.node_id, node.address) for node in self._view.ring.nodes]
        self._lists += 1
        first = self._lists % len(nodes) if nodes else 0
        return AnyNode([*nodes[first:], *nodes[:first]])

    def learn(self, ref: Ref, target: Target) -> None:
        """The target said that it owns it, or another node said so."""
        learnt, key = self._learnt, ref.ring_key
        learnt[key] = target
        learnt.move_to_end(key)
        if len(learnt) > self._cache_size:
            learnt.popitem(last=False)

    def forget(self, ref: Ref) -> None:
        """What was learnt does not hold any more."""
        self._learnt.pop(ref.ring_key, None)

    def overloaded(self, node_id: NodeId) -> None:
        """The node has refused a new session for its load."""
        self._overloaded_at_s[node_id] = self._now_s()

    def overloaded_s(self) -> dict[NodeId, float]:
        """How many seconds ago nodes have refused new sessions for their load, those of the last few. For people: who
        asks a node learns what is so now."""
        now_s, nodes = self._now_s(), self._view.snapshot.nodes
        recent = {each: at_s for each, at_s in self._overloaded_at_s.items() if now_s - at_s < RECENT_S}
        self._overloaded_at_s = {each: at_s for each, at_s in recent.items() if each in nodes}
        return {each: now_s - at_s for each, at_s in self._overloaded_at_s.items()}

    def learnt(self, ref: Ref) -> Target | None:
        """The node that owned it when one was asked last, if that is still there. Raises CoordinatorUnavailable."""
        learnt = self._learnt.get(ref.ring_key)
        if learnt is not None:
            node = self._view.snapshot.nodes.get(learnt.node_id)
            if node is not None and node.address == learnt.address:
                return learnt
            self.forget(ref)
        return None

    def candidates(self, ref: Ref, agent: str, labels: Labels) -> Iterator[Target]:
        """Where it may be, in the order in which to ask. Raises CoordinatorUnavailable."""
        ring = self._view.ring
        if (learnt := self.learnt(ref)) is not None:
            yield learnt
        for node in ring.candidates(ref.ring_key):
            fits = all(node.labels.get(name) == value for name, value in labels)
            if fits and (not agent or agent in node.agents):
                yield Target(node.node_id, node.address)

    def _agent_hosted(self, agent: str) -> bool:
        snapshot = self._view.snapshot
        if snapshot is not self._hosted_in:
            self._hosted, self._hosted_in = {}, snapshot
        if (hosted := self._hosted.get(agent)) is None:
            hosted = not agent or snapshot.hosting(agent) or not any(node.active for node in snapshot.nodes.values())
            if len(self._hosted) < _MAX_AGENTS:
                self._hosted[agent] = hosted
        return hosted


class Walk:
    """One call's search over the nodes. `first`, then one of the others for each answer that was not the end."""

    __slots__ = (
        "_agent",
        "_agent_hosted",
        "_asked",
        "_candidates",
        "_draining",
        "_labels",
        "_lookup",
        "_redirects",
        "_ref",
        "_refusal",
        "_unreachable",
        "_visited",
    )

    def __init__(self, lookup: OwnerLookup, ref: Ref, agent: str, labels: Labels, agent_hosted: bool) -> None:
        """Made by OwnerLookup.walk."""
        self._lookup = lookup
        self._ref = ref
        self._agent = agent
        self._labels = labels
        self._agent_hosted = agent_hosted
        self._candidates: Iterator[Target] | None = None
        """None: only the one that was learnt was asked, if any."""
        self._redirects = 0
        self._visited: set[NodeId] = set()
        self._unreachable: set[NodeId] = set()
        self._draining: set[NodeId] = set()
        self._asked = NodeId("")
        self._refusal: AgentringError | None = None

    def first(self) -> Target:
        """Where to begin. Raises NoNodes, AgentNotFound, AgentUnavailable."""
        if not self._agent_hosted:
            raise self._lookup.missing(self._agent)
        if (learnt := self._lookup.learnt(self._ref)) is None:
            return self._next()
        self._visited.add(learnt.node_id)
        self._asked = learnt.node_id
        return learnt

    def redirected(self, to: Target) -> Target:
        """A node answered that another one owns it. Raises SessionMoving after MAX_REDIRECTS, or if that one is known
        to drain: it will hand the session on; OwnerUnreachable if it is known not to be reachable."""
        self._redirects += 1
        if self._redirects > MAX_REDIRECTS or to.node_id in self._draining:
            self._lookup.forget(self._ref)
            raise SessionMoving
        if to.node_id in self._unreachable:
            self._lookup.forget(self._ref)
            raise OwnerUnreachable
        self._lookup.learn(self._ref, to)
        self._visited.add(to.node_id)
        self._asked = to.node_id
        return to

    def unreachable(self, target: Target) -> Target:
        """The connection failed before the node had accepted. Raises NodeUnreachable when no candidate is left,
        OwnerUnreachable where others have said that it is this one's."""
        self._unreachable.add(target.node_id)
        self._lookup.forget(self._ref)
        if self._redirects:
            raise OwnerUnreachable  # the others would only name it again
        self._refusal = self._refusal or NodeUnreachable()
        return self._next()

    def skip_slow(self) -> Target | None:
        """Another candidate, the one that was asked being slow; None: there is none, or it is known to be the owner."""
        return self._unvisited() if not self._redirects else None

    def refused(self, refusal: str) -> Target:
        """The node would not take a new session (`overloaded`, `draining`, `agent=<name>`). Raises the refusal when no
        candidate is left."""
        self._lookup.forget(self._ref)
        match refusal:
            case "draining":
                self._draining.add(self._asked)
                if self._redirects:  # it owned it and does not any more: those that redirected the call here may
                    self._refusal = SessionMoving()
                    self._candidates = self._lookup.candidates(self._ref, self._agent, self._labels)
                    self._visited = self._unreachable | self._draining
                self._refusal = self._refusal or NodeDraining()
            case "overloaded":
                self._lookup.overloaded(self._asked)
                self._refusal = NodeOverloaded()
            case _:
                self._refusal = self._refusal or self._lookup.missing(refusal.removeprefix("agent="))
        return self._next()

    def accepted(self, target: Target) -> None:
        """The node owns it."""
        self._lookup.learn(self._ref, target)

    def _next(self) -> Target:
        if (target := self._unvisited()) is None:
            raise self._refusal or NoNodes()
        return target

    def _unvisited(self) -> Target | None:
        if self._candidates is None:
            self._candidates = self._lookup.candidates(self._ref, self._agent, self._labels)
        for target in self._candidates:
            if target.node_id not in self._visited:
                self._visited.add(target.node_id)
                self._asked = target.node_id
                return target
        return None


class AnyNode:
    """The search of a call that any node answers, past those that cannot be reached or are leaving; as a Walk."""

    def __init__(self, targets: list[Target]) -> None:
        """Made by OwnerLookup.any_node."""
        self._targets = iter(targets)
        self._refusal: AgentringError = NoNodes()

    def first(self) -> Target:
        """Where to begin. Raises NoNodes."""
        for target in self._targets:
            return target
        raise self._refusal

    def redirected(self, _to: Target) -> Target:
        """No node owns such a call, so one that says who does is wrong. Raises as `unreachable`."""
        return self._next(NodeUnreachable())

    def unreachable(self, _target: Target) -> Target:
        """The connection failed before the node had accepted. Raises NodeUnreachable when no node is left."""
        return self._next(NodeUnreachable())

    def skip_slow(self) -> Target | None:
        """There is no hurry."""
        return None

    def refused(self, _refusal: str) -> Target:
        """The node is leaving. Raises NodeDraining when no node is left."""
        return self._next(NodeDraining())

    def accepted(self, _target: Target) -> None:
        """There is nothing to remember."""

    def _next(self, refusal: AgentringError) -> Target:
        self._refusal = refusal
        return self.first()
