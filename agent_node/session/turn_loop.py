"""Runs a session's turns: takes them from its mailbox, one at a time, and has what each comes to stored and told.

Guarantees: every turn that it takes ends, and ends once, unless it is cut off or the session fails: then it is its next
owner's. What ends a turn is decided at one place (`_finish`), so a cancel that comes while the agent returns is either
before or after, never both. Its end is in the store before anybody is told of it. Used by the session alone.
"""

import asyncio
from collections.abc import Callable
from dataclasses import dataclass, field

from agent_node.json_values import from_struct
from agent_node.run.agent_run import run_agent
from agent_node.run.environment import RunEnvironment
from agent_node.run.outcome import Completed, Failed, attempts_exhausted, cancelled_by_nobody
from agent_node.run.run_input import TurnInput
from agent_node.run.slots import RunSlot, RunSlots
from agent_node.session.journal import TurnJournal
from agent_node.session.mailbox import Mailbox, WaitingTurn
from agent_node.session.questions import SessionQuestions
from agent_node.session.turn_questions import TurnQuestions
from agentring.agent import Agent
from agentring.errors import NodeFenced
from agentring.ids import Epoch


@dataclass(slots=True)
class _Running:
    """The turn that has left the mailbox."""

    turn_id: str
    task: asyncio.Task[Completed | Failed | None]
    cancel_reason: str | None = ""
    """Why it is being cancelled, as whoever does so says; empty: nobody does; None: it is cut off, and left to the
    session's next owner."""
    ended: asyncio.Event = field(default_factory=asyncio.Event)


class TurnLoop:
    """The one that runs the turns of one session."""

    __slots__ = ("_agent", "_asking", "_ended", "_env", "_epoch", "_places", "_running", "_turns", "mailbox")

    def __init__(
        self,
        env: RunEnvironment,
        agent: Agent,
        epoch: Epoch,
        turns: TurnJournal,
        asking: SessionQuestions,
        mailbox: Mailbox,
        places: RunSlots,
        ended: Callable[[], None],
    ) -> None:
        """places: the node's; ended: told after each turn's end."""
        self._env = env
        self._agent = agent
        self._epoch = epoch
        self._turns = turns
        self._asking = asking
        self._places = places
        self._ended = ended
        self._running: _Running | None = None
        self.mailbox = mailbox

    @property
    def running_turn_id(self) -> str | None:
        """The turn that has left the mailbox and has not ended."""
        return self._running.turn_id if self._running else None

    @property
    def turns_ahead(self) -> int:
        """How many turns run or wait."""
        return len(self.mailbox) + (self._running is not None)

    async def run(self) -> None:
        """Runs turn after turn, until cancelled. Raises what the store raises, NodeFenced."""
        try:
            await self._run()
        except ExceptionGroup as group:
            raise group.exceptions[0] from None  # the turn's failure, or ours because of it

    async def cancel(self, turn_id: str, reason: str) -> None:
        """Cancels a turn, if it waits or runs, and returns once it has ended."""
        if self.mailbox.take_back(turn_id):
            await self._turns.cancel(turn_id, reason)
            self._ended()
        elif self._running is not None and self._running.turn_id == turn_id:
            await self._stop(self._running, reason)

    async def cut_off(self) -> None:
        """Stops the turns that run and wait, and neither stores nor tells anything of it."""
        self.mailbox.take_back_all()
        if self._running is not None:
            await self._stop(self._running, None)

    def fail(self, error: Exception) -> None:
        """Makes `run` raise."""
        self.mailbox.fail(error)
        if self._running is not None:
            self._running.task.cancel()

    def drop(self) -> None:
        """Whoever waits for the end of the turn that runs waits no longer."""
        if self._running is not None:
            self._running.ended.set()

    async def _stop(self, running: _Running, reason: str | None) -> None:
        running.cancel_reason = reason
        running.task.cancel()
        await running.ended.wait()

    async def _run(self) -> None:
        async with asyncio.TaskGroup() as group:
            while True:
                # In a frame of its own, which an idle session does not keep: a turn's input and outcome may be large.
                await self._run_to_end(await self.mailbox.get(), group)

    async def _run_to_end(self, waiting: WaitingTurn, group: asyncio.TaskGroup) -> None:
        # Nothing is awaited before it is in `_running`: a turn is always either in the mailbox or cancellable.
        running = self._running = _Running(waiting.turn_id, group.create_task(self._run_turn(waiting)))
        try:
            await asyncio.wait([running.task])
            await self._finish(waiting, running)
        finally:
            self._running = None
            running.ended.set()
        self._asking.forget(waiting.turn_id)
        self._ended()

    async def _run_turn(self, waiting: WaitingTurn) -> Completed | Failed | None:
        """None: the lease may be gone."""
        async with RunSlot(self._places, self._turns.stored.ref.tenant) as place:
            try:
                return await self._run_agent(waiting, place)
            except NodeFenced:
                return None

    async def _run_agent(self, waiting: WaitingTurn, place: RunSlot) -> Completed | Failed:
        turn = await self._turns.start(waiting.turn_id)
        if turn.attempt - self._asking.cut_short(turn.turn_id) > self._env.limits.max_attempts:
            return attempts_exhausted(turn.attempt)
        stored = self._turns.stored
        given = TurnInput(
            ref=stored.ref,
            turn_id=waiting.turn_id,
            attempt=turn.attempt,
            text=waiting.input.text,
            data=from_struct(waiting.input.data),
            state_json=stored.state_json,
            history=stored.history,
            turn_number=stored.turns_completed + 1,
            tool_starts=self._turns.start_tool,
            questions=TurnQuestions(self._asking, waiting.turn_id, place),
            agent=stored.agent,
            deaths=turn.deaths,
        )
        return await run_agent(self._env, self._agent, given, self._turns.log, self._epoch)

    async def _finish(self, waiting: WaitingTurn, running: _Running) -> None:
        self._turns.check()
        if running.task.cancelled():
            if running.cancel_reason is None:
                return
            if running.cancel_reason:
                await self._turns.cancel(waiting.turn_id, running.cancel_reason)
            else:
                await self._turns.fail(waiting.turn_id, cancelled_by_nobody())
            return
        match running.task.result():
            case Completed() as outcome:
                await self._turns.complete(waiting.turn_id, waiting.input.text, outcome)
            case Failed() as outcome:
                await self._turns.fail(waiting.turn_id, outcome)
            case None:
                raise NodeFenced
