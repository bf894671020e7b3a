"""Header blocks: reading them without a dynamic table, and writing literals (RFC 7541).

We ask for SETTINGS_HEADER_TABLE_SIZE 0, so once the peer has acknowledged that, every block stands for itself: static
indices and literals, which is all the walker here knows, and a field's bytes can be sent on as they came. Until then a
full decoder (`hpack`) reads. Guarantees: a field is well formed by RFC 9113 8.2, or StreamBroken is raised; a block
that cannot be read is ConnectionBroken, because the peers' compression states have parted.

Blocks of one peer mostly differ in a value or two, so a reader keeps the fields of the last block and compares their
bytes first; a field's encoding is self-delimiting, so equal bytes at a field's start are the same field, and equal
bytes up to its value are the same name.
"""

import re
from collections.abc import Iterable
from typing import Final, Literal

from hpack import Decoder, HPACKError
from hpack.huffman_table import decode_huffman
from hpack.table import HeaderTable

from agentring import metadata
from agentring.http2.frames import Code, ConnectionBroken, StreamBroken

Kind = Literal["plain", "pseudo", "routing", "dropped", "forbidden"]
"""What a relay does with a field: sends it on; reads it as part of the request or status line; reads it and writes it
anew; leaves it out; must not meet it in HTTP/2."""

_ROUTING: Final = metadata.ROUTING
_DROPPED: Final = frozenset({"grpc-timeout", "content-length", "host"})
_FORBIDDEN: Final = frozenset({"connection", "keep-alive", "proxy-connection", "transfer-encoding", "upgrade"})

_NAME: Final = re.compile(rb":?[!#$%&'*+\-.^_`|~0-9a-z]+")
_VALUE: Final = re.compile(rb"(?![ \t])[^\0\r\n]*(?<![ \t])", re.DOTALL)

_ENDS_WITHIN: Final = "the header block ends within a field"
_NOT_WELL_FORMED: Final = "a header field is not well formed"

_INDEXED, _INCREMENTAL, _SIZE_UPDATE = 0x80, 0x40, 0x20
_MAX_INTEGER: Final = 1 << 28
_HUFFMAN: Final = 0x80
_SHORT: Final = tuple(bytes((length,)) for length in range(0x7F))
"""Lengths that fit their prefix of 7 bits."""


class Field:
    """A header field."""

    __slots__ = ("kind", "literal", "name", "raw", "start", "value")

    def __init__(self, raw: bytes, name: str, value: str, literal: bytes, kind: Kind, start: bytes = b"") -> None:
        """raw: as it came; literal: to be sent on, needs no table and changes none; start: what `raw` begins with
        before the value, in a literal that changes no table, else empty."""
        self.raw = raw
        self.name = name
        self.value = value
        self.literal = literal
        self.kind: Kind = kind
        self.start = start

    def __eq__(self, other: object) -> bool:
        """Mostly asked of one and the same, which a list does not ask."""
        return isinstance(other, Field) and (self.raw, self.literal) == (other.raw, other.literal)

    def __hash__(self) -> int:
        """As `__eq__`."""
        return hash(self.literal)


class FieldReader:
    """Reads the blocks of one peer, one at a time."""

    def __init__(self, *, max_list_bytes: int, dynamic: bool) -> None:
        """dynamic: whether the peer may still use a dynamic table."""
        self._last: list[Field] = []
        self._last_block = b""
        self._decoder = Decoder(max_header_list_size=max_list_bytes) if dynamic else None

    @property
    def dynamic(self) -> bool:
        """Whether a block that is not read would spoil the next."""
        return self._decoder is not None

    def end_dynamic(self) -> None:
        """The peer has acknowledged a table of no bytes."""
        self._decoder = None

    def read(self, block: bytes) -> list[Field]:
        """The block's fields; the same list where the same block came twice in a row. Raises ConnectionBroken,
        StreamBroken."""
        if self._decoder is not None:
            return _decoded(self._decoder, block)
        if block == self._last_block:
            return self._last
        fields: list[Field] = []
        pos = 0
        for expected in self._last:
            if block.startswith(expected.raw, pos):
                fields.append(expected)
                pos += len(expected.raw)
            elif expected.start and block.startswith(expected.start, pos):
                field, pos = _read_value(block, pos, expected)
                fields.append(field)
            elif pos < len(block):
                other, pos = _read_field(block, pos)
                if other is not None:
                    fields.append(other)
        while pos < len(block):
            other, pos = _read_field(block, pos)
            if other is not None:
                fields.append(other)
        self._last, self._last_block = fields, block
        return fields


def literal(name: str, value: str) -> bytes:
    """A field as a literal without indexing. Of ASCII, or what was read as Latin-1."""
    return name_literal(name) + value_literal(value)


def name_literal(name: str) -> bytes:
    """The first part of a literal without indexing."""
    raw = name.encode("latin-1")
    return b"\0" + _integer(len(raw)) + raw


def value_literal(value: str) -> bytes:
    """The second part."""
    raw = value.encode("latin-1")
    return _integer(len(raw)) + raw if len(raw) >= len(_SHORT) else _SHORT[len(raw)] + raw


def block(pairs: Iterable[tuple[str, str]]) -> bytes:
    """A header block of literals."""
    return b"".join(literal(name, value) for name, value in pairs)


def _integer(value: int) -> bytes:
    """With a prefix of 7 bits."""
    if value < 0x7F:
        return bytes((value,))
    out = bytearray((0x7F,))
    value -= 0x7F
    while value >= 0x80:
        out.append(value & 0x7F | 0x80)
        value >>= 7
    out.append(value)
    return bytes(out)


def _decoded(decoder: Decoder, raw: bytes) -> list[Field]:
    try:
        pairs = decoder.decode(raw, raw=True)
    except HPACKError:
        raise ConnectionBroken(Code.COMPRESSION_ERROR, "the header block cannot be decoded") from None
    return [_field(b"", bytes(name), bytes(value)) for name, value in pairs]


def _read_field(block: bytes, pos: int) -> tuple[Field | None, int]:
    """The field at pos, None where it is a change of the table's size, and where the next one begins."""
    start, first = pos, block[pos]
    try:
        if first & _INDEXED:
            index, pos = _read_integer(block, pos, 0x7F)
            return _indexed(index, block[start:pos]), pos
        if first & (_INCREMENTAL | _SIZE_UPDATE) == _SIZE_UPDATE:
            size_bytes, pos = _read_integer(block, pos, 0x1F)
            if size_bytes or (start and not block[0] & _SIZE_UPDATE):
                raise ConnectionBroken(Code.COMPRESSION_ERROR, "the header table's size is 0")
            return None, pos
        index, pos = _read_integer(block, pos, 0x3F if first & _INCREMENTAL else 0x0F)
        if index:
            name = _static(index)[0]
        else:
            name, pos = _read_string(block, pos)
        value_at = pos
        value, pos = _read_string(block, pos)
    except IndexError:
        raise ConnectionBroken(Code.COMPRESSION_ERROR, _ENDS_WITHIN) from None
    return _field(block[start:pos], name, value, block[start:value_at]), pos


def _read_value(block: bytes, pos: int, expected: Field) -> tuple[Field, int]:
    """The field at pos, which has the name of the expected one and another value; and where the next one begins."""
    try:
        value, end = _read_string(block, pos + len(expected.start))
    except IndexError:
        raise ConnectionBroken(Code.COMPRESSION_ERROR, _ENDS_WITHIN) from None
    if not _VALUE.fullmatch(value):
        raise StreamBroken(Code.PROTOCOL_ERROR, _NOT_WELL_FORMED)
    raw, text = block[pos:end], value.decode("latin-1")
    return Field(raw, expected.name, text, raw, _kind(expected.name, text), expected.start), end


def _field(raw: bytes, name: bytes, value: bytes, start: bytes = b"") -> Field:
    if not _NAME.fullmatch(name) or not _VALUE.fullmatch(value):
        raise StreamBroken(Code.PROTOCOL_ERROR, _NOT_WELL_FORMED)
    name_text, value_text = name.decode("latin-1"), value.decode("latin-1")
    plain = raw and raw[0] & (_INDEXED | _INCREMENTAL) != _INCREMENTAL
    encoded = raw if plain else literal(name_text, value_text)
    return Field(raw, name_text, value_text, encoded, _kind(name_text, value_text), start if plain else b"")


def _kind(name: str, value: str) -> Kind:
    if name.startswith(":"):
        return "pseudo"
    if name in _ROUTING:
        return "routing"
    if name in _FORBIDDEN or (name == "te" and value != "trailers"):
        return "forbidden"
    return "dropped" if name in _DROPPED or name.startswith(metadata.INTERNAL_PREFIX) else "plain"


def _indexed(index: int, raw: bytes) -> Field:
    name, value = _static(index)
    return _field(raw, name, value)


def _static(index: int) -> tuple[bytes, bytes]:
    if not 0 < index <= len(HeaderTable.STATIC_TABLE):
        raise ConnectionBroken(Code.COMPRESSION_ERROR, "a header field's index is out of the table")
    return HeaderTable.STATIC_TABLE[index - 1]


def _read_integer(block: bytes, pos: int, mask: int) -> tuple[int, int]:
    value = block[pos] & mask
    pos += 1
    if value < mask:
        return value, pos
    shift = 0
    while True:
        byte = block[pos]
        pos += 1
        value += (byte & 0x7F) << shift
        shift += 7
        if value > _MAX_INTEGER:
            raise ConnectionBroken(Code.COMPRESSION_ERROR, "an integer in a header block is out of bounds")
        if byte < 0x80:
            return value, pos


def _read_string(block: bytes, pos: int) -> tuple[bytes, int]:
    huffman = block[pos] & _HUFFMAN
    length, pos = _read_integer(block, pos, 0x7F)
    end = pos + length
    if end > len(block):
        raise IndexError
    raw = block[pos:end]
    if not huffman:
        return raw, end
    try:
        return bytes(decode_huffman(raw)), end
    except HPACKError:
        raise ConnectionBroken(Code.COMPRESSION_ERROR, "a header field's Huffman code is wrong") from None
