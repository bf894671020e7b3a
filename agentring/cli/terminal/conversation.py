"""One session as somebody speaks with it at a terminal: a line is a turn, and its events are shown as they come.

Guarantees what agentring.client does; adds that what happens is shown, that an address where nobody has ever answered
is printed at once, and that no line waits in silence behind a question: what is open when the conversation begins, and
what a turn ahead of ours asks, is shown and asked here too, even if somebody else was asked first. A question that gets
no answer stays open. Called by `chat` and `questions`.
"""

from collections.abc import Awaitable, Callable
from contextlib import AbstractContextManager
from dataclasses import replace

from agentring.cli.calls import explained, open_ring
from agentring.cli.terminal.event_view import EventView
from agentring.client import (
    AgentringError,
    Attached,
    Gap,
    InputRequired,
    Question,
    RetryPolicy,
    Ring,
    RingUnreachable,
    TurnAccepted,
    TurnCancelled,
    TurnCompleted,
    TurnFailed,
)
from agentring.errors import InputAnswered, InputNotFound

Ask = Callable[[], Awaitable[str | None]]
"""What the person answers; None: nothing more will come."""
_HOW = "questions answer"


class Conversation:
    """A session, as one person speaks with it. Who makes one calls `close`."""

    def __init__(
        self,
        routers: str,
        session_id: str,
        agent: str,
        tenant: str,
        view: EventView,
        policy: RetryPolicy | None = None,
    ) -> None:
        """routers: several with commas. Nothing is sent yet. Raises CallFailed: a name is not well formed."""
        self._answers: set[str] = set()
        """The questions that were answered here; one that is asked again by a turn's next run is not asked again."""
        self._routers = routers
        self._untried = routers.count(",")
        """How many of the routers another call may still find, while none has answered."""
        self._view = view
        self._answered = False
        self._noted = False
        with self._explained():
            self._ring: Ring = open_ring(routers, tenant, replace(policy or RetryPolicy(), on_retry=self._note))
            self._session = self._ring.session(session_id, agent=agent)

    async def attach(self) -> Attached:
        """Attaches to the session, which is made if it does not exist. Raises CallFailed."""
        with self._explained():
            attached = await self._session.open()
        self._got_answer()
        self._view.show_owner(attached.node_id, attached.epoch)
        return attached

    async def run_turn(self, text: str, ask: Ask) -> bool:
        """Runs one turn to its end and shows it; whether it completed. `ask` answers the agent's questions, those of
        turns before it too.

        Raises CallFailed. Cancellation: the turn goes on without us.
        """
        self._view.begin_turn()
        with self._explained():
            async with self._session.send(text) as turn:
                async for event in turn:
                    self._got_answer()
                    self._view.show(event.raw)
                    if isinstance(event, TurnAccepted) and event.turns_ahead:
                        if not await self._wait_behind(event, ask):
                            return False
                    elif isinstance(event, InputRequired) and not await self._asked(event.input_id, ask):
                        return False
                return isinstance(turn.end, TurnCompleted)

    async def finish_turn(self, question: Question, after_seq: int, ask: Ask) -> bool:
        """Asks a question that was open before the conversation began, and shows its turn to the end; whether the turn
        completed. after_seq: what came up to it is known. Raises CallFailed. Cancellation: as run_turn."""
        self._view.begin_turn()
        self._view.show_question(question)
        with self._explained():
            if not await self._asked(question.input_id, ask):
                return False
            async with self._session.watch(after_seq) as events:
                async for event in events:
                    self._got_answer()
                    if event.turn_id != question.turn_id and not isinstance(event, Gap):
                        continue
                    self._view.show(event.raw)
                    if isinstance(event, InputRequired) and not await self._asked(event.input_id, ask):
                        return False
                    if isinstance(event, (TurnCompleted, TurnFailed, TurnCancelled)):
                        return isinstance(event, TurnCompleted)
        return False

    async def close(self) -> None:
        """Ends the connection."""
        await self._ring.close()

    async def _wait_behind(self, accepted: TurnAccepted, ask: Ask) -> bool:
        """Until the turn is no longer behind another one; False: one of those waits for an answer that nobody gives."""
        for question in accepted.questions:
            self._view.show_question(question)
            if not await self._asked(question.input_id, ask):
                return False
        async with self._session.watch(accepted.seq) as events:
            async for event in events:
                if isinstance(event, Gap) or event.turn_id == accepted.turn_id:
                    break
                if isinstance(event, InputRequired) and event.input_id not in self._answers:
                    self._view.show_question(_question(event))
                    if not await self._asked(event.input_id, ask):
                        return False
        return True

    async def _asked(self, input_id: str, ask: Ask) -> bool:
        """Has a question answered; False: there is no answer, and it stays open."""
        if input_id in self._answers:
            return True
        if (answer := await ask()) is None:
            self._view.warn(f"the question stays open: answer it in `agentring chat`, or by `agentring {_HOW}`")
            return False
        self._answers.add(input_id)
        try:
            await self._session.reply(input_id, answer)
        except (InputAnswered, InputNotFound) as late:
            self._view.note(f"({late.reason}: it waits for no answer any more; the line was not sent)")
        return True

    def _got_answer(self) -> None:
        self._answered = True
        self._noted = False

    def _note(self, error: Exception) -> None:
        if isinstance(error, RingUnreachable) and not self._answered:
            if not self._untried:
                # Nobody has ever answered at this address: that is not a connection lost, but a wrong address.
                raise error
            self._untried -= 1
            return
        if not self._noted:
            self._noted = True
            reason = error.reason if isinstance(error, AgentringError) else "the connection was lost"
            self._view.note(f"({reason}; trying again)")

    def _explained(self) -> AbstractContextManager[None]:
        return explained(self._routers)


def _question(event: InputRequired) -> Question:
    return Question(event.turn_id, event.input_id, event.prompt, event.schema)
