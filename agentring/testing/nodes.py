"""The nodes of one test, one after the other: where one dies the next one goes on with what it left."""

from collections import defaultdict
from collections.abc import Sequence
from itertools import count

from agent_node.agents.lifespans import OpenedAgent
from agentring.agent import Agent, PastTurn
from agentring.ids import parse_session
from agentring.testing.clock import TestClock
from agentring.testing.cut_plans import CutPlans
from agentring.testing.effect import Effect, EffectCall
from agentring.testing.life import Life
from agentring.testing.node import Node
from agentring.testing.premises import Premises
from agentring.testing.step_log import StepLog
from agentring.testing.watched_agent import WatchedAgent

AGENT = "agent"
SESSION = parse_session("", "test")
_run_numbers = count(1)


class Nodes:
    """Resource handling: `close` ends them."""

    def __init__(self, agent: Agent, clock: TestClock) -> None:
        self.plans = CutPlans()
        self.premises = Premises(clock)
        self.agent = WatchedAgent(agent)
        self.opened = OpenedAgent()
        """What the agent finds in each of them."""
        self.step_logs: dict[str, StepLog] = defaultdict(StepLog)
        """By run."""
        self.effects: list[tuple[Effect, EffectCall]] = []
        """In their order, of all nodes."""
        self._run_number = next(_run_numbers)
        self._all: list[Node] = []
        self.are_closed = False

    async def set_session(self, state_json: str, past: Sequence[PastTurn]) -> None:
        """The session has this state, after these turns."""
        await self.premises.add_session(SESSION, AGENT, state_json, past)

    async def session(self) -> tuple[str, Sequence[PastTurn]]:
        """The session's state as it is stored, and its turns so far."""
        stored = await self.premises.sessions.read(SESSION)
        assert stored is not None
        return stored.state_json, stored.history

    async def alive(self) -> Node:
        """The one that is at work."""
        if not self._all or self._all[-1].life.is_over:
            life = Life(self.plans, len(self._all) + 1, self._run_number, self.effects)
            node = Node(self.premises, {AGENT: self.agent}, life, self.step_logs, {AGENT: self.opened})
            self._all.append(node)
            await node.begin()
        return self._all[-1]

    @property
    def cuts(self) -> list[str]:
        """Where those that are dead died, for people."""
        return [node.life.cut for node in self._all if node.life.is_over]

    async def close(self) -> None:
        """Ends them all; what is left of agents cleans up now."""
        self.are_closed = True
        for node in reversed(self._all):
            await node.close()
