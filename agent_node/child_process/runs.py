"""Runs of agents in child processes: how many there may be, and their children.

Guarantees: at most MOST_CHILDREN run at a time, without those that wait for an answer; further ones wait. Where no
child can be made, a run fails: nobody can tell any more whether it would end the node; but where the process that forks
them has ended, which the runs are not to blame for, they are another node's. Called by `run_agent`.
"""

import asyncio

import structlog

from agent_node.child_process.failures import check, failed
from agent_node.child_process.fork_server import ForkServer
from agent_node.child_process.messages import Channel
from agent_node.child_process.run import ChildRun
from agent_node.log_fields import named
from agent_node.run.environment import RunEnvironment
from agent_node.run.outcome import Outcome
from agent_node.run.run_input import RunEvents, TurnInput
from agent_node.run.slots import RunSlot, RunSlots
from agentring.ids import Epoch

MOST_CHILDREN = 32
_BEGIN_S = 60.0
"""How long a child may take to start: the first one waits until the agents are loaded."""
_TRIES = 3

_log = structlog.get_logger()


class ChildRuns:
    """The children of one node. One for a process."""

    def __init__(self, forker: ForkServer, blocked_s: float) -> None:
        """blocked_s: how long a child's event loop may stand still: as long as a node's may, about."""
        self._forker = forker
        self._blocked_s = blocked_s
        self._slots = RunSlots(MOST_CHILDREN, 0)
        self.running = 0
        """How many there are."""
        self.total = 0
        """How many there were."""

    async def run(self, env: RunEnvironment, turn: TurnInput, log: RunEvents, epoch: Epoch) -> Outcome:
        """As `run_agent`. Raises SessionMoving."""
        log_fields = named(turn.ref, turn.agent, turn.turn_id, turn.attempt, turn.trace)
        _log.info("agent_runs_apart", deaths=turn.deaths, **log_fields)
        async with RunSlot(self._slots, turn.ref.tenant) as slot:
            self.running += 1
            self.total += 1
            try:
                for _ in range(_TRIES):
                    if (made := await self._child()) is not None:
                        channel, pid = made
                        run = ChildRun(env, turn, log, epoch, channel, slot)
                        try:
                            return await run.carry_out(self._forker, pid, self._blocked_s, log_fields)
                        finally:
                            channel.close()
                check(self._forker)
                return failed("AGENT_ENDED_NODE", "agent_cannot_run_apart", log_fields)
            finally:
                self.running -= 1

    async def _child(self) -> tuple[Channel, int] | None:
        """The channel to a child that has started, and its pid; None: there is none."""
        try:
            reader, writer = await asyncio.open_unix_connection(sock=self._forker.fork())
        except OSError:
            return None
        channel = Channel(reader, writer)
        try:
            async with asyncio.timeout(_BEGIN_S):
                if (hello := await channel.receive()) is not None:
                    return channel, int(hello[1])
        except TimeoutError:
            pass
        except BaseException:
            channel.close()
            raise
        channel.close()
        return None
