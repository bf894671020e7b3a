"""The questions that a session's turns ask, and their answers.

Guarantees: a question is stored before it is told, an answer before it is acknowledged, so both outlive their node; a
question's input_id follows from its turn and its place among the turn's questions, so a turn that runs again finds the
answers it has had, and asks anew only what is open; an answer is taken once, and the same one again changes nothing,
also after the turn's end. One change at a time, each carried out to its end: an answer that comes while a turn that
runs again stores that it waits can neither overtake it nor be overwritten by it.

A run that its node's end cut off while it waited has not failed: `waits` counts those runs, and they do not count
against the runs that a turn is allowed. A run that was answered before it was cut off does count. Used by the session
and, through it, by the turn that runs.
"""

import asyncio
from collections.abc import Callable, Hashable, Iterable
from dataclasses import replace
from typing import Any

from agent_node.run.input_fingerprint import input_fingerprint
from agent_node.session.journal import TurnJournal
from agent_node.single_flight import SingleFlight
from agent_node.store import StoredInput
from agentring.errors import InputAnswered, InputNotFound, InvalidTurnId
from agentring.ids import parse_turn_id
from agentring.v1 import session_pb2

_ORDINAL_DIGITS = 6


class SessionQuestions:
    """One session's questions. One of them can be waited for at a time, as one turn runs at a time."""

    def __init__(
        self,
        turns: TurnJournal,
        changes: SingleFlight[Hashable, Any],
        stored: Iterable[StoredInput],
        waits: Callable[[], None],
    ) -> None:
        """stored: of turns that have not ended; waits: told whenever a turn begins to wait."""
        self._turns = turns
        self._changes = changes
        self._inputs = {asked.input_id: asked for asked in stored}
        self._waits = waits
        self._changing = asyncio.Lock()
        self._waiting_for: str | None = None
        self._answered: asyncio.Event | None = None
        """While it waits."""
        self._given_up: set[str] = set()
        """Questions that the agent stopped waiting for by itself, while its run goes on."""

    @property
    def is_waiting(self) -> bool:
        """Whether the running turn waits for an answer that has not come."""
        return self._answered is not None and not self._answered.is_set()

    def cut_short(self, turn_id: str) -> int:
        """How many runs of a turn ended while they waited."""
        return sum(asked.waits for asked in self._inputs.values() if asked.turn_id == turn_id)

    def open_questions(self) -> list[session_pb2.Question]:
        """What waits for an answer; also where the run that asked was cut off, and the next has yet to ask again."""
        return [
            asked.to_question()
            for asked in self._inputs.values()
            if asked.answer is None and asked.input_id not in self._given_up and self._is_open(asked.turn_id)
        ]

    def forget(self, turn_id: str) -> None:
        """The turn has ended: its questions are in the store alone."""
        self._inputs = {key: asked for key, asked in self._inputs.items() if asked.turn_id != turn_id}
        self._given_up &= self._inputs.keys()

    def answer(self, turn_id: str, ordinal: int) -> session_pb2.Input | None:
        """What was answered already; None: the question must be asked. ordinal: its place in the turn, from 1."""
        asked = self._inputs.get(_input_id(turn_id, ordinal))
        return asked.answer_message() if asked is not None else None

    async def ask(
        self, turn_id: str, ordinal: int, question: session_pb2.InputRequired, tell: Callable[[str], None]
    ) -> session_pb2.Input:
        """Asks, and returns the answer once there is one. tell: tells the question under its input_id.

        Raises what the store raises. Cancellation: the question stays open, and a later run asks it again.
        """
        input_id = _input_id(turn_id, ordinal)
        asked = StoredInput(input_id, turn_id, question=question.SerializeToString(deterministic=True))
        await self._changes.get(object(), lambda: self._keep_asked(asked))
        if (answer := self.answer(turn_id, ordinal)) is not None:
            return answer  # it came meanwhile, for the question as an earlier run had asked it
        answered = self._answered = asyncio.Event()
        self._waiting_for = input_id
        self._given_up.discard(input_id)
        try:
            tell(input_id)
            self._waits()
            await answered.wait()
        finally:
            self._waiting_for = self._answered = None
            if not answered.is_set():
                self._given_up.add(input_id)
        answer = self.answer(turn_id, ordinal)
        assert answer is not None  # that is what the event says
        return answer

    async def reply(self, input_id: str, given: session_pb2.Input) -> None:
        """Stores an answer and lets the turn go on. The caller has it carried out to its end.

        Raises InputNotFound, InputAnswered (with something else), and what the store raises.
        """
        async with self._changing:
            asked = self._inputs.get(input_id) or await self._find(input_id)
            if asked is None:
                raise InputNotFound
            if (earlier := asked.answer_message()) is not None:
                if input_fingerprint(earlier) != input_fingerprint(given):
                    raise InputAnswered
                return
            if not self._is_open(asked.turn_id):
                raise InputNotFound
            # The run that waits now was not cut short: whatever ends it from here on, it was answered.
            waits = asked.waits - (self._waiting_for == input_id)
            answered = replace(asked, waits=waits, answer=given.SerializeToString(deterministic=True))
            await self._turns.keep_input(answered)
            if self._is_open(asked.turn_id):
                self._inputs[input_id] = answered
            if self._answered is not None and self._waiting_for == input_id:
                self._answered.set()

    async def _keep_asked(self, fresh: StoredInput) -> None:
        async with self._changing:
            asked = self._inputs.get(fresh.input_id, fresh)
            if asked.answer is None:
                asked = replace(asked, waits=asked.waits + 1, question=fresh.question)
                await self._turns.keep_input(asked)
                self._inputs[fresh.input_id] = asked

    async def _find(self, input_id: str) -> StoredInput | None:
        turn_id, _, ordinal = input_id.rpartition(".")
        try:
            parse_turn_id(turn_id)
        except InvalidTurnId:
            return None
        if not (ordinal.isascii() and ordinal.isdigit() and len(ordinal) <= _ORDINAL_DIGITS):
            return None
        return await self._turns.find_input(input_id)

    def _is_open(self, turn_id: str) -> bool:
        turn = self._turns.known(turn_id)
        return turn is not None and turn.end_seq is None


def _input_id(turn_id: str, ordinal: int) -> str:
    return f"{turn_id}.{ordinal}"
