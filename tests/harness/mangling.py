"""Whole connections of real clients, broken at random: bits, bytes, frames, header fields, order, ends.

A mangled connection is a recording (recordings.py) of which a few things are not as they were. Guarantees: the same
generator gives the same bytes. Its header blocks are written anew without tables and without Huffman's code, so that a
change hits a name or a value and not only the compression. Used by the fuzzing of live clusters.
"""

from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass, replace
from random import Random

from hpack import Decoder

from agentring.http2 import frames
from agentring.http2.frames import HEAD

Fields = list[tuple[bytes, bytes]]

_PREFACE_BYTES = len(frames.PREFACE)
_KINDS = (*range(0xA), 0xB, 0xFF)
_WORDS = (0, 1, 2, 3, 0x7FFF_FFFF, 0xFFFF_FFFF, 16_384, 16_385, 65_535)
_TEXTS = (
    b"",
    b"/",
    b"//",
    b"/u\xff/M",
    b"/grpc.\xff/M",
    b"\x00",
    b"\xed\xa0\x80",
    b"a\r\nb: c",
    b" x",
    b"%",
    b"*",
    b"identity",
    b"gzip",
    b"0S",
    b"99999999H",
    b"-1n",
    b"application/grpc-web",
    b"\xf0\x9f\x98\x80" * 8,
    b"x" * 9_000,
)
_NAMES = (
    b":path",
    b":method",
    b":scheme",
    b":authority",
    b":status",
    b"host",
    b"te",
    b"content-type",
    b"content-length",
)
_MORE_NAMES = (
    b"content-length",
    b"grpc-timeout",
    b"grpc-encoding",
    b"x-session-id",
    b"x-agent",
    b"x-task-key",
    b"x-agentring-epoch",
)
_ODD_NAMES = (
    b"",
    b"content-length",
    b"X-Upper",
    b"a b",
    b"a\xffb",
    b"connection",
    b"transfer-encoding",
    b"upgrade",
    b"a-bin",
    b":",
)


@dataclass(frozen=True, slots=True)
class Frame:
    """One frame as a client sends it; fields: of HEADERS, instead of a payload."""

    kind: int
    flags: int
    stream_id: int
    payload: bytes
    fields: tuple[tuple[bytes, bytes], ...] | None = None

    @property
    def sent(self) -> bytes:
        """Its bytes."""
        payload = self.payload if self.fields is None else b"".join(_literal(*field) for field in self.fields)
        return HEAD.pack((len(payload) & 0xFFFFFF) << 8 | self.kind, self.flags, self.stream_id) + payload


def parse(sent: bytes) -> list[Frame]:
    """The frames of a recording, whose header blocks are one frame each and readable."""
    decoder = Decoder()
    found = []
    place = _PREFACE_BYTES
    while place + frames.HEADER_BYTES <= len(sent):
        head, flags, stream_id = HEAD.unpack_from(sent, place)
        begins = place + frames.HEADER_BYTES
        place = begins + (head >> 8)
        frame = Frame(head & 0xFF, flags, stream_id, sent[begins:place])
        if frame.kind == frames.HEADERS and not flags & (frames.PADDED | frames.WITH_PRIORITY):
            decoded = decoder.decode(frame.payload, raw=True)
            frame = replace(frame, fields=tuple((bytes(field[0]), bytes(field[1])) for field in decoded))
        found.append(frame)
    return found


def mangle(recordings: Sequence[list[Frame]], random: Random) -> list[bytes]:
    """The pieces of one broken connection."""
    recorded = list(random.choice(recordings))
    for _ in range(random.choice((1, 1, 1, 2, 3, 5))):
        recorded = random.choice(_CHANGES)(recorded, recordings, random)
    sent = b"".join(frame.sent for frame in recorded)
    for _ in range(random.choice((0, 0, 1, 1, 2, 8))):
        sent = random.choice(_BYTES)(sent, random)
    preface = frames.PREFACE if random.random() < 0.97 else random.choice(_BYTES)(frames.PREFACE, random)
    return list(_pieces(preface + sent, random))


def _drop(recorded: list[Frame], _all: Sequence[list[Frame]], random: Random) -> list[Frame]:
    place = random.randrange(len(recorded) + 1)
    return recorded[:place] + recorded[place + 1 :]


def _repeat(recorded: list[Frame], _all: Sequence[list[Frame]], random: Random) -> list[Frame]:
    place = random.randrange(len(recorded) + 1)
    return recorded[:place] + recorded[place : place + 1] * random.choice((2, 2, 3, 50)) + recorded[place + 1 :]


def _swap(recorded: list[Frame], _all: Sequence[list[Frame]], random: Random) -> list[Frame]:
    moved = list(recorded)
    if moved:
        moved.insert(random.randrange(len(moved)), moved.pop(random.randrange(len(moved))))
    return moved


def _cut(recorded: list[Frame], _all: Sequence[list[Frame]], random: Random) -> list[Frame]:
    return recorded[: random.randrange(len(recorded) + 1)]


def _splice(recorded: list[Frame], recordings: Sequence[list[Frame]], random: Random) -> list[Frame]:
    other = random.choice(recordings)
    return recorded[: random.randrange(len(recorded) + 1)] + list(other[random.randrange(len(other) + 1) :])


def _insert(recorded: list[Frame], _all: Sequence[list[Frame]], random: Random) -> list[Frame]:
    place = random.randrange(len(recorded) + 1)
    payload = random.randbytes(random.choice((0, 1, 4, 5, 6, 8, 8, 17, 300)))
    frame = Frame(random.choice(_KINDS), random.getrandbits(8), random.choice((0, 1, 2, 3, 5, 99)), payload)
    return [*recorded[:place], frame, *recorded[place:]]


def _reframe(recorded: list[Frame], _all: Sequence[list[Frame]], random: Random) -> list[Frame]:
    if not recorded:
        return recorded
    place = random.randrange(len(recorded))
    frame = recorded[place]
    match random.randrange(4):
        case 0:
            frame = replace(frame, flags=frame.flags ^ (1 << random.randrange(8)))
        case 1:
            frame = replace(frame, stream_id=random.choice(_WORDS))
        case 2:
            frame = replace(frame, kind=random.choice(_KINDS))
        case _:
            frame = replace(frame, payload=frame.payload[: random.randrange(len(frame.payload) + 1)])
    return [*recorded[:place], frame, *recorded[place + 1 :]]


def _refield(recorded: list[Frame], _all: Sequence[list[Frame]], random: Random) -> list[Frame]:
    """Another header block: a name or a value changed, a field more, less, twice, or in another place."""
    places = [place for place, frame in enumerate(recorded) if frame.fields]
    if not places:
        return recorded
    place = random.choice(places)
    fields = list(recorded[place].fields or ())
    chosen = random.randrange(len(fields))
    name, value = fields[chosen]
    match random.randrange(7):
        case 0:
            fields[chosen] = (name, random.choice(_TEXTS))
        case 1:
            fields[chosen] = (name, random.choice(_BYTES)(value, random))
        case 2:
            fields[chosen] = (random.choice((*_NAMES, *_MORE_NAMES, *_ODD_NAMES)), value)
        case 3:
            del fields[chosen]
        case 4:
            fields.insert(random.randrange(len(fields) + 1), (name, value))
        case 5:
            fields.insert(random.randrange(len(fields) + 1), fields.pop(chosen))
        case _:
            field = (random.choice((*_NAMES, *_MORE_NAMES, *_ODD_NAMES)), random.choice(_TEXTS))
            fields.insert(random.randrange(len(fields) + 1), field)
    return [*recorded[:place], replace(recorded[place], fields=tuple(fields)), *recorded[place + 1 :]]


def _flip(sent: bytes, random: Random) -> bytes:
    if not sent:
        return sent
    changed = bytearray(sent)
    changed[random.randrange(len(changed))] ^= 1 << random.randrange(8)
    return bytes(changed)


def _overwrite(sent: bytes, random: Random) -> bytes:
    place = random.randrange(len(sent) + 1)
    return sent[:place] + random.randbytes(random.choice((1, 1, 4, 9))) + sent[place + 1 :]


def _remove(sent: bytes, random: Random) -> bytes:
    place = random.randrange(len(sent) + 1)
    return sent[:place] + sent[place + random.choice((1, 1, 2, 9, 40)) :]


def _double(sent: bytes, random: Random) -> bytes:
    place = random.randrange(len(sent) + 1)
    return sent[:place] + sent[max(0, place - random.choice((1, 9, 40, 400))) :]


def _truncate(sent: bytes, random: Random) -> bytes:
    return sent[: random.randrange(len(sent) + 1)]


_CHANGES: tuple[Callable[[list[Frame], Sequence[list[Frame]], Random], list[Frame]], ...] = (
    *(_drop, _repeat, _swap, _cut, _splice, _insert, _reframe),
    *(_refield, _refield, _refield, _refield),
)
_BYTES: tuple[Callable[[bytes, Random], bytes], ...] = (_flip, _flip, _flip, _overwrite, _remove, _double, _truncate)


def _pieces(sent: bytes, random: Random) -> Iterator[bytes]:
    """Cut as a network may cut it: mostly whole, sometimes anywhere."""
    if random.random() < 0.7:
        yield sent
        return
    place = 0
    while place < len(sent):
        size = random.choice((1, 9, 24, 100, 1_000, 10_000))
        yield sent[place : place + size]
        place += size


def _literal(name: bytes, value: bytes) -> bytes:
    return b"\0" + _length(name) + name + _length(value) + value


def _length(text: bytes) -> bytes:
    left = len(text)
    if left < 0x7F:
        return bytes([left])
    found = bytearray([0x7F])
    left -= 0x7F
    while left >= 0x80:
        found.append(left & 0x7F | 0x80)
        left >>= 7
    found.append(left)
    return bytes(found)
