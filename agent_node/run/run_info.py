"""Which run it is, and who has caused it, as its agent sees it: the part of its Context that names the run."""

from typing import Any

from agent_node.agents.lifespans import OpenedAgent
from agent_node.run.environment import RunEnvironment
from agent_node.run.run_input import TurnInput
from agentring.agent import Caller
from agentring.ids import Epoch, NodeId, SessionRef

_NOTHING = OpenedAgent()


class RunInfo:
    """Of one run. RunContext (context.py) is made of it, and sets what it reads."""

    _env: RunEnvironment
    _turn: TurnInput
    _epoch: Epoch

    @property
    def agent(self) -> str:
        """As Context."""
        return self._turn.agent

    @property
    def tenant(self) -> str:
        """As Context."""
        return self._turn.ref.tenant

    @property
    def session_id(self) -> str:
        """As Context."""
        ref = self._turn.ref
        return ref.session_id if isinstance(ref, SessionRef) else ""

    @property
    def task_key(self) -> str:
        """As Context."""
        ref = self._turn.ref
        return "" if isinstance(ref, SessionRef) else ref.task_key

    @property
    def turn_id(self) -> str:
        """As Context."""
        return self._turn.turn_id

    @property
    def caller(self) -> Caller:
        """As Context."""
        return Caller(self._turn.ref.tenant, self._turn.terms.subject, metadata=dict(self._turn.terms.metadata))

    @property
    def settings(self) -> Any:
        """As Context."""
        return self._env.opened.get(self._turn.agent, _NOTHING).settings

    @property
    def resources(self) -> Any:
        """As Context."""
        return self._env.opened.get(self._turn.agent, _NOTHING).resources

    @property
    def turn_number(self) -> int:
        """As Context."""
        return self._turn.turn_number

    @property
    def attempt(self) -> int:
        """As Context."""
        return self._turn.attempt

    @property
    def node_id(self) -> NodeId:
        """As Context."""
        return self._env.node_id

    @property
    def fencing_token(self) -> Epoch:
        """As Context."""
        return self._epoch

    @property
    def idempotency_key(self) -> str:
        """As Context."""
        return self._turn.idempotency_key
