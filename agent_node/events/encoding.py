"""The bytes of events, and of what carries them: a response of a stream, a row of the store.

Guarantees: they are what protobuf would make of the same fields, in the order of the fields' numbers, so they are read
by everything as its own. An event is encoded once, when it enters the log; every stream and the store get these bytes.
"""

from collections.abc import Sequence
from struct import Struct
from typing import Final

_NANOS: Final = 1_000_000_000
_FIXED: Final = Struct("<BQ")
_HEAD: Final = Struct("<BQBQ")
_SMALL: Final = tuple(bytes((number,)) for number in range(128))

_SEQ, _FIRST_SEQ, _EPOCH, _TURN_ID, _ATTEMPT, _TIME = 0x09, 0x11, 0x19, b"\x22", b"\x28", b"\x32"
"""The keys of Event's fields: their numbers and wire types."""
_TEXT_DELTA: Final = b"\x6a"
_TURN_STARTED: Final = b"\x62"
_TURN_ACCEPTED: Final = b"\x5a"
_INPUT: Final = b"\x1a"
_INPUT_LOST: Final = b"\x22"
_THROUGH_SEQ, _ACKED_FRAME = 0x09, 0x11
"""Of each response of a stream."""
_RESPONSE_EVENT: Final = b"\x1a"
_STORED_EVENT: Final = b"\x0a"
_PIECE_BYTES: Final = b"\x12"


def varint(number: int) -> bytes:
    """A number, from 0."""
    if number < 128:
        return _SMALL[number]
    encoded = bytearray()
    while number >= 128:
        encoded.append(number & 127 | 128)
        number >>= 7
    encoded.append(number)
    return bytes(encoded)


def event(seq: int, first_seq: int, epoch: int, turn_id: str, attempt: int, time_ns: int, body: bytes) -> bytes:
    """An Event. first_seq: 0: it covers its own number alone; body: as the functions below."""
    head = _HEAD.pack(_SEQ, seq, _FIRST_SEQ, first_seq) if first_seq else _FIXED.pack(_SEQ, seq)
    if epoch:
        head += _FIXED.pack(_EPOCH, epoch)
    if turn_id:
        name = turn_id.encode()
        head += _TURN_ID + varint(len(name)) + name
    if attempt:
        head += _ATTEMPT + varint(attempt)
    seconds, nanos = divmod(time_ns, _NANOS)
    time = (b"\x08" + varint(seconds) if seconds else b"") + (b"\x10" + varint(nanos) if nanos else b"")
    return b"".join((head, _TIME, varint(len(time)), time, body))


def turn_accepted(accepted: bytes) -> bytes:
    """Of an event: a turn was accepted. accepted: a TurnAccepted."""
    return _TURN_ACCEPTED + varint(len(accepted)) + accepted


def with_input(accepted: bytes, input: bytes) -> bytes:
    """A TurnAccepted that has the turn's input."""
    return accepted + _INPUT + varint(len(input)) + input


def without_input(accepted: bytes, reason: str) -> bytes:
    """A TurnAccepted that cannot have the turn's input, and says why."""
    name = reason.encode()
    return accepted + _INPUT_LOST + varint(len(name)) + name


def text_delta(offset: int, text: bytearray) -> bytes:
    """Of an event: text that begins at `offset`."""
    delta = b"\x08" + varint(offset) if offset else b""
    if text:
        delta += b"\x12" + varint(len(text)) + text
    return _TEXT_DELTA + varint(len(delta)) + delta


def turn_started(node_id: str) -> bytes:
    """Of an event: the turn runs on this node."""
    name = node_id.encode()
    started = b"\x0a" + varint(len(name)) + name if name else b""
    return _TURN_STARTED + varint(len(started)) + started


def response(through_seq: int, acked_frame: int, events: Sequence[bytes], more: bytes = b"") -> bytes:
    """A response of a stream. more: fields beside those that all have."""
    parts = [_HEAD.pack(_THROUGH_SEQ, through_seq, _ACKED_FRAME, acked_frame)]
    for event in events:
        parts += (_RESPONSE_EVENT, varint(len(event)), event)
    parts.append(more)
    return b"".join(parts)


def stored_event(event: bytes, piece_bytes: Sequence[int]) -> bytes:
    """One of the events of a store_pb2.StoredEvents."""
    body = _STORED_EVENT + varint(len(event)) + event
    if piece_bytes:
        pieces = bytes(piece_bytes) if max(piece_bytes) < 128 else b"".join(map(varint, piece_bytes))
        body += _PIECE_BYTES + varint(len(pieces)) + pieces
    return _STORED_EVENT + varint(len(body)) + body
