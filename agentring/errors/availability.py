"""Not now, or not here: waiting or asking another node helps."""

from dataclasses import dataclass
from typing import ClassVar

from grpc import StatusCode

from agentring.errors.base import AgentringError

_LONGEST_WAIT_MS = 3_600_000


class Unavailable(AgentringError):
    """Try again soon."""

    code = StatusCode.UNAVAILABLE
    reason = "UNAVAILABLE"
    retry_after_s = 1.0


class SessionMoving(Unavailable):
    """The session or task has no owner that answers; a lease runs out, then it has a new one."""

    reason = "SESSION_MOVING"
    sentence = "the session or task is moving to another node"


class ClaimUnreadable(Unavailable):
    """The claim's record is none of ours, and may not be replaced yet, or not here: an operator may look at it."""

    reason = "CLAIM_UNREADABLE"
    sentence = "the record that says who owns the session or task cannot be read"


@dataclass(eq=False)
class AgentUnavailable(Unavailable):
    """The agent's nodes are away: they restart, or are being replaced."""

    reason: ClassVar[str] = "AGENT_UNAVAILABLE"
    sentence: ClassVar[str] = "no node hosts this agent now; one did within the last hour"
    agent: str


class NodeDraining(Unavailable):
    """The node takes nothing new."""

    reason = "NODE_DRAINING"
    sentence = "the node is draining"


class NodeFenced(Unavailable):
    """The node may have lost its lease and has stopped."""

    reason = "NODE_FENCED"
    sentence = "the node has lost its lease and has dropped its sessions"


class NodeUnreachable(Unavailable):
    """The connection to the node broke or was never made."""

    reason = "NODE_UNREACHABLE"
    sentence = "the connection to the session's node was lost"


class OwnerUnreachable(Unavailable):
    """Other nodes name an owner to which this router gets no connection. If it is dead, its lease runs out, and the
    session moves; if it lives, only the way to it is cut off."""

    reason = "OWNER_UNREACHABLE"
    sentence = "the node that owns the session or task cannot be reached from this router"


class RouterStopping(Unavailable):
    """The router stops; another one takes the call."""

    reason = "ROUTER_STOPPING"
    sentence = "the router is stopping"


class NoNodes(Unavailable):
    """The ring is empty."""

    reason = "NO_NODES"
    sentence = "no node is there to take it"


class CoordinatorUnavailable(Unavailable):
    """etcd does not answer, so nothing can be claimed."""

    reason = "COORDINATOR_UNAVAILABLE"
    sentence = "the coordinator does not answer"


class StoreUnavailable(Unavailable):
    """The store does not answer. Whether what it was asked to keep is kept is unknown, so nothing was acknowledged."""

    reason = "STORE_UNAVAILABLE"
    sentence = "the store does not answer"


class StoreFull(StoreUnavailable):
    """The store has no space left. Nothing was acknowledged."""

    reason = "STORE_FULL"
    sentence = "the store has no space left"


class StoreUnusable(StoreUnavailable):
    """The database refuses the node, or is none that can be read. Nothing was acknowledged; no node starts with it."""

    reason = "STORE_UNUSABLE"
    sentence = "the store refuses the node or cannot be read"


class StoreReplaced(StoreUnavailable):
    """What is in the store's place is not the store that was opened: another file, an older copy, or nothing. Whether
    what it was asked to keep is kept is unknown, so nothing was acknowledged."""

    reason = "STORE_REPLACED"
    sentence = "the store in use was replaced or removed"


class MailboxFull(AgentringError):
    """Too many turns wait in this session."""

    code = StatusCode.RESOURCE_EXHAUSTED
    reason = "MAILBOX_FULL"
    sentence = "too many turns wait in this session"
    retry_after_s = 1.0


@dataclass(eq=False)
class FilesFull(AgentringError):
    """The session's files that are in use leave no room for another."""

    code: ClassVar[StatusCode] = StatusCode.RESOURCE_EXHAUSTED
    reason: ClassVar[str] = "FILES_FULL"
    sentence: ClassVar[str] = "the files of the session's open turns leave no room for this one"
    max_bytes: int


class TooManyTurns(AgentringError):
    """The node runs as many turns as it may, and as many wait as may."""

    code = StatusCode.RESOURCE_EXHAUSTED
    reason = "TOO_MANY_TURNS"
    sentence = "too many turns run and wait on the session's node"
    retry_after_s = 1.0


class TooManyTasks(AgentringError):
    """The tenant has as many tasks under way on the node as it may."""

    code = StatusCode.RESOURCE_EXHAUSTED
    reason = "TOO_MANY_TASKS"
    sentence = "too many of the tenant's tasks are under way on the task's node"
    retry_after_s = 1.0


@dataclass(eq=False)
class QuotaExceeded(AgentringError):
    """The tenant, or its subject who calls, has as much as the operator's limits leave it on this node."""

    code: ClassVar[StatusCode] = StatusCode.RESOURCE_EXHAUSTED
    reason: ClassVar[str] = "QUOTA"
    sentence: ClassVar[str] = "the tenant has reached a limit of its own"
    retry_after_s: ClassVar[float | None] = 1.0
    what: str
    """As the limit is called in the operator's file."""
    limit: str
    """Of the whole cluster."""
    scope: str
    """Whose limit: `tenant` or `subject`."""
    wait_ms: int = 1_000
    """When there may be room again."""

    @property
    def wait_s(self) -> float:
        """As AgentringError."""
        return min(self.wait_ms, _LONGEST_WAIT_MS) / 1_000


class NodeOverloaded(AgentringError):
    """The node, or every node that could take it, is at its limit."""

    code = StatusCode.RESOURCE_EXHAUSTED
    reason = "NODE_OVERLOADED"
    sentence = "the node is at its limit"
    retry_after_s = 1.0


class RouterOverloaded(AgentringError):
    """The router holds too many bytes for clients or nodes that do not read; this call held some of them longest."""

    code = StatusCode.RESOURCE_EXHAUSTED
    reason = "ROUTER_OVERLOADED"
    sentence = "the router holds too much that is not read"
    retry_after_s = 1.0


@dataclass(eq=False)
class NotOwner(AgentringError):
    """Another node owns it. Routers follow this; clients meet it only without a router."""

    code: ClassVar[StatusCode] = StatusCode.ABORTED
    reason: ClassVar[str] = "NOT_OWNER"
    sentence: ClassVar[str] = "another node owns it"
    retry_after_s: ClassVar[float | None] = 0.0
    node: str
    address: str
    epoch: int


class StaleEpoch(AgentringError):
    """A later epoch exists."""

    code = StatusCode.ABORTED
    reason = "STALE_EPOCH"
    sentence = "a later owner exists"
    retry_after_s = 0.0
