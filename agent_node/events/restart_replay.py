"""What a stream is sent whose client does not keep what stays valid where a turn runs again: all of the turn, anew.

Guarantees: such a client sees what an owner would have published who told everything again: an `attempt_restarted`,
then what is valid of the turn, then the rest, numbered without a gap. The numbers of what it is told anew are those
that the attempt_restarted covers (restarts.py), in the same order, the last one at its end; so no number has two
contents, and a stream that was cut off in between goes on there. Nothing of it is stored. Used by attachment.py.
"""

from agent_node.events.entries import READ_BYTES, Single, gap
from agent_node.events.log import EventLog
from agentring.ids import Epoch
from agentring.v1 import session_pb2

_OF_AN_ATTEMPT = frozenset({"turn_accepted", "turn_started", "attempt_restarted", "input_required", "run_unknown"})
"""Each attempt has its own; a question that is open is asked again."""
_TAG = b"\x92\x01"
"""Of attempt_restarted in an event."""


class RestartReplay:
    """Of one stream."""

    def __init__(self, log: EventLog) -> None:
        self._log = log
        self._spans: tuple[int, list[tuple[int, int]]] = (0, [])
        """A restart's number, and what of the turn was valid then."""

    async def instead_of(
        self, after_seq: int, through_seq: int, events: list[Single], merge_bytes: int
    ) -> tuple[int, list[Single]]:
        """What the stream is sent instead of these events, which come after a seq and reach another; as EventLog.read.
        Raises StoreUnavailable."""
        for place, event in enumerate(events):
            if (restart := _restart_in(event)) is None:
                continue
            if place:
                return event.first_seq - 1, events[:place]
            return await self._anew(restart, after_seq, merge_bytes)
        return through_seq, events

    async def _anew(self, restart: session_pb2.Event, after_seq: int, merge_bytes: int) -> tuple[int, list[Single]]:
        said = restart.attempt_restarted
        begin = restart.seq - said.valid_numbers
        if after_seq < begin:
            plain = session_pb2.Event()
            plain.CopyFrom(restart)
            plain.attempt_restarted.CopyFrom(session_pb2.AttemptRestarted(reason=said.reason))
            return begin, [Single.of(_covering(plain, after_seq + 1, begin))]
        anew: list[session_pb2.Event] = []
        seq, known = after_seq, after_seq
        while not anew and seq < restart.seq:
            seq, found = await self._shifted(restart, seq, merge_bytes)
            for event in found:
                is_gap = event.HasField("gap")
                if is_gap or (event.turn_id == restart.turn_id and event.WhichOneof("body") not in _OF_AN_ATTEMPT):
                    event.attempt, event.epoch = (0 if is_gap else restart.attempt), restart.epoch
                    known = _covering(event, known + 1, event.seq).seq
                    anew.append(event)
        if seq == restart.seq and known < seq:  # every number is covered
            if not anew:
                words = session_pb2.TextDelta(offset=said.valid_text_bytes)
                anew.append(session_pb2.Event(text_delta=words, turn_id=restart.turn_id, attempt=restart.attempt))
                anew[0].epoch = restart.epoch
                anew[0].time.CopyFrom(restart.time)
                _covering(anew[0], known + 1, seq)
            else:
                _covering(anew[-1], anew[-1].first_seq or anew[-1].seq, seq)
        return seq, [Single.of(event) for event in anew]

    async def _shifted(
        self, restart: session_pb2.Event, after_seq: int, merge_bytes: int
    ) -> tuple[int, list[session_pb2.Event]]:
        """Some of what is valid, under the numbers that the restart covers; what comes after one of these."""
        last_seq = restart.seq
        for first, last in reversed(await self._valid(restart)):
            shift = last_seq - last
            if after_seq >= first - 1 + shift:
                seq, events = await self._read(after_seq - shift, last, merge_bytes)
                for event in events:
                    event.seq += shift
                return seq + shift, events
            last_seq = first - 1 + shift
        return last_seq, [gap(Epoch(restart.epoch), after_seq + 1, last_seq)]

    async def _read(self, after_seq: int, through_seq: int, merge_bytes: int) -> tuple[int, list[session_pb2.Event]]:
        if self._log.is_in_memory(after_seq):
            seq, events = self._log.read(after_seq, through_seq, merge_bytes=merge_bytes)
        else:
            seq, events = await self._log.recall(after_seq, through_seq, merge_bytes=merge_bytes)
        if seq == after_seq:
            return through_seq, []  # it is not kept any more
        return seq, [event.event for event in events]

    async def _valid(self, restart: session_pb2.Event) -> list[tuple[int, int]]:
        """The spans of numbers in which the turn's events are valid, in order: not those that a restart covers, nor
        those that it has voided."""
        if self._spans[0] == restart.seq:
            return self._spans[1]
        said, void = restart.attempt_restarted, list[tuple[int, int]]()
        seq = said.turn_seq - 1
        while seq < said.valid_through_seq:
            seq, events = await self._read(seq, said.valid_through_seq, READ_BYTES)
            for event in events:
                if event.HasField("attempt_restarted") and event.turn_id == restart.turn_id:
                    valid_seq = event.attempt_restarted.valid_through_seq
                    void = [span for span in void if span[0] <= valid_seq]
                    void.append((valid_seq + 1, event.seq))
        spans, begin = list[tuple[int, int]](), said.turn_seq
        for first, last in [*void, (said.valid_through_seq + 1, 0)]:
            if begin < first:
                spans.append((begin, first - 1))
            begin = max(begin, last + 1)
        self._spans = restart.seq, spans
        return spans


def _restart_in(event: Single) -> session_pb2.Event | None:
    """An attempt_restarted after which something of the turn is valid."""
    if _TAG not in event.raw:
        return None
    decoded = event.event
    return decoded if decoded.attempt_restarted.turn_seq else None


def _covering(event: session_pb2.Event, first_seq: int, seq: int) -> session_pb2.Event:
    event.seq = seq
    if first_seq < seq:
        event.first_seq = first_seq
    else:
        event.ClearField("first_seq")
    return event
