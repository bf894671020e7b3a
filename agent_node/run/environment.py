"""What all runs of agents on one incarnation of the node have in common: its lease, its bounds, its audit log."""

from collections.abc import Callable, Mapping
from dataclasses import dataclass, field
from functools import partial
from typing import Protocol

from agent_node.agents.lifespans import OpenedAgent
from agent_node.audit import AuditLog
from agent_node.halt.halts import Halts
from agent_node.once.steps import Once
from agent_node.quota.quota import Quota
from agent_node.run.call_terms import CallTerms
from agent_node.run.outcome import Outcome
from agent_node.run.run_input import RunEvents, TurnInput
from agent_node.run.tool_places import ToolPlaces
from agent_node.run.wait_cycles import WaitCycles
from agent_node.step.clock import SYSTEM_CLOCK, RunClock
from agent_node.step.recorder import StepRecorder
from agent_node.store import Ownership
from agentring.cluster.lease import Lease
from agentring.errors import AgentNotFound, AgentringError
from agentring.ids import Epoch, Incarnation, NodeId, SessionRef

_CANCEL_GRACE_S = 2.0


@dataclass(frozen=True, slots=True)
class TurnLimits:
    """What one run may take."""

    timeout_s: float
    max_text_bytes: int
    max_state_bytes: int
    max_history_turns: int = 100
    """Completed turns of a session that its agent sees."""
    max_attempts: int = 10
    """Runs of one turn since the last one that recorded a step; one that is cut off so often ends its nodes."""
    most_attempts: int = 100
    """Runs of one turn in all."""
    cancel_grace_s: float = _CANCEL_GRACE_S
    """How long an agent may take to end once it is cancelled or its time is over; then it is abandoned."""
    max_storage_bytes: int = 64 << 20
    """What `ctx.storage` holds of one session or task, keys included."""
    step_wait_s: float = 30.0
    """How long an attempt may wait for a recorded step to be asked for while nothing else happens to its steps."""

    def are_exhausted(self, attempt: int, last_gain: int) -> bool:
        """Whether a run has had all its attempts before this one. last_gain: the last one that recorded a step."""
        return attempt > self.most_attempts or attempt - last_gain > self.max_attempts


class ChildRunner(Protocol):
    """Runs agents in child processes: those that may end their process (agent_node/child_process)."""

    async def run(self, env: "RunEnvironment", turn: TurnInput, log: RunEvents, epoch: Epoch) -> Outcome:
        """As run_agent (agent_run.py)."""


@dataclass(frozen=True, slots=True)
class RunEnvironment:
    """What every run on this incarnation of the node has in common."""

    node_id: NodeId
    lease: Lease
    audit: AuditLog
    limits: TurnLimits
    incarnation: Incarnation
    once: Once | None = None
    """Single-flight for steps; None: there is none."""
    child_runs: ChildRunner | None = None
    """None: every run is in the node's own process."""
    missing_agent: Callable[[str], AgentringError] = AgentNotFound
    """The answer to a call for an agent that is not hosted here."""
    wait_cycles: WaitCycles = field(default_factory=WaitCycles)
    """Who waits for whom."""
    opened: Mapping[str, OpenedAgent] = field(default_factory=dict)
    """What agents find in this process, by their names; of one that is not in it: nothing."""
    clock: RunClock = SYSTEM_CLOCK
    """What time it is for steps."""
    watch_steps: Callable[[StepRecorder], StepRecorder] | None = None
    """The test kit's: what stands between a run's steps and their recorder; None: nothing does."""
    halts: Halts = field(default_factory=Halts)
    """What is halted."""
    is_revoked: Callable[[str, str, str], bool] | None = None
    """Whether a tenant's subject's credential was revoked by which work was accepted; None: nobody is asked who he
    is."""
    tool_places: ToolPlaces = field(default_factory=ToolPlaces)
    """How many calls of a tool run at a time."""
    quota: Quota | None = None
    """What tenants and subjects have here, and may have; None: they have no limits."""

    def ownership(self, ref: SessionRef, epoch: Epoch) -> Ownership:
        """What the store compares with the writes of a session that this incarnation has claimed."""
        return Ownership(ref, epoch, self.owner)

    def revocation(self, tenant: str, terms: CallTerms) -> Callable[[], bool] | None:
        """As RunGate. tenant, terms: of the run."""
        asked = self.is_revoked
        if asked is None or not terms.credential_id:
            return None
        return partial(asked, tenant, terms.subject, terms.credential_id)

    @property
    def owner(self) -> str:
        """As owner_name."""
        return owner_name(self.node_id, self.incarnation)


def owner_name(node_id: NodeId, incarnation: Incarnation) -> str:
    """Names an incarnation in the store."""
    return f"{node_id}/{incarnation}"
