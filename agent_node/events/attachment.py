"""One stream as a reader of an event log: what it has been sent, what it is owed, and when it ends.

Guarantees: `next` returns events in the order of seq, each once, and beside them those of this stream alone (`opened`,
`turn_rejected`, replays of an ended turn). An event goes at once where no write is pending: `next` waits for no second
one, but for two rounds of the event loop, or until the turn's end is there: its next steps may publish what then
travels along. While a response is being written, nothing piles up here but a position in the log: what came meanwhile
goes together in the next response, up to `merge_bytes` and adjacent text as one event, a larger event alone; and `push`
waits until what was pushed before was taken. However busy the log is, an acknowledgement, a heartbeat and the stream's
end come when they are due; and a frame counts as safe only once the client was sent all that was pushed for it, since
nothing else would send it again. Owned by the service's method that serves the stream.
"""

import asyncio
from collections import deque
from collections.abc import Callable, Iterable, Sequence
from types import TracebackType

from agent_node.events.accepted import Accepted
from agent_node.events.entries import READ_BYTES, Single
from agent_node.events.log import EventLog
from agent_node.events.restart_replay import RestartReplay
from agent_node.events.waiting import woken
from agentring.errors import AgentringError
from agentring.v1 import session_pb2

ACK_WITHIN_S = 0.1
"""How long an acknowledgement waits for an event to travel with."""
_MOST_OWN = 1024
_TIMER_S = 0.001
"""How exact the event loop's timers are."""
_HEARTBEAT = Single.of(session_pb2.Event(heartbeat=session_pb2.Heartbeat()))


class Attachment:
    """A reader of an event log. Resource handling: `with`."""

    def __init__(
        self,
        log: EventLog,
        after_seq: int,
        *,
        turn_id: str | None = None,
        heartbeat_s: float,
        merge_bytes: int = READ_BYTES,
        check: Callable[[], None] = lambda: None,
        missing: Sequence[session_pb2.Event] = (),
        keeps_valid: bool = False,
    ) -> None:
        """turn_id: only this turn's events; heartbeat_s: how long the stream may be silent; merge_bytes: the most that
        events have together which go in one response, 0: every event goes alone; check: raises NodeFenced once nothing
        may be sent any more, not even what the log holds; missing: numbered events after after_seq that the log does
        not have, in their order; keeps_valid: as Open."""
        self._log = log
        self._anew = None if keeps_valid else RestartReplay(log)
        self._check = check
        self._turn_id = turn_id
        self._heartbeat_s = heartbeat_s
        self._pushed: deque[Single] = deque()
        self._pushed_taken: asyncio.Event | None = None
        """Set once what was pushed is taken; None: nobody has waited for that."""
        self._missing = deque(Single.of(event) for event in missing)
        self._wake = asyncio.Event()
        self._error: AgentringError | None = None
        self._fails_after: int | None = None
        self._ends_after: Callable[[], int | None] = lambda: None
        self._has_begun = False
        self._own: set[str] = set()
        """Turns that this stream sent, and whose acceptance it has not been sent."""
        self._acked = 0
        self._ack_due_s = 0.0
        """When the acknowledgement goes alone, on the event loop's clock."""
        self.merge_bytes = merge_bytes
        self.through_seq = after_seq
        self.acked_frame = 0
        """As the next response says it."""

    def __enter__(self) -> "Attachment":
        self._log.subscribe(self._wake)
        return self

    def __exit__(self, _t: type[BaseException] | None, _e: BaseException | None, _b: TracebackType | None) -> None:
        self._log.unsubscribe(self._wake)

    def ack(self, frame: int) -> None:
        """The client's frames up to this one are safe."""
        if self._acked == self.acked_frame:
            self._ack_due_s = asyncio.get_running_loop().time() + ACK_WITHIN_S
        self._acked = frame
        self._wake.set()

    def sends(self, turn_id: str) -> None:
        """The client is about to be told of a turn that it sent itself: it has the input. With a turn_id of its own a
        stream is about such a turn."""
        if len(self._own) >= _MOST_OWN:
            self._own.clear()  # some were read from the store; what is sent back to its sender does no harm
        self._own.add(turn_id)

    def sends_no_more(self, turn_id: str) -> None:
        """The turn was refused, or accepted before."""
        self._own.discard(turn_id)

    def end_after(self, ends_after: Callable[[], int | None]) -> None:
        """The stream ends well once it was sent everything up to ends_after(), and is sent nothing later; None: not
        yet known."""
        self._ends_after = ends_after
        self._wake.set()

    def fail(self, error: AgentringError) -> None:
        """The stream ends with this error, after what the log holds now."""
        self._error, self._fails_after = error, self._log.head_seq
        self._wake.set()

    async def push(self, events: Iterable[session_pb2.Event]) -> None:
        """Adds events for this stream alone; waits until those that were pushed before are taken."""
        while self._pushed:
            if self._pushed_taken is None:
                self._pushed_taken = asyncio.Event()
            self._pushed_taken.clear()
            await self._pushed_taken.wait()
        self._pushed.extend(map(Single.of, events))
        self._wake.set()

    async def next(self) -> list[Single] | None:
        """What to send next; an empty list: only the new through_seq and acked_frame; None: the stream has ended well.

        Raises what the log ended with, the error of `fail`, NodeFenced, or StoreUnavailable. Cancellation: nothing
        is lost.
        """
        loop = asyncio.get_running_loop()
        heartbeat_due_s = loop.time() + self._heartbeat_s
        if not self._has_begun:
            self._has_begun = True
            await self._two_rounds()
        while True:
            self._wake.clear()
            end_seq = self._ends_after() if self._error is None else self._fails_after
            events = self._take_pushed() if self._pushed else self._take_missing() if self._missing else []
            if not events:
                events = await self._take_from_log(end_seq)
            self._check()
            if events:
                if not self._pushed:
                    self.acked_frame = self._acked
                return events
            acked = self._acked == self.acked_frame
            if end_seq is not None and self.through_seq >= end_seq:
                if self._error is not None:
                    raise self._error
                if acked:
                    return None
                self.acked_frame = self._acked  # no event will come that it could wait for
                return []
            self._log.check()
            due_s = heartbeat_due_s if acked else self._ack_due_s
            if loop.time() >= due_s - _TIMER_S:
                if acked:
                    return [_HEARTBEAT]
                self.acked_frame = self._acked
                return []
            await woken(self._wake, due_s)
            await self._two_rounds()

    def _take_pushed(self) -> list[Single]:
        events = self._take(self._pushed)
        if events and not self._pushed and self._pushed_taken is not None:
            self._pushed_taken.set()
        return events

    def _take_missing(self) -> list[Single]:
        if not self._missing or self._missing[0].first_seq > self.through_seq + 1:
            return []  # what comes before them is in the store
        events = self._take(self._missing)
        self.through_seq = events[-1].seq
        return events

    def _take(self, waiting: deque[Single]) -> list[Single]:
        events: list[Single] = []
        left_bytes = self.merge_bytes
        while waiting and ((size_bytes := len(waiting[0].raw)) <= left_bytes or not events):
            events.append(waiting.popleft())
            left_bytes -= size_bytes
        return events

    async def recall(self, after_seq: int, through_seq: int | None) -> tuple[int, list[Single]]:
        """As EventLog.recall, as this stream is sent it."""
        log, merge_bytes = self._log, self.merge_bytes
        if is_in_memory := log.is_in_memory(after_seq):
            seq, events = log.read(after_seq, through_seq, merge_bytes=merge_bytes)
        else:
            seq, events = await log.recall(after_seq, through_seq, merge_bytes=merge_bytes)
        if self._anew is not None and (log.was_restarted or not is_in_memory):
            return await self._anew.instead_of(after_seq, seq, events, merge_bytes)
        return seq, events

    async def _take_from_log(self, end_seq: int | None) -> list[Single]:
        while True:
            before, limit = self.through_seq, end_seq
            if self._missing:
                before_missing = self._missing[0].first_seq - 1
                limit = before_missing if end_seq is None else min(before_missing, end_seq)
            self.through_seq, events = await self.recall(before, limit)
            if self._turn_id is not None:
                events = [event for event in events if event.turn_id in ("", self._turn_id)]  # a gap has no turn
            else:
                self._add_inputs(events)
            if events or self.through_seq == before:
                return events

    def _add_inputs(self, events: list[Single]) -> None:
        for index, event in enumerate(events):
            if isinstance(event, Accepted):
                if event.turn_id in self._own:
                    self._own.discard(event.turn_id)
                else:
                    events[index] = event.whole()

    async def _two_rounds(self) -> None:
        for _ in range(2):
            if self._log.ended_seq == self._log.head_seq > self.through_seq:
                return
            await asyncio.sleep(0)
