"""The text that an agent yields: bounded, and in pieces."""

import pytest

from agent_node.events.entries import READ_BYTES
from harness.bench import MAX_TEXT_BYTES, Bench, completed, failed
from harness.run_agents import yielding


@pytest.mark.parametrize(("over", "character"), [(0, "x"), (1, "x"), (0, "é"), (2, "é")])
async def test_text_is_bounded_in_bytes_and_a_piece_that_goes_beyond_is_not_published(
    bench: Bench, over: int, character: str
) -> None:
    fits = character * ((MAX_TEXT_BYTES - 10) // len(character.encode()))
    outcome = await bench.run(yielding(fits, "x" * (10 + over)))
    if over:
        assert failed(outcome) == "OUTPUT_LIMIT"
        assert bench.text == fits
    else:
        assert completed(outcome).text_bytes == MAX_TEXT_BYTES
        assert bench.text == completed(outcome).text


async def test_much_text_at_once_is_published_in_pieces(bench: Bench) -> None:
    text = "日" * (MAX_TEXT_BYTES // 3)
    assert completed(await bench.run(yielding(text))).text == text
    events = bench.events()
    assert bench.text == text
    assert all(len(event.text_delta.text.encode()) <= READ_BYTES for event in events)
    offsets = [event.text_delta.offset for event in events]
    assert offsets == [sum(len(before.text_delta.text.encode()) for before in events[:i]) for i in range(len(events))]
