"""Whatever an agent hands over, and whatever that does when it is read: the run has ended once, with a reason."""

import asyncio
from collections.abc import AsyncIterator
from typing import Any, cast

import pytest
import structlog

from agent_node.run.outcome import Completed, Failed
from agentring.agent import Agent, AgentEvent, Context, OnceFailed, Result
from agentring.v1 import session_pb2
from harness.bench import Bench, completed, failed
from harness.hostile import HOSTILE, SECRET, Lying, Odd, Unspeakable
from harness.once import once_cluster
from harness.sessions import acting

WAYS = {
    **dict.fromkeys(("state", "a state's value"), "STATE_INVALID"),
    **dict.fromkeys(("result", "a result's value", "tool's result"), "RESULT_INVALID"),
    **dict.fromkeys(("tool's arguments", "schema"), "TOOL_ARGUMENT_INVALID"),
}


def handing_over(value: Any, way: str) -> Agent:
    async def tool(**_: Any) -> Any:
        return value if way == "tool's result" else None

    async def agent(ctx: Context) -> AsyncIterator[AgentEvent]:
        yield "begun"
        match way:
            case "state":
                ctx.state = value
            case "a state's value":
                ctx.state["cart"] = [0, {"price": value}]
            case "result":
                yield Result(value)
            case "a result's value":
                yield Result({"cart": [0, {"price": value}]})
            case "schema":
                await ctx.ask("really?", schema={"cart": value})
            case _:
                await ctx.tool("tool", tool, **({"cart": value} if way == "tool's arguments" else {}))

    return agent


class Nobody:
    """Never asked."""

    async def ask(self, *_: Any) -> session_pb2.Input:
        raise AssertionError("it was asked")


async def outcome_of(value: Any, way: str) -> tuple[Bench, Completed | Failed]:
    bench = Bench()
    outcome = await bench.run(handing_over(value, way), questions=Nobody())
    assert SECRET not in str(bench.events())
    assert bench.kinds.count("tool_call") == bench.kinds.count("tool_result")
    return bench, outcome


@pytest.mark.parametrize("way", WAYS)
@pytest.mark.parametrize("what", HOSTILE)
async def test_what_its_objects_do_is_the_agents_error(what: str, way: str) -> None:
    _, outcome = await outcome_of(HOSTILE[what], way)
    assert failed(outcome) == WAYS[way]
    assert isinstance(outcome, Failed)
    assert SECRET not in outcome.detail


@pytest.mark.parametrize("what", HOSTILE)
async def test_a_turn_of_such_objects_fails_once_and_the_session_goes_on(what: str) -> None:
    async with acting(handing_over(HOSTILE[what], "a state's value")) as actor:
        for turn_id in ("a", "b"):
            await actor.submit(turn_id)
            assert await actor.until_ended(turn_id) == ["turn_failed"]
        assert actor.kinds.count("turn_started a") == 1
        assert actor.failure is None
        assert actor.session.stored.state_json == "{}"


@pytest.mark.parametrize(
    ("way", "detail"),
    [
        ("a state's value", "state $.cart[1].price: set"),
        ("a result's value", "result $.cart[1].price: set"),
        ("tool's arguments", "arguments of the tool tool $.cart: set"),
        ("tool's result", "result of the tool tool $: set"),
        ("schema", "schema $.cart: set"),
        ("state", "state $: set"),
    ],
)
async def test_the_failure_says_what_was_wrong_and_where(way: str, detail: str) -> None:
    _, outcome = await outcome_of({1}, way)
    assert failed(outcome) == WAYS[way]
    assert outcome.to_event().detail == detail  # type: ignore[union-attr]


@pytest.mark.parametrize("way", ["a result's value", "tool's arguments", "tool's result", "schema"])
@pytest.mark.parametrize("number", [2**53 + 1, -(2**53) - 1, 10**30])
async def test_an_integer_that_would_not_arrive_is_refused(way: str, number: int) -> None:
    _, outcome = await outcome_of(number, way)
    assert failed(outcome) == WAYS[way]
    assert "2**53" in outcome.to_event().detail  # type: ignore[union-attr]


@pytest.mark.parametrize("number", [2**53 + 1, 1234567890123456789, -(2**100), 1e308, 5e-324, -0.0])
async def test_in_the_state_every_number_stays_as_it_is(number: float) -> None:
    seen: list[Any] = []

    async def agent(ctx: Context) -> AsyncIterator[AgentEvent]:
        seen.append(ctx.state.get("n"))
        ctx.state["n"] = number
        yield ""

    first = completed(await Bench().run(agent))
    completed(await Bench().run(agent, state_json=first.state_json))
    assert [type(seen[1]), str(seen[1])] == [type(number), str(number)]


@pytest.mark.parametrize(("before", "after"), [(1, True), (0, False), (1, 1.0), (0.0, -0.0), (None, "deleted")])
async def test_a_key_that_is_another_value_of_json_has_changed(before: Any, after: Any) -> None:
    async def agent(ctx: Context) -> AsyncIterator[AgentEvent]:
        if after == "deleted":
            del ctx.state["k"]
        else:
            ctx.state["k"] = after
        yield "x"

    bench = Bench()
    first = completed(await Bench().run(handing_over(before, "a state's value"))).state_json
    assert "price" in first
    state_json = f'{{"k": {"null" if before is None else before}}}'
    assert completed(await bench.run(agent, state_json=state_json)).state_json != state_json
    assert list(bench.events()[-1].state_changed.keys) == ["k"]


async def test_more_changed_keys_than_one_event_tells_are_said_to_be_more() -> None:
    async def agent(ctx: Context) -> AsyncIterator[AgentEvent]:
        ctx.state.update({f"key {number:06}": 0 for number in range(10_000)})
        yield "x"

    bench = Bench(max_state_bytes=1 << 20)
    completed(await bench.run(agent))
    changed = bench.events()[-1].state_changed
    assert changed.has_more
    assert 1_000 < len(changed.keys) < 10_000


UNTELLABLE: dict[str, Exception] = {
    "text": Unspeakable(),
    "odd": Odd(SECRET),
    "syntax": cast(Any, SyntaxError)(1, (2, 3, 4, 5)),
}


@pytest.mark.parametrize("error", UNTELLABLE.values(), ids=UNTELLABLE)
@pytest.mark.parametrize("where", ["the agent", "a tool"])
async def test_an_error_without_a_text_is_an_error_all_the_same(error: Exception, where: str) -> None:
    async def tool() -> None:
        raise error

    async def agent(ctx: Context) -> AsyncIterator[AgentEvent]:
        yield "begun"
        if where == "a tool":
            await ctx.tool("tool", tool)
        raise error

    bench = Bench()
    with structlog.testing.capture_logs() as logged:
        assert failed(await bench.run(agent)) == "AGENT_ERROR"
    assert [line["event"] for line in logged][-1] == "agent_failed"
    assert bench.kinds.count("tool_call") == bench.kinds.count("tool_result") == (where == "a tool")


async def test_such_an_error_is_in_the_real_log_too(capsys: pytest.CaptureFixture[str]) -> None:
    for error in UNTELLABLE.values():

        async def agent(_ctx: Context, error: Exception = error) -> AsyncIterator[AgentEvent]:
            yield "begun"
            raise error

        assert failed(await Bench().run(agent)) == "AGENT_ERROR"
    assert capsys.readouterr().out.count("agent_failed") == 3


@pytest.mark.parametrize("what", [*HOSTILE, "a big integer"])
async def test_a_step_whose_result_cannot_be_read_has_failed_for_everybody(what: str) -> None:
    calls = 0

    async def step(**_: Any) -> Any:
        nonlocal calls
        calls += 1
        return {"x": HOSTILE.get(what, 2**60)}

    async with once_cluster() as cluster:
        for node in (cluster.n1, cluster.n2):
            with pytest.raises(OnceFailed) as refused:
                await node.call("key", step)
            assert refused.value.type_name == "ResultNotKept"
            assert refused.value.text.startswith("result $.x")
            assert SECRET not in refused.value.text
    assert calls == 1


@pytest.mark.parametrize("error", [Unspeakable(), Odd(SECRET)], ids=["text", "odd"])
async def test_a_step_whose_error_has_no_text_has_failed_for_everybody(error: Exception) -> None:
    calls = 0

    async def step(**_: Any) -> Any:
        nonlocal calls
        calls += 1
        raise error

    async with once_cluster() as cluster:
        for node in (cluster.n1, cluster.n2):
            with pytest.raises(OnceFailed) as refused:
                await node.call("key", step)
            assert refused.value.type_name in ("Unspeakable", "Odd")
    assert calls == 1


class Unusual(BaseException):
    """Neither an Exception nor one of Python's own."""


@pytest.mark.parametrize("error", [Unusual(), GeneratorExit(), SystemExit(1), asyncio.CancelledError()], ids=repr)
async def test_a_step_that_ends_in_any_other_way_holds_its_key_no_longer(error: BaseException) -> None:
    async def step(**_: Any) -> Any:
        raise error

    async def works(**_: Any) -> Any:
        return "done"

    async with once_cluster() as cluster:
        with pytest.raises(type(error)):
            await cluster.n1.call("key", step)
        assert await cluster.n2.call("key", works) == "done"


EMOJI = "😀"
HIGH, LOW = EMOJI.encode("utf-16-be", "surrogatepass")[:2], EMOJI.encode("utf-16-be")[2:]
FIRST, SECOND = (half.decode("utf-16-be", "surrogatepass") for half in (HIGH, LOW))


@pytest.mark.parametrize(
    ("pieces", "text"),
    [
        ((FIRST, SECOND), EMOJI),
        (("a" + FIRST, "", SECOND + "b"), f"a{EMOJI}b"),
        ((FIRST + SECOND,), EMOJI),
        ((FIRST, Result({}), SECOND), EMOJI),
        ((FIRST,), "\ufffd"),
        ((SECOND, "x"), "\ufffdx"),
        ((FIRST, FIRST, SECOND), "\ufffd" + EMOJI),
        (("x" * 5_000 + FIRST, SECOND * 2), "x" * 5_000 + EMOJI + "\ufffd"),
        ((Lying("true"), Lying(FIRST), Lying(SECOND)), "true" + EMOJI),
    ],
    ids=range(9),
)
async def test_a_character_that_was_cut_in_two_is_joined_and_a_half_fails_nothing(
    pieces: tuple[Any, ...], text: str
) -> None:
    async def agent(_ctx: Context) -> AsyncIterator[AgentEvent]:
        for piece in pieces:
            yield piece

    bench = Bench()
    outcome = completed(await bench.run(agent))
    assert outcome.text == bench.text == text
    assert outcome.text_bytes == len(text.encode())


async def test_words_that_lie_about_their_size_are_counted() -> None:
    async def agent(_ctx: Context) -> AsyncIterator[AgentEvent]:
        yield Lying("x" * 100)

    assert failed(await Bench(max_text_bytes=99).run(agent)) == "OUTPUT_LIMIT"


@pytest.mark.parametrize(
    "name", ["x" * 257, "é" * 129, "\ud800", 7, None], ids=["long", "long bytes", "half", "int", "None"]
)
async def test_a_tools_name_is_a_short_text(name: Any) -> None:
    async def agent(ctx: Context) -> AsyncIterator[AgentEvent]:
        yield ""
        await ctx.tool(name, asyncio.sleep, delay=0)

    bench = Bench()
    assert failed(await bench.run(agent)) == "AGENT_ERROR"
    assert bench.kinds == []
