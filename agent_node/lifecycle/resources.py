"""What the process opens once, and every incarnation of the node works with. Made by the node's app."""

from collections.abc import Callable, Mapping
from dataclasses import dataclass

from agent_node.agents.lifespans import OpenedAgent
from agent_node.audit import AuditLog
from agent_node.halt.reading import HaltReader
from agent_node.quota.limits_in_use import LimitsInUse
from agent_node.run.environment import ChildRunner
from agent_node.settings import NodeSettings
from agent_node.store.sql.sessions import SqlStore
from agentring.agent import Agent
from agentring.auth.caller_fields import Pairs
from agentring.auth.peer_calls import peer_metadata
from agentring.auth.signatures import Signer
from agentring.cluster.clock import Clock
from agentring.cluster.etcd.client import EtcdClient
from agentring.cluster.keys import Keys
from agentring.cluster.membership import Membership


@dataclass(frozen=True, slots=True)
class NodeResources:
    """Open as long as the process lives. Resource handling: whoever opened them closes them."""

    settings: NodeSettings
    etcd: EtcdClient
    keys: Keys
    membership: Membership
    halts: HaltReader
    """What is halted."""
    claims_are_made: Callable[[], bool]
    """Whether etcd takes claims now."""
    clock: Clock
    agents: Mapping[str, Agent]
    audit: AuditLog
    durable: SqlStore | None
    """Where sessions, tasks and steps are stored; None: in each incarnation's own memory."""
    opened: Mapping[str, OpenedAgent]
    """What agents find in this process, by their names."""
    is_revoked: Callable[[str, str, str], bool] | None = None
    """As RunEnvironment."""
    signer: Signer | None = None
    """Of this node's calls to others; None: they ask nobody who he is."""
    limits: LimitsInUse | None = None
    """Of tenants and subjects; None: they have none."""
    child_runs: ChildRunner | None = None
    """Where runs go that may end their process; None: all run in the node's own."""

    def proof(self, path: str, address: str) -> Pairs:
        """The metadata of a call to another node. path: the RPC's full name."""
        if self.signer is None:
            return ()
        snapshot = self.membership.current
        nodes = snapshot.nodes.values() if snapshot is not None else ()
        incarnation = next((node.incarnation for node in nodes if node.address == address), 0)
        return peer_metadata(self.signer, path, address, incarnation)
