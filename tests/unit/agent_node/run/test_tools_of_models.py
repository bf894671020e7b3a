"""`ctx.call_tool`: arguments that a model made are checked before anything is called or shown."""

import datetime
import functools
import json
from collections.abc import AsyncIterator
from dataclasses import dataclass
from typing import Any

import pytest

from agent_node.run.outcome import Failed
from agentring.agent import AgentEvent, Context, Tool, ToolArgumentInvalid, tool
from harness.bench import EPOCH, Bench, completed, failed


@dataclass
class Stay:
    city: str
    first: datetime.date


@tool
async def book(ctx: Context, stay: Stay, nights: int = 1, *, idempotency_key: str, fencing_token: int) -> Any:
    """Books a room."""
    assert isinstance(stay.first, datetime.date)
    return {"stay": stay, "of": [ctx.turn_number, nights, bool(idempotency_key), fencing_token]}


async def test_the_function_gets_its_types_and_what_the_run_hands_over(bench: Bench) -> None:
    found: list[Any] = []

    async def agent(ctx: Context) -> AsyncIterator[AgentEvent]:
        found.append(await ctx.call_tool(book, '{"stay": {"city": "Oslo", "first": "2026-11-29"}}'))
        found.append(await ctx.call_tool(book, {"stay": Stay("Oslo", datetime.date(2026, 11, 29))}))
        yield ""

    completed(await bench.run(agent))
    assert found == [{"stay": {"city": "Oslo", "first": "2026-11-29"}, "of": [1, 1, True, EPOCH]}] * 2
    call, answer, *_ = bench.events()
    assert call.tool_call.name == "book"
    assert dict(call.tool_call.arguments["stay"]) == {"city": "Oslo", "first": "2026-11-29"}  # type: ignore[arg-type]
    assert len(call.tool_call.arguments) == 1
    assert answer.tool_result.result.struct_value["of"][3] == EPOCH  # type: ignore[index]


async def test_invalid_arguments_go_back_to_the_model_and_nothing_is_called_or_shown(bench: Bench) -> None:
    said = ""

    async def agent(ctx: Context) -> AsyncIterator[AgentEvent]:
        nonlocal said
        try:
            await ctx.call_tool(book, {"stay": {"city": "Oslo", "first": "soon"}, "nights": "two"})
        except ToolArgumentInvalid as invalid:
            said = str(invalid)
        yield "went on"

    assert completed(await bench.run(agent)).text == "went on"
    assert said.startswith("the arguments of book are invalid: $.stay.first: ")
    assert "; $.nights: " in said
    assert len(bench.events()) == 1


async def test_invalid_arguments_that_nobody_catches_fail_the_turn_and_tell_no_value(bench: Bench) -> None:
    async def agent(ctx: Context) -> AsyncIterator[AgentEvent]:
        await ctx.call_tool(book, {"stay": {"city": "Oslo", "first": "a secret"}})
        yield ""

    outcome = await bench.run(agent)
    assert failed(outcome) == "TOOL_ARGUMENT_INVALID"
    assert isinstance(outcome, Failed)
    assert outcome.detail == "arguments of the tool book $.stay.first: date_from_datetime_parsing"


async def test_what_an_agent_makes_of_the_error_itself_tells_nothing(bench: Bench) -> None:
    async def agent(ctx: Context) -> AsyncIterator[AgentEvent]:
        yield ""
        raise ToolArgumentInvalid("book", [])

    outcome = await bench.run(agent)
    assert failed(outcome) == "TOOL_ARGUMENT_INVALID"
    assert isinstance(outcome, Failed)
    assert outcome.detail == ""


@tool
async def measure(metres: float, unit: str = "m") -> str:
    """Measures."""
    return f"{metres} {unit}"


async def anything(**arguments: Any) -> str:
    return f"{arguments}"


GIVEN = Tool(anything, parameters={"type": "object"})


@pytest.mark.parametrize("each", [measure, GIVEN], ids=["by types", "by a schema"])
@pytest.mark.parametrize(
    ("arguments", "kind"),
    [
        ('{"metres": NaN}', "not_json"),
        ('{"metres": 1e999}', "not_json"),
        ('{"metres": 1, "unit": "\\ud800"}', "not_json"),
        (json.dumps({"metres": 1, "unit": "x" * (1 << 20)}), "too_long"),
        (json.dumps({"metres": 1, "unit": "é" * (1 << 17) * 5}, ensure_ascii=False), "not_json"),
        ('{"metres": ' + "[" * 100_000 + "}", "json_invalid"),
        ('{"metres": ' + "9" * 5_000 + "}", "json_invalid"),
    ],
)
async def test_whatever_a_model_writes_is_an_invalid_argument(
    bench: Bench, each: Tool[Any, Any], arguments: str, kind: str
) -> None:
    found: list[ToolArgumentInvalid] = []

    async def agent(ctx: Context) -> AsyncIterator[AgentEvent]:
        try:
            await ctx.call_tool(each, arguments)
        except ToolArgumentInvalid as invalid:
            found.append(invalid)
        yield ""

    completed(await bench.run(agent))
    assert [problem.kind for problem in found[0].problems] == [kind]
    assert len(str(found[0])) < 300


async def test_what_is_no_tool_is_refused_with_what_to_do(bench: Bench) -> None:
    async def agent(ctx: Context) -> AsyncIterator[AgentEvent]:
        with pytest.raises(TypeError, match="call_tool calls a Tool, not function: write @tool above the function"):
            await ctx.call_tool(anything, {})  # type: ignore[arg-type]
        yield ""

    completed(await bench.run(agent))


async def test_what_a_decorator_hands_on_is_handed_to_it(bench: Bench) -> None:
    def traced(function: Any) -> Any:
        @functools.wraps(function)
        async def inner(*args: Any, **kwargs: Any) -> Any:
            return await function(*args, **kwargs)

        return inner

    @traced
    async def pay(amount: int, idempotency_key: str = "") -> bool:
        return bool(idempotency_key)

    async def agent(ctx: Context) -> AsyncIterator[AgentEvent]:
        found = [await ctx.tool("pay", pay, amount=1), await ctx.tool("pay", Tool(pay), amount=1)]
        found.append(await ctx.call_tool(Tool(pay), {"amount": 1}))
        yield f"{found}"

    assert completed(await bench.run(agent)).text == "[True, True, True]"
