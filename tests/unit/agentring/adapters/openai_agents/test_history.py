"""The SDK's session on the state of agentring's."""

import json
from types import SimpleNamespace
from typing import Any, cast

import pytest
from agents.memory import Session, SessionSettings

from agentring.adapters.openai_agents import StateSession
from agentring.agent import Context


def session(state: dict[str, Any], most_bytes: int = 1 << 10) -> StateSession:
    return StateSession(cast(Context, SimpleNamespace(session_id="s", task_key="", state=state)), most_bytes=most_bytes)


def turn(number: int, size: int = 1) -> list[Any]:
    call = {"type": "function_call", "call_id": f"{number}", "name": "look", "arguments": "x" * size}
    return [
        {"role": "user", "content": f"{number}"},
        call,
        {"type": "function_call_output", "call_id": f"{number}", "output": "y"},
    ]


async def test_it_does_what_the_protocol_says() -> None:
    state: dict[str, Any] = {}
    made = session(state)
    assert isinstance(made, Session)
    await made.add_items(turn(1))
    await made.add_items(turn(2))
    assert await made.get_items() == [*turn(1), *turn(2)]
    assert await made.get_items(2) == turn(2)[1:]
    assert await made.get_items(0) == []
    made.session_settings = SessionSettings(limit=1)
    assert await made.get_items() == turn(2)[2:]
    assert await made.pop_item() == turn(2)[2]
    assert json.loads(json.dumps(state)) == state
    await made.clear_session()
    assert state == {}
    assert await made.pop_item() is None
    assert await made.get_items() == []


async def test_the_oldest_turns_go_as_a_whole_where_there_are_too_many_bytes() -> None:
    state: dict[str, Any] = {}
    made = session(state)
    for number in range(30):
        await made.add_items(turn(number, 100))
    kept = cast(list[Any], await made.get_items())
    assert kept[-3:] == turn(29, 100)
    assert kept[0]["role"] == "user"
    assert len(json.dumps(kept)) < 1.2 * (1 << 10)
    # A single turn that is too large stays, since the SDK goes on with it.
    await made.add_items(turn(30, 4_000))
    assert await made.get_items() == turn(30, 4_000)


async def test_what_is_no_json_is_refused_and_changes_nothing() -> None:
    state: dict[str, Any] = {}
    made = session(state)
    await made.add_items(turn(1))
    for bad in (float("nan"), {1, 2}):
        with pytest.raises((TypeError, ValueError)):
            await made.add_items([cast(Any, {"role": "user", "content": bad})])
    assert await made.get_items() == turn(1)
