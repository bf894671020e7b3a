"""The text of one run: what its agent yields as str, on its way into the log.

Guarantees: no event is larger than what the log merges; beyond the bound nothing is published; what is published is
whole characters: an emoji that was cut in two between two yields (a model's stream, cut by UTF-16 units) is joined, and
a half that stays alone is published as U+FFFD, since no client could read it. Used by context.py.
"""

from agent_node.events.entries import READ_BYTES
from agent_node.events.log import EventLog

_PIECE = READ_BYTES // 4
"""Characters: each takes at most 4 bytes."""


class OutputLimit(Exception):
    """The agent has said more than it may."""


class YieldedText:
    """The text so far."""

    __slots__ = ("_attempt", "_half", "_log", "_max_bytes", "_texts", "_turn_id", "size_bytes")

    def __init__(self, log: EventLog, turn_id: str, attempt: int, max_bytes: int) -> None:
        """max_bytes: the most that it may be, in UTF-8."""
        self._log = log
        self._turn_id = turn_id
        self._attempt = attempt
        self._max_bytes = max_bytes
        self._texts: list[str] = []
        self._half = ""
        """The first half of a character, whose second may come."""
        self.size_bytes = 0

    @property
    def text(self) -> str:
        """All of it."""
        return "".join(self._texts)

    def take(self, text: str) -> None:
        """Publishes more of it. Raises OutputLimit, and what the log raises."""
        self._publish(self._whole(text))

    def finish(self) -> None:
        """No more will come."""
        half, self._half = self._half, ""
        self._publish("\N{REPLACEMENT CHARACTER}" if half else "")

    def _whole(self, text: str) -> str:
        text, self._half = self._half + str.__str__(text), ""  # not what a subclass says of itself
        if text.isascii():
            return text
        if "\ud800" <= text[-1] <= "\udbff":
            text, self._half = text[:-1], text[-1]
        try:
            text.encode()
        except UnicodeEncodeError:
            return text.encode("utf-16-le", "surrogatepass").decode("utf-16-le", "replace")
        return text

    def _publish(self, text: str) -> None:
        if not text:
            return
        if self.size_bytes + len(text.encode()) > self._max_bytes:
            raise OutputLimit
        for start in range(0, len(text), _PIECE):
            piece = text[start : start + _PIECE]
            self.size_bytes += self._log.append_text(self._turn_id, self._attempt, self.size_bytes, piece)
        self._texts.append(text)
