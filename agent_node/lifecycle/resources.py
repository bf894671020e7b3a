"""What the process opens once, and every incarnation of the node works with. Made by the node's app."""

from collections.abc import Callable, Mapping
from dataclasses import dataclass

from agent_node.agents.lifespans import OpenedAgent
from agent_node.audit import AuditLog
from agent_node.halt.reading import HaltReader
from agent_node.run.environment import ChildRunner
from agent_node.settings import NodeSettings
from agent_node.store.sql.sessions import SqlStore
from agentring.agent import Agent
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
    child_runs: ChildRunner | None = None
    """Where runs go that may end their process; None: all run in the node's own."""
