"""States and results that are no JSON or too large fail the run."""

from typing import Any

import pytest

from agent_node.run.outcome import Failed
from agentring.agent import Result
from agentring.rpc.limits import MAX_MESSAGE_BYTES
from harness.agents import nested
from harness.bench import MAX_STATE_BYTES, Bench, completed, failed
from harness.run_agents import NOT_JSON, changing, replacing, yielding


@pytest.mark.parametrize("what", NOT_JSON)
async def test_a_state_that_is_not_json_fails_the_run(bench: Bench, what: str) -> None:
    assert failed(await bench.run(changing("k", NOT_JSON[what]))) == "STATE_INVALID"
    assert bench.kinds == ["text_delta"]


@pytest.mark.parametrize("state", [None, [], "text", 1], ids=repr)
async def test_a_state_that_is_no_object_fails_the_run(bench: Bench, state: Any) -> None:
    assert failed(await bench.run(replacing(state))) == "STATE_INVALID"


@pytest.mark.parametrize("character", ["x", "é", "日"])
async def test_the_state_is_bounded_in_bytes(bench: Bench, character: str) -> None:
    room = MAX_STATE_BYTES - len('{"k": ""}')
    fits = "x" * (room % len(character.encode())) + character * (room // len(character.encode()))
    assert len(completed(await bench.run(changing("k", fits))).state_json.encode()) == MAX_STATE_BYTES
    assert failed(await bench.run(changing("k", fits + "x"))) == "STATE_INVALID"


async def test_a_state_that_was_kept_can_be_read_again(bench: Bench) -> None:
    """However deep: one that json writes but cannot read back would end every later turn of the session."""
    for depth in range(800, 1_000):
        outcome = await bench.run(changing("d", nested(depth)))
        if isinstance(outcome, Failed):
            assert outcome.reason == "STATE_INVALID"
            break
        later = await bench.run(yielding("again"), state_json=outcome.state_json)
        assert completed(later).state_json == outcome.state_json
    else:
        raise AssertionError("no depth was refused")


NO_RESULT: dict[str, Any] = {
    **{what: {"k": value} for what, value in NOT_JSON.items()},
    "too deep": nested(40),
    "too large": {"k": "x" * MAX_MESSAGE_BYTES},
    "a number beyond all floats": {"k": 10**400},
    "a key that is no text": {1: 2},
    "None": None,
    "a list": [1],
}


@pytest.mark.parametrize("what", NO_RESULT)
async def test_a_result_that_is_not_a_json_object_or_too_large_fails_the_run(bench: Bench, what: str) -> None:
    assert failed(await bench.run(yielding("words", Result(NO_RESULT[what])))) == "RESULT_INVALID"
