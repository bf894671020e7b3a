"""Which roles may call which method: the one table, which routers and nodes ask.

Guarantees: a method of agentring's that has no row may be called by nobody; a method that is not agentring's belongs to
a hosted service, and to users. A caller counts as an operator alone where the call is about another tenant than his.
The protos and docs/security.md say the same (tests/unit/agentring/auth/test_permissions.py).
"""

from typing import Final

from agentring.auth.identity import Identity, Role
from agentring.errors import RoleMissing

_WRITES: Final = frozenset({Role.user})
_READS: Final = frozenset({Role.user, Role.viewer, Role.admin, Role.operator})
_ENDS: Final = frozenset({Role.user, Role.admin, Role.operator})
_LISTS_RUNS: Final = frozenset({Role.viewer, Role.admin, Role.operator})
_SETTLES: Final = frozenset({Role.admin, Role.operator})
_OPERATES: Final = frozenset({Role.operator})
_PEERS: Final = frozenset({Role.peer})
_EVERY_ROLE: Final = frozenset(Role)

_OPERATOR: Final = frozenset({Role.operator})
_NOBODY: Final[frozenset[Role]] = frozenset()
NODE_SUBJECT: Final = "node/"
"""What a node's subject begins with, where it calls others as itself; a router's begins with ROUTER_SUBJECT."""
ROUTER_SUBJECT: Final = "router/"

ANONYMOUS: Final = frozenset(f"/grpc.health.v1.Health/{method}" for method in ("Check", "List", "Watch"))
"""Methods that ask for no credential."""
NODES_ONLY: Final = frozenset({"/agentring.v1.NodeService/WatchRun"})
"""Methods that no router calls."""

PERMISSIONS: Final = {
    **dict.fromkeys(ANONYMOUS, _EVERY_ROLE),
    "/grpc.reflection.v1.ServerReflection/ServerReflectionInfo": _EVERY_ROLE,
    "/grpc.reflection.v1alpha.ServerReflection/ServerReflectionInfo": _EVERY_ROLE,
    "/agentring.v1.SessionService/Converse": _WRITES,
    "/agentring.v1.SessionService/RunTurn": _WRITES,
    "/agentring.v1.SessionService/SubmitTurn": _WRITES,
    "/agentring.v1.SessionService/CancelTurn": _ENDS,
    "/agentring.v1.SessionService/WatchSession": _READS,
    "/agentring.v1.SessionService/GetSession": _READS,
    "/agentring.v1.SessionService/ListSessions": _READS,
    "/agentring.v1.SessionService/CloseSession": _ENDS,
    "/agentring.v1.BlobService/PutBlob": _WRITES,
    "/agentring.v1.BlobService/GetBlob": _READS,
    "/agentring.v1.TaskService/RunTask": _WRITES,
    "/agentring.v1.TaskService/GetTask": _READS,
    "/agentring.v1.TaskService/WatchTask": _READS,
    "/agentring.v1.TaskService/ListTasks": _READS,
    "/agentring.v1.TaskService/CancelTask": _ENDS,
    "/agentring.v1.OnceService/GetRun": _READS,
    "/agentring.v1.OnceService/ListRuns": _LISTS_RUNS,
    "/agentring.v1.OnceService/ResolveRun": _SETTLES,
    "/agentring.v1.HaltService/Halt": _SETTLES,
    "/agentring.v1.HaltService/Resume": _SETTLES,
    "/agentring.v1.HaltService/ListHalts": _LISTS_RUNS,
    "/agentring.v1.HaltService/ListRunning": _LISTS_RUNS,
    "/agentring.v1.ClusterService/ListNodes": _OPERATES,
    "/agentring.v1.ClusterService/GetRing": _OPERATES,
    "/agentring.v1.ClusterService/LocateSession": _OPERATES,
    "/agentring.v1.ClusterService/DrainNode": _OPERATES,
    "/agentring.v1.ClusterService/UndrainNode": _OPERATES,
    "/agentring.v1.ClusterService/WatchCluster": _OPERATES,
    "/agentring.v1.NodeService/GetNodeStatus": _PEERS,
    "/agentring.v1.NodeService/WatchRun": _PEERS,
    "/agentring.v1.NodeService/Drain": _PEERS,
    "/agentring.v1.NodeService/Undrain": _PEERS,
    "/agentring.v1.NodeService/KeepAccessLogHead": _PEERS,
    "/agentring.v1.NodeService/ApplyHalt": _PEERS,
    "/agentring.v1.NodeService/LiftHalt": _PEERS,
    "/agentring.v1.NodeService/ListNodeHalts": _PEERS,
    "/agentring.v1.NodeService/ListNodeRunning": _PEERS,
}
"""Methods by their full names, and the roles of which one is enough."""


def allowed_roles(method: str) -> frozenset[Role]:
    """Those of which one is enough. method: its full name, `/package.Service/Method`."""
    if (roles := PERMISSIONS.get(method)) is not None:
        return roles
    return _NOBODY if method.startswith(("/agentring.", "/grpc.")) else _WRITES


def check_permission(identity: Identity, method: str, *, is_own_tenant: bool) -> None:
    """Whether the caller may call the method. is_own_tenant: the call is about the caller's own. Raises RoleMissing."""
    allowed = allowed_roles(method)
    roles = identity.roles if is_own_tenant else identity.roles & _OPERATOR
    if roles.isdisjoint(allowed) or (method in NODES_ONLY and not identity.subject.startswith(NODE_SUBJECT)):
        raise RoleMissing(method, ", ".join(sorted(allowed)))
