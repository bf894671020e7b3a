"""The names of things: what they are made of, and how they are checked.

Guarantees that a value of one of these types, made by a `parse_*` function here, is well formed. Called at every edge
where a client's word comes in: the router, the nodes' services, the command line.
"""

import re
from dataclasses import dataclass
from typing import NewType

from agentring.errors import InvalidSessionId, InvalidTaskKey, InvalidTenantId, InvalidTurnId

NodeId = NewType("NodeId", str)
TenantId = NewType("TenantId", str)
SessionId = NewType("SessionId", str)
TurnId = NewType("TurnId", str)
TaskKey = NewType("TaskKey", str)
Revision = NewType("Revision", int)
"""A revision of etcd's store."""
Incarnation = NewType("Incarnation", int)
"""One registration of a node: the create-revision of its key."""
Epoch = NewType("Epoch", int)
"""The fencing token: generation * 2**40 + the revision of the claim's transaction."""

DEFAULT_TENANT = TenantId("default")

_NAME = re.compile(r"[A-Za-z0-9._~:@-]{1,128}", re.ASCII)
_TASK_KEY = re.compile(r"[!-~]{1,256}", re.ASCII)


@dataclass(frozen=True, slots=True)
class SessionRef:
    """Names one session in the cluster."""

    tenant: TenantId
    session_id: SessionId

    @property
    def ring_key(self) -> str:
        """What is hashed to find the session's place on the ring."""
        return f"session/{self.tenant}/{self.session_id}"


@dataclass(frozen=True, slots=True)
class TaskRef:
    """Names one task in the cluster."""

    tenant: TenantId
    task_key: TaskKey

    @property
    def ring_key(self) -> str:
        """What is hashed to find the task's place on the ring."""
        return f"task/{self.tenant}/{self.task_key}"


@dataclass(frozen=True, slots=True)
class OnceRef(TaskRef):
    """Names one step that runs once in the cluster: a key space of its own beside the tasks', under the same rules."""

    @property
    def ring_key(self) -> str:
        """What is hashed to find the step's place on the ring."""
        return f"once/{self.tenant}/{self.task_key}"


def parse_session(tenant: str, session_id: str) -> SessionRef:
    """A session's name from a client's words. Raises InvalidTenantId, InvalidSessionId."""
    if not _is_name(session_id):
        raise InvalidSessionId
    return SessionRef(parse_tenant(tenant), SessionId(session_id))


def parse_session_prefix(prefix: str) -> str:
    """What session ids may begin with, from a client's words; empty: anything. Raises InvalidSessionId."""
    if prefix and not _NAME.fullmatch(prefix):
        raise InvalidSessionId
    return prefix


def parse_task(tenant: str, task_key: str) -> TaskRef:
    """A task's name from a client's words. Raises InvalidTenantId, InvalidTaskKey."""
    if not _TASK_KEY.fullmatch(task_key):
        raise InvalidTaskKey
    return TaskRef(parse_tenant(tenant), TaskKey(task_key))


def parse_once(tenant: str, once_key: str) -> OnceRef:
    """A step's name from an agent's or a client's words. Raises InvalidTenantId, InvalidTaskKey."""
    ref = parse_task(tenant, once_key)
    return OnceRef(ref.tenant, ref.task_key)


def parse_tenant(tenant: str) -> TenantId:
    """A tenant's name; the empty one is `default`. Raises InvalidTenantId."""
    if not tenant:
        return DEFAULT_TENANT
    if not _is_name(tenant):
        raise InvalidTenantId
    return TenantId(tenant)


def parse_turn_id(turn_id: str) -> TurnId:
    """A turn's name from a client's words. Raises InvalidTurnId."""
    if not _is_name(turn_id):
        raise InvalidTurnId
    return TurnId(turn_id)


def _is_name(value: str) -> bool:
    # `.` and `..` are path segments to whoever builds a path from a name, so they are no names.
    return bool(_NAME.fullmatch(value)) and value not in (".", "..")
