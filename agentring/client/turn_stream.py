"""One run of an agent as its client reads it, a turn or a task: events, the words so far, and how it ended.

Guarantees that `text` is what the agent said in its last attempt, and nothing of an attempt that was cut off. Used by
session.py and tasks.py.
"""

from dataclasses import dataclass, field

from agentring.client.errors import RunCancelled, RunFailed
from agentring.client.events import AttemptRestarted, Event, TextDelta, TurnCancelled, TurnCompleted, TurnFailed
from agentring.client.inputs import Json
from agentring.client.streams import Connection, EventStream, Start
from agentring.held import Ref, waiting
from agentring.usage import Usage


@dataclass(frozen=True, slots=True)
class Outcome:
    """How a turn or a task's run that completed has ended."""

    text: str
    """The agent's words."""
    result: dict[str, Json] | None
    """What the agent returned beside its words."""
    is_whole: bool
    """False: some of the words are lost with the node that sent them, or the result is stored so that no client can
    read it."""
    usage: Usage | None = field(default=None, kw_only=True)
    """What its model calls have used; None: its agent counted nothing."""


class RunStream(EventStream):
    """The events of one run, to its end."""

    _counts_silence = False  # the next call begins with the run's first event whatever is known

    def __init__(self, connection: Connection, start: Start, ref: Ref, seq: int | None = None) -> None:
        """ref: whose run it is; else as EventStream."""
        super().__init__(connection, start, seq)
        self._ref = ref
        self._words: list[str] = []
        self._text_bytes = 0
        self.end: TurnCompleted | TurnFailed | TurnCancelled | None = None
        """How it ended; None: it has not, or not been read so far."""

    async def __anext__(self) -> Event:
        """As EventStream."""
        with waiting(self._ref):
            return await super().__anext__()

    @property
    def text(self) -> str:
        """The words that were read so far; provisional until the run has completed."""
        return "".join(self._words)

    async def outcome(self) -> Outcome:
        """Reads to the end. Raises RunFailed, RunCancelled, AgentringError, ClientError."""
        async for _ in self:
            pass
        match self.end:
            case TurnCompleted(result=result, text_bytes=text_bytes, result_lost=lost, usage=usage):
                return Outcome(self.text, result, text_bytes == self._text_bytes and not lost, usage=usage)
            case TurnFailed(reason=reason, error_id=error_id, detail=detail):
                raise RunFailed(reason, error_id, detail)
            case TurnCancelled(reason=reason):
                raise RunCancelled(reason)
        raise RuntimeError("the stream was closed before its end")

    def _take(self, event: Event) -> bool:
        match event:
            case TextDelta(text=text):
                self._words.append(text)
                self._text_bytes += len(text.encode())
            case AttemptRestarted(valid_text_bytes=valid_bytes):
                valid = self.text.encode()[:valid_bytes]
                self._words = [valid.decode(errors="replace")]
                self._text_bytes = len(valid)
            case TurnCompleted() | TurnFailed() | TurnCancelled():
                self.end = event
                return True
        return False
