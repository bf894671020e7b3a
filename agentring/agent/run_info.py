"""Which run it is, who has caused it, and what its process has for it.

docs/agents.md, "Who calls, and which run it is", is the guide.
"""

from typing import Any, Protocol

from agentring.agent.caller import Caller
from agentring.ids import Epoch, NodeId


class RunInfo(Protocol):
    """The part of Context that names the run."""

    @property
    def agent(self) -> str:
        """The name that the agent is hosted under: that of the session's agent."""

    @property
    def tenant(self) -> str:
        """Whose session or task it is; `default` where callers name none."""

    @property
    def session_id(self) -> str:
        """The session's id; empty in a task.

        cart = f"cart of {ctx.session_id}" if ctx.session_id else f"cart of task {ctx.task_key}"
        """

    @property
    def task_key(self) -> str:
        """The task's key; empty in a turn of a session."""

    @property
    def turn_id(self) -> str:
        """The turn's id, unique in its session, the same in every attempt; empty in a task."""

    @property
    def caller(self) -> Caller:
        """Who sent the turn, or began the task: of several calls for the same one, the first. The same in every
        attempt."""

    @property
    def settings(self) -> Any:
        """The agent's settings, of the class that it was declared with; None: it declares none.

        timeout_s = ctx.settings.timeout_s
        """

    @property
    def resources(self) -> Any:
        """What the agent's lifespan has yielded in this process; None: it declares none.

        rows = await ctx.resources.pool.fetch("select 1")
        """

    @property
    def turn_number(self) -> int:
        """The number of this turn among the session's completed ones, from 1; 1 for a task."""

    @property
    def attempt(self) -> int:
        """The number of this run of the turn or task, from 1: more where earlier runs were cut off."""

    @property
    def node_id(self) -> NodeId:
        """The node that it runs on."""

    @property
    def fencing_token(self) -> Epoch:
        """The owner's epoch, for services that can compare it: one lower than they have seen must be refused."""

    @property
    def idempotency_key(self) -> str:
        """The same for every attempt of this turn or task, different for any other."""
