"""A call's messages that came and were not taken yet.

Guarantees: whole messages come out in their order, and after them what the client did wrong, if anything; what waits
here is counted in the process's Budget, and `room_bytes` says how much more may come, so that a client which sends
faster than its messages are taken is held back by flow control. A message over the limit is refused as soon as its
length is known, but taken in to its end first where that is not far, because a status that overtakes a message is lost
to a client on grpc.aio. Owned by ServiceStream.
"""

from __future__ import annotations

from collections import deque
from typing import Final

from agentring.errors import AgentringError, MalformedRequest, MessageTooLarge
from agentring.http2.budget import Budget, Holder
from agentring.rpc.limits import MAX_MESSAGE_BYTES
from agentring.rpc.messages import PREFIX_BYTES, PREFIXES, Assembler

WINDOW: Final = 64 << 10
_MAX_SKIPPED_BYTES: Final = 8 << 20
_COUNTED_FROM_BYTES: Final = 4 << 10
"""Less than this is not worth counting in the budget."""


class Inbox:
    """The messages of one call."""

    __slots__ = (
        "_assembler",
        "_budget",
        "_counted_bytes",
        "_holder",
        "_is_closed",
        "_messages",
        "_skipping_bytes",
        "bytes",
        "error",
    )

    def __init__(self, budget: Budget, holder: Holder) -> None:
        """budget: where they are counted, as the holder's."""
        self._budget = budget
        self._holder: Holder | None = holder
        """None: nothing is taken in any more. The stream has its inbox, so the two would be left to the collector."""
        self._assembler: Assembler | None = None
        self._messages: deque[bytes] = deque()
        self._counted_bytes = 0
        self._skipping_bytes = 0
        self._is_closed = False
        self.bytes = 0
        """Of whole messages."""
        self.error: AgentringError | None = None
        """What comes after the last message; nothing is taken in any more."""

    def __len__(self) -> int:
        """How many whole messages wait."""
        return len(self._messages)

    def put(self, data: bytes) -> bool:
        """DATA came. Whether there is a message now that was not there, or an error."""
        if self.error is not None or self._is_closed:
            return False
        if self._skipping_bytes:
            self._skipping_bytes -= len(data)
            if self._skipping_bytes <= 0:
                self.error = MessageTooLarge()
            return self.error is not None
        length = len(data)
        if not self._assembler and length < len(PREFIXES) and data.startswith(PREFIXES[length]):
            self._add(data)
            return True
        return self._put_part(data)

    def end(self) -> None:
        """The client has ended its side."""
        if self.error is None and (self._assembler or self._skipping_bytes):
            self.error = MessageTooLarge() if self._skipping_bytes else MalformedRequest()

    def take(self) -> bytes:
        """The next message, with its prefix."""
        message = self._messages.popleft()
        self.bytes -= len(message)
        if self._counted_bytes:
            self._count()
        return message

    @property
    def room_bytes(self) -> int:
        """How many more may come."""
        if self._skipping_bytes:
            return max(WINDOW, self._skipping_bytes)
        begun = self._assembler
        if not begun:
            return WINDOW - self.bytes
        return max(WINDOW - self.bytes - begun.part_bytes, min(begun.missing_bytes, MAX_MESSAGE_BYTES))

    def clear(self) -> None:
        """Nobody takes anything any more, and nothing is taken in."""
        self._is_closed = True
        self._messages.clear()
        self.bytes = self._skipping_bytes = 0
        if self._counted_bytes:
            self._count()
        self._drop_part()
        self._holder = None

    def shed(self) -> None:
        """As Holder."""
        if self._holder is not None:
            self._holder.shed()

    def _put_part(self, data: bytes) -> bool:
        if self._assembler is None:
            assert self._holder is not None  # else nothing would be taken in
            self._assembler = Assembler(self._budget, self._holder)
        assembler = self._assembler
        messages = assembler.feed(data)
        if self._is_over():
            return False
        for message in messages:
            if len(message) > MAX_MESSAGE_BYTES + PREFIX_BYTES:
                self._fail(MessageTooLarge())
                return True
            self._add(message)
            if self._is_over():
                return False
        if assembler.body_bytes > MAX_MESSAGE_BYTES:
            if assembler.missing_bytes > _MAX_SKIPPED_BYTES:
                self._fail(MessageTooLarge())
                return True
            self._skipping_bytes = assembler.missing_bytes
            self._drop_part()
        return bool(messages)

    def _add(self, message: bytes) -> None:
        self._messages.append(message)
        self.bytes += len(message)
        if self.bytes >= _COUNTED_FROM_BYTES:
            self._count()

    def _is_over(self) -> bool:
        """Whether what came was too much for the process, and this call had to go."""
        return self._is_closed

    def _fail(self, error: AgentringError) -> None:
        self.error = error
        self._drop_part()

    def _drop_part(self) -> None:
        if self._assembler is not None:
            self._assembler.clear()
            self._assembler = None

    def _count(self) -> None:
        counted = self.bytes if self.bytes >= _COUNTED_FROM_BYTES else 0
        change, before = counted - self._counted_bytes, self._counted_bytes
        self._counted_bytes = counted
        if counted and not before:
            self._budget.stalled(self)
        elif before and not counted:
            self._budget.flows(self)
        self._budget.add(change)
