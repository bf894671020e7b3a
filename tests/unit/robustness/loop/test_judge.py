"""The judge of loops finds each violation, and none where there is none."""

from typing import Any

import pytest

from robustness.loop.judge import Loop, faults, heard_again, paid

CALLS = 3
ASKED = [(1, 10), (2, 20), (3, 30)]
EFFECTS = [{"number": 1, "at_ns": 15}, {"number": 2, "at_ns": 25}]


def seen(**fields: Any) -> Loop:
    """A loop that went well, but for these."""
    loop = Loop("one", CALLS)
    loop.text, loop.received_bytes = loop.said, len(loop.said)
    loop.stored = {"steps": loop.unique_bytes}
    for name, value in fields.items():
        setattr(loop, name, value)
    return loop


def test_a_loop_that_went_well_has_no_faults() -> None:
    assert faults(seen(), ASKED, EFFECTS) == []
    assert heard_again(seen()) == ""
    assert paid(ASKED) == 0


def test_what_a_kill_may_cost_is_no_fault() -> None:
    again = [(1, 10), (2, 20), (2, 28), (3, 30)]
    assert faults(seen(kills=1), again, [*EFFECTS, {"number": 2, "at_ns": 29}]) == []
    assert paid(again) == 1


@pytest.mark.parametrize(
    ("fields", "asked", "effects", "fault"),
    [
        ({"kills": 1}, [*ASKED, (2, 31)], EFFECTS, "the model call 2 ran again after it was finished"),
        ({}, ASKED, [*EFFECTS, {"number": 1, "at_ns": 21}], "the tool call 1 ran again after it was finished"),
        ({"kills": 1}, [*ASKED, (3, 31), (3, 32)], EFFECTS, "5 model calls were paid, 3 of 1 kills"),
        ({}, ASKED, EFFECTS[:1], "the tool calls [2] were never made"),
        ({"stored": {"steps": 40_000}}, ASKED, EFFECTS, "times the unique bytes are stored: {'steps': 40000}"),
        ({"text": "half"}, ASKED, EFFECTS, "its text is not what the model said"),
        ({"failure": "RunFailed: X"}, ASKED, EFFECTS, "did not complete: RunFailed: X"),
    ],
)
def test_each_violation_is_found(fields: dict[str, Any], asked: Any, effects: Any, fault: str) -> None:
    (found,) = faults(seen(**fields), asked, effects)
    assert fault in found


def test_text_that_comes_again_is_found_beyond_the_answers_that_were_under_way() -> None:
    whole = len(seen().said)
    assert heard_again(seen(kills=1, received_bytes=whole + 100)) == ""
    assert "bytes of text came again" in heard_again(seen(kills=1, received_bytes=2 * whole))
    assert heard_again(seen(received_bytes=whole + 1))
