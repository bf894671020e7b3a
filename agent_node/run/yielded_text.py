"""The text of one run: what its agent yields as str, on its way into the log.

Guarantees: no event is larger than what the log merges; beyond the bound nothing is published; what is published is
whole characters: an emoji that was cut in two between two yields (a model's stream, cut by UTF-16 units) is joined, and
a half that stays alone is published as U+FFFD, since no client could read it. What is yielded without an await in
between is published together, by `publish`, each piece under a number of its own. Owned by the run's log (run_log.py).
"""

from collections.abc import Callable, Sequence

from agent_node.events.entries import READ_BYTES

_PIECE = READ_BYTES // 4
"""Characters: each takes at most 4 bytes."""


class OutputLimit(Exception):
    """The agent has said more than it may."""


class YieldedText:
    """The text so far."""

    __slots__ = (
        "_append",
        "_half",
        "_max_bytes",
        "_most_waiting",
        "_texts",
        "_waiting",
        "_waiting_chars",
        "size_bytes",
    )

    def __init__(self, append: Callable[..., int], max_bytes: int, *, together: bool = True) -> None:
        """append: as EventLog.append_text, from the offset on; max_bytes: the most that it may be, in UTF-8; together:
        pieces may wait for `publish`."""
        self._most_waiting = _PIECE if together else -1
        self._append = append
        self._max_bytes = max_bytes
        self._texts: list[str] = []
        self._waiting: list[str] = []
        """What `publish` has yet to publish."""
        self._waiting_chars = 0
        self._half = ""
        """The first half of a character, whose second may come."""
        self.size_bytes = 0

    @property
    def text(self) -> str:
        """All of it."""
        return "".join(self._texts)

    def since(self, pieces: int) -> Sequence[str]:
        """What was published after so many pieces."""
        return self._texts[pieces:]

    def take(self, text: str) -> None:
        """More of it, exactly a str, which the caller has published before anybody can look. Raises OutputLimit, and
        what `append` raises: what may be beyond the bound is published now."""
        self._waiting.append(text)
        self._waiting_chars += len(text)
        most_bytes = 4 * (self._waiting_chars + len(self._half))
        if self._waiting_chars > self._most_waiting or self.size_bytes + most_bytes > self._max_bytes:
            self.publish()

    def publish(self) -> None:
        """Publishes what was taken. Raises as `take`."""
        if not self._waiting:
            return
        texts = list(filter(None, self._waiting))
        self._waiting.clear()
        self._waiting_chars = 0
        together = "".join(texts)
        if together and together.isascii() and not self._half and len(together) <= self._left_chars:
            self.size_bytes += self._append(self.size_bytes, *texts)
            self._texts.append(together)
            return
        for text in texts:
            self._publish(self._whole(text))

    def finish(self) -> None:
        """No more will come. Raises as `take`."""
        self.publish()
        half, self._half = self._half, ""
        self._publish("\N{REPLACEMENT CHARACTER}" if half else "")

    def close(self) -> None:
        """Lets go of the log, which owns this: a cycle would keep the text until the garbage collector looks. What is
        published after that raises RuntimeError."""
        self._append = _over

    @property
    def _left_chars(self) -> int:
        """Of ASCII, so many may be published together."""
        return min(_PIECE, self._max_bytes - self.size_bytes)

    def _whole(self, text: str) -> str:
        text, self._half = self._half + text, ""
        if text.isascii():
            return text
        if 0xD800 <= ord(text[-1]) <= 0xDBFF:
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
            self.size_bytes += self._append(self.size_bytes, piece)
        self._texts.append(text)


def _over(_offset: int, *_texts: str) -> int:
    raise RuntimeError("the turn is over")
