"""Header blocks: hpack, which is not ours, writes what the walker reads and reads what we write."""

import pytest
from hpack import Decoder, Encoder
from hypothesis import given
from hypothesis import strategies as st

from agentring.http2.frames import Code, ConnectionBroken, StreamBroken
from agentring.http2.hpack import Field, FieldReader, block, literal

NAMES = st.from_regex(r"[!#$%&'*+\-.^_`|~0-9a-z]{1,20}", fullmatch=True)
VALUES = st.text(st.characters(min_codepoint=0x21, max_codepoint=0xFF, exclude_characters="\x7f"), max_size=40)
COMMON = st.sampled_from([(":path", "/"), (":status", "200"), ("accept-encoding", "gzip, deflate"), ("te", "trailers")])
PAIRS = st.lists(st.tuples(NAMES, VALUES) | COMMON, max_size=12)


def reader(*, dynamic: bool = False, max_list_bytes: int = 1 << 16) -> FieldReader:
    return FieldReader(max_list_bytes=max_list_bytes, dynamic=dynamic)


def pairs_of(fields: list[Field]) -> list[tuple[str, str]]:
    return [(field.name, field.value) for field in fields]


def outcome(walker: FieldReader, raw: bytes) -> list[tuple[str, str]] | tuple[type[Exception], Code]:
    """The fields, or which error of what code."""
    try:
        return pairs_of(walker.read(raw))
    except (ConnectionBroken, StreamBroken) as error:
        return type(error), error.code


def encoder() -> Encoder:
    made = Encoder()
    made.header_table_size = 0
    return made


def encoded(with_encoder: Encoder, pairs: list[tuple[str, str]], *, huffman: bool) -> bytes:
    latin = [(name.encode("latin-1"), value.encode("latin-1")) for name, value in pairs]
    return bytes(with_encoder.encode(latin, huffman=huffman))


@given(st.lists(PAIRS, min_size=1, max_size=4), st.booleans())
def test_the_walker_reads_what_an_encoder_without_a_table_writes(
    blocks: list[list[tuple[str, str]]], huffman: bool
) -> None:
    walker, writer = reader(), encoder()
    for pairs in blocks:
        assert pairs_of(walker.read(encoded(writer, pairs, huffman=huffman))) == pairs


@given(st.lists(PAIRS, min_size=1, max_size=4), st.booleans())
def test_what_is_sent_on_says_the_same(blocks: list[list[tuple[str, str]]], huffman: bool) -> None:
    walker, writer, decoder = reader(), encoder(), Decoder()
    for pairs in blocks:
        fields = walker.read(encoded(writer, pairs, huffman=huffman))
        found = decoder.decode(b"".join(field.literal for field in fields), raw=True)
        assert [(name.decode("latin-1"), value.decode("latin-1")) for name, value in found] == pairs
        assert not decoder.header_table.dynamic_entries


@given(st.lists(PAIRS, min_size=1, max_size=4))
def test_a_dynamic_table_is_followed_and_left(blocks: list[list[tuple[str, str]]]) -> None:
    walker, writer, decoder = reader(dynamic=True), Encoder(), Decoder()
    for pairs in blocks:
        fields = walker.read(encoded(writer, pairs, huffman=True))
        assert pairs_of(fields) == pairs
        decoder.decode(b"".join(field.literal for field in fields), raw=True)
        assert not decoder.header_table.dynamic_entries
    walker.end_dynamic()
    writer.header_table_size = 0
    for pairs in blocks:
        assert pairs_of(walker.read(encoded(writer, pairs, huffman=True))) == pairs


@given(PAIRS)
def test_blocks_that_we_write_are_read_by_hpack(pairs: list[tuple[str, str]]) -> None:
    found = Decoder().decode(block(pairs), raw=True)
    assert [(name.decode("latin-1"), value.decode("latin-1")) for name, value in found] == pairs


@pytest.mark.parametrize("length", [0, 126, 127, 128, 254, 255, 256, 16_384, 70_000])
def test_literals_of_any_length(length: int) -> None:
    value = "v" * length
    assert pairs_of(reader().read(literal("n", value))) == [("n", value)]


@given(st.binary(max_size=80), st.booleans())
def test_nothing_but_the_two_errors_comes_of_garbage(data: bytes, dynamic: bool) -> None:
    walker = reader(dynamic=dynamic)
    for _ in range(2):
        outcome(walker, data)


@given(st.lists(PAIRS, min_size=2, max_size=5), st.data())
def test_the_block_before_changes_nothing(blocks: list[list[tuple[str, str]]], data: st.DataObject) -> None:
    """What a reader remembers is for speed alone: it reads as one that remembers nothing."""
    remembering = reader()
    for pairs in blocks:
        raw = bytearray(block(pairs))
        for index in data.draw(st.lists(st.integers(0, max(0, len(raw) - 1)), max_size=2)) if raw else []:
            raw[index] ^= data.draw(st.integers(1, 255))
        assert outcome(remembering, bytes(raw)) == outcome(reader(), bytes(raw))


@pytest.mark.parametrize(
    "raw",
    [
        b"\x80",  # index 0
        b"\xbe",  # index 62, beyond the static table
        b"\x7e\x01v",  # a name of index 62
        b"\x00\x05name",  # ends within the name
        b"\x00\x01n\x05v",  # ends within the value
        b"\x00",
        b"\x00\x01n",
        b"\xff\xff\xff\xff\xff\xff\xff\x7f",  # an integer beyond all bounds
        b"\xff\x80\x80",  # and one that does not end
        b"\x3f\xe1\x1f",  # a table of 4,096 bytes
        literal("a", "b") + b"\x20",  # a size update after a field
        b"\x00\x01n\x81\x00",  # Huffman padding that is no padding
    ],
)
def test_a_block_that_cannot_be_read_ends_the_connection(raw: bytes) -> None:
    with pytest.raises(ConnectionBroken) as raised:
        reader().read(raw)
    assert raised.value.code == Code.COMPRESSION_ERROR


@pytest.mark.parametrize("name", ["", "X-Upper", "with space", "col:on", "\x00", "\x7f", "\xe9"])
def test_a_bad_name_ends_the_stream(name: str) -> None:
    with pytest.raises(StreamBroken) as raised:
        reader().read(literal(name, "v"))
    assert raised.value.code == Code.PROTOCOL_ERROR


@pytest.mark.parametrize("value", ["a\0b", "a\rb", "a\nb", " a", "a ", "\ta", "a\t", "\n"])
def test_a_bad_value_ends_the_stream(value: str) -> None:
    with pytest.raises(StreamBroken):
        reader().read(literal("n", value))


@pytest.mark.parametrize(
    ("name", "value", "kind"),
    [
        (":path", "/", "pseudo"),
        ("x-session-id", "s", "routing"),
        ("x-agent", "a", "routing"),
        ("x-task-key", "k", "routing"),
        ("x-tenant-id", "t", "routing"),
        ("x-agentring-stream-id", "1", "dropped"),
        ("x-agentring-anything", "1", "dropped"),
        ("grpc-timeout", "1S", "dropped"),
        ("content-length", "1", "dropped"),
        ("host", "h", "dropped"),
        ("connection", "close", "forbidden"),
        ("keep-alive", "1", "forbidden"),
        ("proxy-connection", "1", "forbidden"),
        ("transfer-encoding", "chunked", "forbidden"),
        ("upgrade", "h2c", "forbidden"),
        ("te", "gzip", "forbidden"),
        ("te", "trailers", "plain"),
        ("x-agentringish", "1", "plain"),
        ("user-agent", "u", "plain"),
    ],
)
def test_what_a_relay_does_with_a_field(name: str, value: str, kind: str) -> None:
    (field,) = reader().read(literal(name, value))
    assert field.kind == kind


def test_an_incremental_literal_is_sent_on_as_one_that_changes_no_table() -> None:
    (field,) = reader().read(b"\x40\x01n\x01v")
    assert (field.raw, field.literal) == (b"\x40\x01n\x01v", b"\x00\x01n\x01v")


def test_size_updates_to_0_are_let_pass_at_the_beginning() -> None:
    assert pairs_of(reader().read(b"\x20\x20" + literal("a", "b"))) == [("a", "b")]
