"""Puts a streamed answer together from its chunks, as OpenAI-compatible endpoints send them.

Guarantees: what is no answer is an error, never half of one: a chunk that is malformed, a stream that ends before its
finish_reason, more than the most bytes. Takes what endpoints make of the format: usage in a chunk of its own, in the
last one or in each, tool calls split over chunks in any way, without an index or an id, and empty or missing fields.
"""

from typing import Any

from agentring.models.reply import ONE_CALL, Reply, ToolCall
from agentring.usage import MOST_USAGE, Usage

MOST_BYTES = 4 << 20
"""Of an answer's text and the arguments of its tool calls."""
MOST_CALLS = 256


class BadChunk(Exception):
    """What the endpoint sends is no answer."""


class TooLong(Exception):
    """The answer has more than the most bytes."""


class AssembledReply:
    """One answer under way."""

    def __init__(self) -> None:
        """Nothing has come."""
        self._texts: list[str] = []
        self._calls: list[_OpenCall] = []
        self._finish_reason = ""
        self._usage = ONE_CALL
        self._left_bytes = MOST_BYTES

    def take(self, chunk: Any) -> str:
        """The text of a chunk. chunk: as the openai package reads it, unchecked. Raises BadChunk, TooLong."""
        if (used := getattr(chunk, "usage", None)) is not None:
            self._usage = _usage(used)
        choices = getattr(chunk, "choices", None)
        if not choices:
            return ""  # usage, or a filter's verdict
        if type(choices) is not list:
            raise BadChunk("a chunk whose choices are no list")
        choice = choices[0]
        delta = getattr(choice, "delta", None)
        if delta is None:
            raise BadChunk("a chunk without a delta")
        text = self._text(getattr(delta, "content", None)) + self._text(getattr(delta, "refusal", None))
        for part in getattr(delta, "tool_calls", None) or ():
            self._take_call(part)
        reason = getattr(choice, "finish_reason", None)
        if reason is not None:
            self._finish_reason = _str(reason, "a finish_reason")
        if text:
            self._texts.append(text)
        return text

    def finish(self) -> Reply:
        """The answer, its stream having ended. Raises BadChunk where it has not come to its end."""
        if not self._finish_reason:
            raise BadChunk("the stream ended before the answer did")
        calls = tuple(call.finished(number) for number, call in enumerate(self._calls, 1))
        return Reply("".join(self._texts), calls, self._usage, self._finish_reason)

    def _text(self, value: Any) -> str:
        if value is None:
            return ""
        text = _str(value, "text")
        self._count(text)
        return text

    def _take_call(self, part: Any) -> None:
        call = self._call_of(getattr(part, "index", None), getattr(part, "id", None) or "")
        function = getattr(part, "function", None)
        if (name := getattr(function, "name", None)) is not None:
            call.name += _str(name, "a tool's name")
            self._count(call.name)
        if (arguments := getattr(function, "arguments", None)) is not None:
            call.arguments.append(_str(arguments, "a tool's arguments"))
            self._count(call.arguments[-1])

    def _call_of(self, index: Any, call_id: Any) -> "_OpenCall":
        """The call that a part belongs to: by its index, but another id is another call, whatever its index."""
        _str(call_id, "a call's id")
        for call in reversed(self._calls):
            if (call.index == index or index is None) and (not call_id or call.call_id in ("", call_id)):
                call.call_id = call.call_id or call_id
                return call
            if index is None:
                break
        if len(self._calls) == MOST_CALLS:
            raise BadChunk(f"more than {MOST_CALLS} tool calls")
        self._calls.append(_OpenCall(index, call_id))
        return self._calls[-1]

    def _count(self, text: str) -> None:
        self._left_bytes -= len(text.encode("utf-8", "replace"))
        if self._left_bytes < 0:
            raise TooLong(f"an answer of more than {MOST_BYTES} bytes")


class _OpenCall:
    def __init__(self, index: Any, call_id: str) -> None:
        self.index = index
        self.call_id = call_id
        self.name = ""
        self.arguments: list[str] = []

    def finished(self, number: int) -> ToolCall:
        if not self.name:
            raise BadChunk("a tool call without a name")
        return ToolCall(self.call_id or f"call-{number}", self.name, "".join(self.arguments))


def _str(value: Any, what: str) -> str:
    if type(value) is not str:
        raise BadChunk(f"{what} that is no text")
    return value.encode("utf-16", "surrogatepass").decode("utf-16", "replace") if _is_broken(value) else value


def _is_broken(text: str) -> bool:
    """Whether it has half a character, which no store takes: some endpoints cut one in two."""
    return not text.isascii() and any("\ud800" <= character <= "\udfff" for character in text)


def _usage(used: Any) -> Usage:
    """Endpoints leave out what they do not count."""
    cached = getattr(getattr(used, "prompt_tokens_details", None), "cached_tokens", None)
    read, written = getattr(used, "prompt_tokens", None), getattr(used, "completion_tokens", None)
    return Usage(_count_of(read), _count_of(written), _count_of(cached), model_calls=1)


def _count_of(count: Any) -> int:
    return count if type(count) is int and 0 <= count <= MOST_USAGE >> 20 else 0
