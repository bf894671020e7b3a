"""Messages put together, wherever frames cut them."""

import gzip
import zlib

import pytest
from hypothesis import given
from hypothesis import strategies as st

from agentring.errors import MalformedRequest, MessageTooLarge
from agentring.http2.budget import Budget
from agentring.rpc.limits import MAX_MESSAGE_BYTES
from agentring.rpc.messages import PREFIX, PREFIXES, Assembler, body
from harness.http2 import cut
from harness.http2_frames import marked, message
from router.relay.grpc_framing import MARKED_PREFIXES, MARKS


class Holder:
    def __init__(self) -> None:
        self.shed_count = 0

    def shed(self) -> None:
        self.shed_count += 1


def assembler(budget: Budget | None = None) -> Assembler:
    return Assembler(Budget(1 << 30) if budget is None else budget, Holder())


@given(st.lists(st.binary(max_size=300), max_size=8), st.lists(st.integers(1, 400), max_size=20))
def test_messages_are_whole_and_in_order_wherever_they_are_cut(bodies: list[bytes], sizes: list[int]) -> None:
    budget = Budget(1 << 30)
    made = assembler(budget)
    found = []
    sent = b"".join(map(message, bodies))
    for piece in cut(sent, sizes):
        found += made.feed(piece)
        assert budget.used_bytes == made.part_bytes == len(made.part)
        assert len(budget) == bool(made)
    assert found == [message(each) for each in bodies]
    assert not made


def test_what_is_missing_is_known_as_soon_as_the_length_is() -> None:
    made = assembler()
    assert made.missing_bytes == 0
    made.feed(b"\0\0")
    assert (made.missing_bytes, made.body_bytes) == (3, 0)
    made.feed(b"\0\0\x0a")
    assert (made.missing_bytes, made.body_bytes) == (10, 10)
    made.feed(b"123")
    assert (made.missing_bytes, made.part) == (7, b"\0\0\0\0\x0a123")
    assert made.feed(b"4567890\0") == [message(b"1234567890")]
    assert (made.missing_bytes, made.body_bytes, made.part) == (4, 0, b"\0")


def test_what_is_cleared_is_given_back() -> None:
    budget = Budget(100)
    made = assembler(budget)
    made.feed(message(bytes(50))[:40])
    assert (budget.used_bytes, len(budget)) == (40, 1)
    made.clear()
    assert (budget.used_bytes, len(budget), bool(made)) == (0, 0, False)


def test_a_part_over_the_budget_is_shed() -> None:
    holder = Holder()
    Assembler(Budget(10), holder).feed(message(bytes(50))[:11])
    assert holder.shed_count == 1


def test_prefixes_are_of_whole_messages_alone() -> None:
    for length in (5, 6, 100, 16_384):
        assert message(bytes(length - 5)).startswith(PREFIXES[length])
        assert not message(bytes(length - 4)).startswith(PREFIXES[length])
        assert not PREFIX.pack(1, length - 5).startswith(PREFIXES[length])
    for length in range(5):
        assert not bytes(length).startswith(PREFIXES[length])
    for length in range(MARKS.size):
        assert not (bytes(1) + length.to_bytes(4, "big")).startswith(MARKED_PREFIXES[length])
    assert marked(1, 2).startswith(MARKED_PREFIXES[len(marked(1, 2))])


def test_marks_are_where_they_are_read() -> None:
    assert MARKS.unpack_from(marked(7, 1 << 60, b"more")) == (7, 1 << 60)


@pytest.mark.parametrize("flag", [b"\0", b"\1"])
def test_bodies_are_unpacked_where_they_are_compressed(flag: bytes) -> None:
    text = b"hello" * 100
    for encoding, packed in (("gzip", gzip.compress(text, mtime=0)), ("deflate", zlib.compress(text))):
        raw = packed if flag == b"\1" else text
        assert body(flag + len(raw).to_bytes(4, "big") + raw, encoding) == text


@pytest.mark.parametrize(
    ("raw", "encoding"),
    [(b"garbage", "gzip"), (b"", "gzip"), (gzip.compress(b"x", mtime=0)[:-9], "gzip"), (b"x", "identity"), (b"x", "")],
)
def test_what_cannot_be_unpacked_is_malformed(raw: bytes, encoding: str) -> None:
    with pytest.raises(MalformedRequest):
        body(b"\1" + len(raw).to_bytes(4, "big") + raw, encoding)


def test_what_unpacks_to_more_than_a_message_may_have_is_refused() -> None:
    largest = gzip.compress(bytes(MAX_MESSAGE_BYTES))
    assert body(b"\1\0\0\0\0" + largest, "gzip") == bytes(MAX_MESSAGE_BYTES)
    with pytest.raises(MessageTooLarge):
        body(b"\1\0\0\0\0" + gzip.compress(bytes(MAX_MESSAGE_BYTES + 1)), "gzip")
