"""Where things stand in etcd (docs/architecture.md, "Keys in etcd").

Components of a key are percent-encoded, so no name can leave its place.
"""

import re
from dataclasses import dataclass
from functools import cache
from urllib.parse import quote, unquote

from agentring.ids import NodeId, OnceRef, SessionRef, TaskRef

_PLAIN = re.compile(r"[A-Za-z0-9_.~-]+", re.ASCII)
"""What percent-encoding leaves as it is."""


@dataclass(frozen=True, slots=True)
class Keys:
    """The keys of one cluster."""

    cluster: str

    @property
    def root(self) -> str:
        """What every key of the cluster begins with."""
        return _root(self.cluster)

    @property
    def meta(self) -> str:
        """ClusterMeta; without a lease."""
        return f"{self.root}meta"

    @property
    def store(self) -> str:
        """StoreRecord; without a lease."""
        return f"{self.root}store"

    @property
    def store_mark(self) -> str:
        """StoreRecord, without a lease: what nodes write down of the store where etcd's access control keeps `store`
        from them. Begins with the key `store`, so one read has both."""
        return f"{self.root}store-mark"

    @property
    def probe(self) -> str:
        """Never there: what routers and nodes ask etcd about to see whether it would take a write."""
        return f"{self.root}probe"

    @property
    def nodes(self) -> str:
        """The prefix of all NodeRecords; routers and nodes watch it."""
        return f"{self.root}nodes/"

    def node(self, node_id: NodeId) -> str:
        """A node's NodeRecord; its create-revision is the node's incarnation."""
        return self.nodes + _part(node_id)

    def node_id_of(self, key: str) -> NodeId:
        """The inverse of `node`."""
        return NodeId(unquote(key.removeprefix(self.nodes)))

    @property
    def agents(self) -> str:
        """The prefix of the keys that say which agents there are, or were a while ago (known_agents.py)."""
        return f"{self.root}agents/"

    def agent(self, name: str) -> str:
        """Whether there is, or was, a node that hosts the agent."""
        return self.agents + _part(name)

    def agent_of(self, key: str) -> str:
        """The inverse of `agent`."""
        return unquote(key.removeprefix(self.agents))

    @property
    def halts(self) -> str:
        """The prefix of all HaltRecords; nodes watch it, routers write it."""
        return f"{self.root}halts/"

    def halt(self, *scope: str) -> str:
        """The HaltRecord of a scope; without a lease. scope: its kind, tenant and name; the last ones may be empty."""
        return self.halts + "/".join(_part(each) for each in scope if each)

    @property
    def sessions(self) -> str:
        """The prefix of all sessions' ClaimRecords."""
        return f"{self.root}sessions/"

    def claim(self, ref: SessionRef | TaskRef) -> str:
        """The ClaimRecord of a session, a task or a step that runs once; nobody watches it."""
        if isinstance(ref, SessionRef):
            return f"{self.sessions}{_part(ref.tenant)}/{_part(ref.session_id)}"
        space = self.once if isinstance(ref, OnceRef) else self.tasks
        return f"{space}{_part(ref.tenant)}/{_part(ref.task_key)}"

    @property
    def tasks(self) -> str:
        """The prefix of all tasks' ClaimRecords."""
        return f"{self.root}tasks/"

    @property
    def once(self) -> str:
        """The prefix of the ClaimRecords of steps that run once."""
        return f"{self.root}once/"


@cache
def _root(cluster: str) -> str:
    return f"/agentring/{_part(cluster)}/"


def _part(name: str) -> str:
    if _PLAIN.fullmatch(name):
        return name
    return quote(name, safe="")
