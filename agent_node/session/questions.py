"""The questions that a session's turns ask, and their answers.

Guarantees: a question is stored before it is published, an answer before it is acknowledged, so both outlive their
node; a question's input_id follows from its turn and its ordinal in the turn, so a turn that runs again finds the
answers it has had, and asks anew only what is open; an answer is taken once, and the same one again changes nothing,
also after the turn's end. A turn that waits for an answer holds no run slot, and its deadline is paused.

Invariant: what is stored of a question is read and replaced inside one write, so an answer that comes while a turn that
runs again stores that it waits can neither overtake it nor be overwritten by it (test_question_races.py).

A run that its node's end cut off while it waited has not failed: `waits` counts those runs, and they do not count
against the runs that a turn is allowed. A run that was answered before it was cut off does count.
"""

import asyncio
from collections.abc import Callable, Iterable
from dataclasses import replace
from functools import partial

from agent_node.run.input_fingerprint import input_fingerprint
from agent_node.run.slots import RunSlot
from agent_node.run.time_limit import PausableDeadline
from agent_node.session.change_signal import ChangeSignal
from agent_node.session.fenced_writer import FencedWriter
from agent_node.session.turn_index import TurnIndex
from agent_node.session.uninterrupted import run_to_end
from agent_node.store import Ownership, Store, StoredInput
from agentring.errors import InputAnswered, InputNotFound, InvalidTurnId
from agentring.ids import parse_turn_id
from agentring.v1 import session_pb2

_ORDINAL_DIGITS = 6


class SessionQuestions:
    """One session's questions. One of them can be waited for at a time, as one turn runs at a time."""

    def __init__(
        self,
        store: Store,
        ownership: Ownership,
        stored: Iterable[StoredInput],
        turns: TurnIndex,
        writer: FencedWriter,
        changed: ChangeSignal,
        tasks: asyncio.TaskGroup,
    ) -> None:
        """stored: of turns that have not ended; changed: woken when a turn begins to wait, and when it is answered."""
        self._store = store
        self._ownership = ownership
        self._inputs = {question.input_id: question for question in stored}
        self._turns = turns
        self._writer = writer
        self._changed = changed
        self._tasks = tasks
        self._waiting_for: str | None = None
        self._given_up: set[str] = set()
        """Questions that the agent stopped waiting for by itself, while its run goes on."""

    @property
    def is_waiting(self) -> bool:
        """Whether the running turn waits for an answer that has not come."""
        if self._waiting_for is None:
            return False
        question = self._inputs.get(self._waiting_for)
        return question is None or question.answer is None

    def runs_cut_off(self, turn_id: str) -> int:
        """How many runs of a turn were cut off while they waited."""
        return sum(question.waits for question in self._inputs.values() if question.turn_id == turn_id)

    def open_questions(self) -> list[session_pb2.Question]:
        """What waits for an answer; also where the run that asked was cut off, and the next has yet to ask again."""
        return [
            question.to_question()
            for question in self._inputs.values()
            if question.answer is None
            and question.input_id not in self._given_up
            and self._turns.is_open(question.turn_id)
        ]

    def forget(self, turn_id: str) -> None:
        """The turn has ended: its questions are in the store alone."""
        self._inputs = {key: question for key, question in self._inputs.items() if question.turn_id != turn_id}
        self._given_up &= self._inputs.keys()

    async def ask(
        self, turn_id: str, ordinal: int, question: session_pb2.InputRequired, publish: Callable[[str], None]
    ) -> session_pb2.Input:
        """Asks, unless there is an answer already, and returns the answer once there is one. publish: publishes the
        question under its input_id.

        Raises what the store raises. Cancellation: the question stays open, and a later run asks it again.
        """
        input_id = _input_id(turn_id, ordinal)
        asked = StoredInput(input_id, turn_id, question=question.SerializeToString(deterministic=True))
        await run_to_end(self._tasks, partial(self._store_asked, asked))
        if (answer := self._answer(input_id)) is not None:
            return answer  # it came meanwhile, for the question as an earlier run had asked it
        self._waiting_for = input_id
        self._given_up.discard(input_id)
        try:
            publish(input_id)
            self._changed.wake()
            await self._changed.until(lambda: not self.is_waiting)
        finally:
            self._waiting_for = None
            if self._answer(input_id) is None:
                self._given_up.add(input_id)
        answer = self._answer(input_id)
        assert answer is not None  # that is what it has waited for
        return answer

    def answer(self, turn_id: str, ordinal: int) -> session_pb2.Input | None:
        """The answer to question `ordinal` of a turn, from 1; None: it must be asked."""
        return self._answer(_input_id(turn_id, ordinal))

    async def reply(self, input_id: str, answer: session_pb2.Input) -> None:
        """Stores an answer and lets the turn go on. One at a time: the caller holds the session's lock, and has it
        carried out to its end.

        Raises InputNotFound, InputAnswered (with something else), and what the store raises.
        """
        question = self._inputs.get(input_id) or await self._find(input_id)
        if question is None:
            raise InputNotFound
        if (earlier := question.answer_message()) is not None:
            if input_fingerprint(earlier) != input_fingerprint(answer):
                raise InputAnswered
            return
        if not self._turns.is_open(question.turn_id):
            raise InputNotFound
        async with self._writer:
            question = self._inputs.get(input_id, question)
            # The run that waits now was not cut off: whatever ends it from here on, it was answered.
            waits = question.waits - (self._waiting_for == input_id)
            answered = replace(question, waits=waits, answer=answer.SerializeToString(deterministic=True))
            await self._store.keep_input(self._ownership, answered)
        if self._turns.is_open(question.turn_id):
            self._inputs[input_id] = answered
            self._changed.wake()

    async def _store_asked(self, asked: StoredInput) -> None:
        async with self._writer:
            question = self._inputs.get(asked.input_id, asked)
            if question.answer is None:
                question = replace(question, waits=question.waits + 1, question=asked.question)
                await self._store.keep_input(self._ownership, question)
                self._inputs[asked.input_id] = question

    def _answer(self, input_id: str) -> session_pb2.Input | None:
        question = self._inputs.get(input_id)
        return question.answer_message() if question is not None else None

    async def _find(self, input_id: str) -> StoredInput | None:
        """A question, also of a turn that ended long ago."""
        turn_id, _, ordinal = input_id.rpartition(".")
        try:
            parse_turn_id(turn_id)
        except InvalidTurnId:
            return None
        if not (ordinal.isascii() and ordinal.isdigit() and len(ordinal) <= _ORDINAL_DIGITS):
            return None
        return await self._store.read_input(self._ownership.ref, input_id)


class TurnQuestions:
    """The questions of one run: how it asks without holding its run slot."""

    def __init__(self, questions: SessionQuestions, turn_id: str, slot: RunSlot) -> None:
        self._questions = questions
        self._turn_id = turn_id
        self._slot = slot

    async def ask(
        self, ordinal: int, question: session_pb2.InputRequired, publish: Callable[[str], None], time: PausableDeadline
    ) -> session_pb2.Input:
        """As Questions."""
        if (known := self._questions.answer(self._turn_id, ordinal)) is not None:
            return known
        time.pause()
        self._slot.release()
        try:
            answer = await self._questions.ask(self._turn_id, ordinal, question, publish)
            await self._slot.acquire()
        finally:
            time.resume()
        return answer


def _input_id(turn_id: str, ordinal: int) -> str:
    return f"{turn_id}.{ordinal}"
