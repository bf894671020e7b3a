"""What a test answers to its agent's questions, and what it makes of a turn's end."""

from collections import deque
from collections.abc import Callable, Iterable
from typing import TypeAlias

from agentring.agent import Answer, JsonObject
from agentring.client.events import Question
from agentring.testing.ended_turn import Turn
from agentring.testing.errors import TurnNotAsExpected

Reply: TypeAlias = str | JsonObject | Answer
"""An answer: its text, its data, or both."""


class Answers:
    """Those to come, in their order; then a function's."""

    def __init__(self) -> None:
        self.waiting: deque[Reply] = deque()
        self.function: Callable[[Question], Reply] | None = None

    def add(self, answers: Iterable[Reply | Callable[[Question], Reply]]) -> None:
        """As AgentTest.answers."""
        for answer in answers:
            if callable(answer):
                self.function = answer
            elif isinstance(answer, str | dict | Answer):
                self.waiting.append(answer)
            else:
                raise TypeError(f"an answer is a str, a dict, an Answer or a function, not {type(answer).__name__}")

    def copy(self) -> "Answers":
        """The same ones, for another run."""
        copied = Answers()
        copied.waiting, copied.function = deque(self.waiting), self.function
        return copied

    def __call__(self, question: Question) -> Answer | None:
        """None: there is none."""
        if self.waiting:
            return _answer(self.waiting.popleft())
        return _answer(self.function(question)) if self.function is not None else None


def check_end(turn: Turn, what: str, fails: str, missed: str) -> None:
    """what: the turn, for people; fails: as AgentTest.turn; missed: where its node was to die, and did not. Raises
    TurnNotAsExpected."""
    if missed:
        raise TurnNotAsExpected(f"{what} ended, and its node was still to die {missed}; it had: {turn!r}")
    if turn.failure == fails:
        return
    if not turn.failure:
        raise TurnNotAsExpected(f"{what} completed, and was to fail with {fails}: {turn!r}")
    wanted = f", and was to fail with {fails}" if fails else ""
    raised = f": {type(turn.error).__name__}: {turn.error}" if turn.error is not None else ""
    detail = f" ({turn.detail})" if turn.detail else ""
    raise TurnNotAsExpected(f"{what} failed with {turn.failure}{detail}{wanted}{raised}") from turn.error


def _answer(reply: Reply) -> Answer:
    match reply:
        case str():
            return Answer(reply, {})
        case Answer():
            return reply
        case _:
            return Answer("", reply)
