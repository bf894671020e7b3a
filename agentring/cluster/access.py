"""Who may do what in etcd: the roles of a cluster's routers and nodes, where etcd's access control is on.

Guarantees: a role has what its processes ask etcd for, and no more. Each reads the cluster's keys, all of them, and no
other cluster's. A router writes halts (the probe's key is never put). A node writes claims, what is known of agents,
its store's mark, and of nodes' records its own alone; neither writes `meta` or `store`, which `agentring admin init`
does. Not defended (docs/security.md): claims name their node inside, where etcd does not look, so a node's key that was
stolen can rewrite any claim, and with it take a session over. etcd checks what a transaction might do, also in the
branch that it does not take. Names: `<cluster>/router`, `<cluster>/node`, `<cluster>/node/<id>`, users like roles.
"""

from collections.abc import Sequence
from dataclasses import dataclass

from agentring.cluster.etcd.users import Permission
from agentring.cluster.keys import Keys
from agentring.ids import NodeId


@dataclass(frozen=True, slots=True)
class Role:
    """A role and all that it may do."""

    name: str
    permissions: frozenset[Permission]


@dataclass(frozen=True, slots=True)
class User:
    """A user and all roles that it has."""

    name: str
    roles: frozenset[str]


def router_user(keys: Keys) -> str:
    """The user of the cluster's routers."""
    return f"{keys.cluster}/router"


def node_user(keys: Keys, node_id: NodeId) -> str:
    """The user of one node."""
    return f"{keys.cluster}/node/{node_id}"


def roles_of(keys: Keys, node_ids: Sequence[NodeId]) -> tuple[Role, ...]:
    """The cluster's roles: the routers', that of all nodes, and of each node its own."""
    read = Permission(keys.root, prefix=True)
    probe = Permission(keys.probe, write=True)
    spaces = (keys.sessions, keys.tasks, keys.once, keys.agents)
    shared = {Permission(space, prefix=True, write=True) for space in spaces}
    mark = Permission(keys.store_mark, write=True)
    own = (Role(node_user(keys, each), frozenset({Permission(keys.node(each), write=True)})) for each in node_ids)
    return (
        Role(router_user(keys), frozenset({read, probe, Permission(keys.halts, prefix=True, write=True)})),
        Role(_node_role(keys), frozenset({read, probe, mark, *shared})),
        *own,
    )


def users_of(keys: Keys, node_ids: Sequence[NodeId]) -> tuple[User, ...]:
    """The users of the routers and of these nodes."""
    nodes = (User(node_user(keys, each), frozenset({_node_role(keys), node_user(keys, each)})) for each in node_ids)
    return (User(router_user(keys), frozenset({router_user(keys)})), *nodes)


def _node_role(keys: Keys) -> str:
    return f"{keys.cluster}/node"
