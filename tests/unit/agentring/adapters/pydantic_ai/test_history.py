"""The conversation in the state of agentring's session."""

import json
from datetime import UTC, datetime
from types import SimpleNamespace
from typing import Any, cast

import pytest
from pydantic import ValidationError
from pydantic_ai.messages import (
    BinaryImage,
    ModelMessage,
    ModelMessagesTypeAdapter,
    ModelRequest,
    ModelResponse,
    TextPart,
    ToolCallPart,
    ToolReturnPart,
    UserPromptPart,
)

from agentring.adapters.pydantic_ai import StateHistory
from agentring.agent import Context

AT = datetime(2026, 1, 2, tzinfo=UTC)


class Log:
    def __init__(self) -> None:
        self.lines: list[str] = []

    def warning(self, line: str) -> None:
        self.lines.append(line)


def history(state: dict[str, Any], most_bytes: int = 4 << 10) -> tuple[StateHistory, Log]:
    log = Log()
    ctx = cast(Context, SimpleNamespace(state=state, log=log))
    return StateHistory(ctx, most_bytes=most_bytes), log


def turn(number: int, size: int = 1) -> list[ModelMessage]:
    return [
        ModelRequest([UserPromptPart([f"{number}", BinaryImage(b"\xff", media_type="image/png")], timestamp=AT)]),
        ModelResponse([ToolCallPart("look", {"far": None}, f"{number}")], timestamp=AT),
        ModelRequest([ToolReturnPart("look", None, f"{number}", timestamp=AT)]),
        ModelResponse([TextPart("y" * size)], timestamp=AT),
    ]


def test_it_gives_back_what_was_added() -> None:
    state: dict[str, Any] = {}
    made, log = history(state)
    assert made.messages() == []
    made.add(turn(1))
    made.add(turn(2), at=AT)
    assert made.messages() == [*turn(1), *turn(2)]
    assert json.loads(json.dumps(state)) == state
    assert log.lines == []
    assert len(json.dumps(state)) < len(ModelMessagesTypeAdapter.dump_json([*turn(1), *turn(2)]))


def test_times_are_those_of_the_turn() -> None:
    made, _ = history({})
    made.add(
        [ModelRequest([UserPromptPart("hi")], timestamp=datetime.now(UTC)), ModelResponse([TextPart("so")])], at=AT
    )
    request, response = made.messages()
    assert isinstance(request.parts[0], UserPromptPart)
    assert request.timestamp == response.timestamp == request.parts[0].timestamp == AT


def test_the_oldest_turns_go_as_a_whole_where_there_are_too_many_bytes() -> None:
    state: dict[str, Any] = {}
    made, log = history(state)
    for number in range(9):
        made.add(turn(number, 500))
    kept = made.messages()
    assert kept[-4:] == turn(8, 500)
    assert 4 < len(kept) < 36
    assert len(kept) % 4 == 0
    assert len(json.dumps(state)) < 4.2 * (1 << 10)
    made.add(turn(9, 9_000))
    assert made.messages() == []
    assert len(log.lines) == 1


def test_a_turn_in_which_nothing_was_said_is_kept() -> None:
    made, log = history({})
    made.add([])
    assert (made.messages(), log.lines) == ([], [])


def test_a_state_of_somebody_else_s_is_refused() -> None:
    made, _ = history({"pydantic_ai": [[{"role": "user"}]]})
    with pytest.raises(ValidationError):
        made.messages()
