"""One run of an agent: what its author may rely on, and what becomes of whatever it does."""

import asyncio
import sys
from collections.abc import AsyncIterator, Callable, Iterator
from typing import Any, cast

import pytest
import structlog

from agent_node.events.entries import READ_BYTES
from agent_node.run.outcome import Completed, Failed
from agent_node.run.time_limit import MOST_ABANDONED
from agentring.agent import Agent, AgentEvent, Context, PastTurn, Result
from agentring.errors import NodeFenced
from agentring.ids import parse_session, parse_task
from agentring.rpc.limits import MAX_MESSAGE_BYTES
from harness.agents import nested
from harness.bench import EPOCH, MAX_STATE_BYTES, MAX_TEXT_BYTES, SHORT_S, Bench, completed, failed
from harness.clock import PATIENCE_S
from harness.premises import TTL_S
from harness.stubborn import Stubborn


@pytest.fixture
def bench() -> Bench:
    return Bench()


async def test_words_state_and_the_last_result_are_the_outcome(bench: Bench) -> None:
    async def agent(ctx: Context) -> AsyncIterator[AgentEvent]:
        yield "Grüße, "
        yield ""
        yield Result({"n": 1})
        ctx.state["kept"] = {"deep": [1, None, True, 1.5, "é"]}
        yield "日本 🎉"
        yield Result({"n": 2})

    outcome = completed(await bench.run(agent))
    assert (outcome.text, outcome.text_bytes) == ("Grüße, 日本 🎉", len("Grüße, 日本 🎉".encode()))
    assert outcome.state_json == '{"kept": {"deep": [1, null, true, 1.5, "é"]}}'
    ended = outcome.to_event()
    assert (dict(ended.result), ended.text_bytes) == ({"n": 2}, outcome.text_bytes)
    assert bench.kinds == ["text_delta", "state_changed"]  # the end is told by whoever stores it
    assert bench.text == outcome.text
    assert list(bench.events()[-1].state_changed.keys) == ["kept"]


async def test_an_agent_may_end_without_a_word(bench: Bench) -> None:
    async def agent(ctx: Context) -> AsyncIterator[AgentEvent]:
        if ctx.input_text == "never":
            yield ""

    outcome = completed(await bench.run(agent))
    assert (outcome.text, outcome.text_bytes, outcome.state_json, outcome.result) == ("", 0, "{}", None)
    assert not outcome.to_event().HasField("result")
    assert bench.kinds == []


async def test_an_agent_may_be_any_async_iterator(bench: Bench) -> None:
    class Counting:
        def __init__(self, _ctx: Context) -> None:
            self.left = 3

        def __aiter__(self) -> "Counting":
            return self

        async def __anext__(self) -> AgentEvent:
            if self.left == 0:
                raise StopAsyncIteration
            self.left -= 1
            return str(self.left)

    assert completed(await bench.run(Counting)).text == "210"


async def test_the_context_tells_what_the_turn_is_about(bench: Bench) -> None:
    told: list[Any] = []

    async def agent(ctx: Context) -> AsyncIterator[AgentEvent]:
        told.append((ctx.input_text, ctx.input_data, ctx.history, ctx.turn_number, ctx.attempt))
        told.append((ctx.node_id, ctx.fencing_token, ctx.state))
        yield ""

    history = (PastTurn("a", "b"),)
    await bench.run(agent, text="words", data={"x": 1}, history=history, state_json='{"k": 1}')
    assert told == [("words", {"x": 1}, history, 2, 1), ("n1", EPOCH, {"k": 1})]


async def test_an_idempotency_key_is_of_one_turn_or_task_alone(bench: Bench) -> None:
    keys: list[str] = []

    async def agent(ctx: Context) -> AsyncIterator[AgentEvent]:
        keys.append(ctx.idempotency_key)
        yield ""

    for tenant in ("", "other"):
        for name in ("s", "s2"):
            for turn_id in ("t", "t2"):
                await bench.run(agent, ref=parse_session(tenant, name), turn_id=turn_id)
        for key in ("s", "session/s/t", "k"):
            await bench.run(agent, ref=parse_task(tenant, key), turn_id="")
    assert len(set(keys)) == len(keys) == 14
    await bench.run(agent, ref=parse_session("", "s"), turn_id="t")
    assert keys[-1] == keys[0]


async def test_the_state_is_the_turns_own_copy(bench: Bench) -> None:
    async def agent(ctx: Context) -> AsyncIterator[AgentEvent]:
        ctx.state["list"].append(2)
        yield ""

    given = '{"list": [1]}'
    for _ in range(2):
        assert completed(await bench.run(agent, state_json=given)).state_json == '{"list": [1, 2]}'
    assert given == '{"list": [1]}'


async def test_only_keys_that_read_back_differently_have_changed(bench: Bench) -> None:
    async def agent(ctx: Context) -> AsyncIterator[AgentEvent]:
        ctx.state["same"] = (1, 2)
        ctx.state["new"] = 1
        ctx.state["changed"]["x"] = 1
        del ctx.state["gone"]
        yield ""

    await bench.run(agent, state_json='{"same": [1, 2], "changed": {}, "gone": 0}')
    (event,) = bench.events()
    assert list(event.state_changed.keys) == ["changed", "gone", "new"]


async def test_a_tasks_state_is_nobodys(bench: Bench) -> None:
    async def agent(ctx: Context) -> AsyncIterator[AgentEvent]:
        ctx.state["x"] = 1
        yield "y"

    await bench.run(agent, ref=parse_task("", "k"), turn_id="")
    assert bench.kinds == ["text_delta"]


class Unusual(BaseException):
    """Neither an Exception nor one of Python's own."""


def raising(error: BaseException) -> Agent:
    async def agent(_ctx: Context) -> AsyncIterator[AgentEvent]:
        yield "some words"
        raise error

    return agent


def yielding(*events: Any) -> Agent:
    async def agent(_ctx: Context) -> AsyncIterator[AgentEvent]:
        for event in events:
            yield event

    return agent


def at_once(_ctx: Context) -> AsyncIterator[AgentEvent]:
    raise ValueError("not for clients")


async def never_yielding(_ctx: Context) -> None:
    return


def synchronous(_ctx: Context) -> Iterator[AgentEvent]:
    yield "words"


def nothing(_ctx: Context) -> None:
    return


async def exiting(_ctx: Context) -> AsyncIterator[AgentEvent]:
    yield ""
    sys.exit(3)


FAULTY: dict[str, Any] = {
    "raises": raising(ValueError("not for clients")),
    "raises what is no Exception": raising(Unusual()),
    "raises GeneratorExit": raising(GeneratorExit()),
    "raises KeyboardInterrupt": raising(KeyboardInterrupt()),
    "raises StopAsyncIteration": raising(StopAsyncIteration()),
    "raises CancelledError": raising(asyncio.CancelledError()),
    "raises TimeoutError": raising(TimeoutError()),
    "raises NodeFenced": raising(NodeFenced()),
    "raises when called": at_once,
    "exits": exiting,
    "never yields": never_yielding,
    "is synchronous": synchronous,
    "returns nothing": nothing,
    "yields bytes": yielding(b"x"),
    "yields None": yielding(None),
    "yields an exception": yielding(ValueError()),
}


@pytest.mark.parametrize("fault", FAULTY)
async def test_a_faulty_agent_fails_its_run_and_its_words_stay_in_the_log_of_the_node(bench: Bench, fault: str) -> None:
    with structlog.testing.capture_logs() as logged:
        outcome = await bench.run(cast(Agent, FAULTY[fault]))
    assert failed(outcome) == "AGENT_ERROR"
    (line,) = logged
    assert (line["event"], line["reason"]) == ("agent_failed", "AGENT_ERROR")
    assert isinstance(line["exc_info"], BaseException)
    assert isinstance(outcome, Failed)
    assert line["error_id"] == outcome.error_id
    assert "not for clients" not in str(bench.events())


def answering(cancellation: Callable[[], AgentEvent | None]) -> Agent:
    """Waits until it is cancelled, and then says something else, returns, or raises."""

    async def agent(ctx: Context) -> AsyncIterator[AgentEvent]:
        ctx.state["changed"] = True
        yield "begun "
        try:
            await asyncio.Event().wait()
        except asyncio.CancelledError:
            if (event := cancellation()) is None:
                return
            yield event
        yield "never told"

    return agent


def _raise() -> AgentEvent:
    raise RuntimeError("instead of the cancellation")


CANCELLATIONS: dict[str, Callable[[], AgentEvent | None]] = {
    "goes on": lambda: "never told",
    "returns": lambda: None,
    "returns a result": lambda: Result({}),
    "raises": _raise,
    "exits": lambda: sys.exit(1),
}


@pytest.mark.parametrize("answer", CANCELLATIONS)
async def test_a_run_over_its_deadline_has_met_it_whatever_the_agent_makes_of_it(answer: str) -> None:
    bench = Bench(timeout_s=SHORT_S, grace_s=PATIENCE_S)
    assert failed(await bench.run(answering(CANCELLATIONS[answer]))) == "TURN_DEADLINE"
    assert bench.text == "begun "


@pytest.mark.parametrize("answer", CANCELLATIONS)
async def test_a_cancelled_run_is_cancelled_whatever_the_agent_makes_of_it(answer: str) -> None:
    bench = Bench(grace_s=PATIENCE_S)
    running = asyncio.ensure_future(bench.run(answering(CANCELLATIONS[answer])))
    await until_told(bench, running)
    running.cancel()
    with pytest.raises(asyncio.CancelledError):
        await running
    assert bench.text == "begun "


async def until_told(bench: Bench, running: "asyncio.Future[Completed | Failed]") -> None:
    """Returns once the agent has said something and waits."""
    told = asyncio.Event()
    bench.log.subscribe(told)
    await told.wait()
    bench.log.unsubscribe(told)
    assert not running.done()


@pytest.mark.parametrize("ending", ["deadline", "cancel"])
async def test_an_agent_that_does_not_end_is_let_go_and_says_nothing_more(ending: str) -> None:
    bench = Bench(timeout_s=SHORT_S if ending == "deadline" else PATIENCE_S)
    stubborn = Stubborn()
    running = asyncio.ensure_future(bench.run(stubborn.agent))
    with structlog.testing.capture_logs() as logged:
        await stubborn.begun.wait()
        if ending == "cancel":
            running.cancel()
        await asyncio.wait([running], timeout=PATIENCE_S)
    assert "agent_let_go" in [line["event"] for line in logged]
    if ending == "cancel":
        assert running.cancelled()
    else:
        assert failed(running.result()) == "TURN_DEADLINE"
    head_seq = bench.log.head_seq
    stubborn.let_end.set()
    await stubborn.has_ended.wait()
    assert bench.log.head_seq == head_seq


async def test_an_agent_of_which_too_many_do_not_end_is_not_begun_again() -> None:
    bench = Bench(timeout_s=0.0)
    stubborn = Stubborn()
    for _ in range(MOST_ABANDONED):
        assert failed(await bench.run(stubborn.agent)) == "TURN_DEADLINE"
    head_seq = bench.log.head_seq
    assert failed(await bench.run(stubborn.agent)) == "AGENT_STUCK"
    assert bench.log.head_seq == head_seq
    stubborn.let_end.set()


@pytest.mark.parametrize("ending", ["deadline", "cancel", "too many words"])
async def test_an_agent_may_tidy_up_before_it_ends(ending: str) -> None:
    bench = Bench(timeout_s=SHORT_S if ending == "deadline" else PATIENCE_S, grace_s=PATIENCE_S)
    tidied = asyncio.Event()

    async def tidy() -> None:
        await asyncio.sleep(0)
        tidied.set()

    async def agent(ctx: Context) -> AsyncIterator[AgentEvent]:
        try:
            yield "begun"
            if ending == "too many words":
                yield "x" * MAX_TEXT_BYTES
            await asyncio.Event().wait()
        finally:
            await ctx.tool("tidy", tidy)

    running = asyncio.ensure_future(bench.run(agent))
    if ending == "cancel":
        await until_told(bench, running)
        running.cancel()
    await asyncio.wait([running], timeout=PATIENCE_S)
    assert tidied.is_set()
    assert bench.kinds == ["text_delta", "tool_call", "tool_result"]


async def test_what_an_agent_leaves_behind_says_nothing_after_its_end(bench: Bench) -> None:
    left: list[asyncio.Task[Any]] = []
    go = asyncio.Event()
    called = False

    async def late() -> None:
        nonlocal called
        called = True

    async def later(ctx: Context) -> None:
        await go.wait()
        await ctx.tool("late", late)

    async def agent(ctx: Context) -> AsyncIterator[AgentEvent]:
        left.append(asyncio.create_task(later(ctx)))
        yield "x"

    completed(await bench.run(agent))
    go.set()
    with pytest.raises(RuntimeError):
        await left[0]
    assert (called, bench.kinds) == (False, ["text_delta"])


@pytest.mark.parametrize(("over", "character"), [(0, "x"), (1, "x"), (0, "é"), (2, "é")])
async def test_words_are_bounded_in_bytes_and_a_piece_that_goes_beyond_is_not_told(
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


async def test_many_words_at_once_are_told_in_pieces(bench: Bench) -> None:
    text = "日" * (MAX_TEXT_BYTES // 3)
    assert completed(await bench.run(yielding(text))).text == text
    events = bench.events()
    assert bench.text == text
    assert all(len(event.text_delta.text.encode()) <= READ_BYTES for event in events)
    offsets = [event.text_delta.offset for event in events]
    assert offsets == [sum(len(before.text_delta.text.encode()) for before in events[:i]) for i in range(len(events))]


def changing(key: Any, value: Any) -> Agent:
    async def agent(ctx: Context) -> AsyncIterator[AgentEvent]:
        yield "words"
        ctx.state[key] = value

    return agent


def replacing(state: Any) -> Agent:
    async def agent(ctx: Context) -> AsyncIterator[AgentEvent]:
        yield "words"
        cast(Any, ctx).state = state

    return agent


cyclic: dict[str, Any] = {}
cyclic["self"] = cyclic

NOT_JSON: dict[str, Any] = {
    "an object": object(),
    "bytes": b"x",
    "a set": {1},
    "NaN": float("nan"),
    "infinity": float("-inf"),
    "a circle": cyclic,
    "very deep": nested(100_000),
    "half a character": "\ud800",
}


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
        again = await bench.run(yielding("again"), state_json=outcome.state_json)
        assert completed(again).state_json == outcome.state_json
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
    assert failed(await bench.run(yielding("words", Result(NO_RESULT[what])))) == "STATE_INVALID"


async def test_a_tool_is_called_and_told(bench: Bench) -> None:
    async def add(a: int, b: int) -> dict[str, int]:
        return {"sum": a + b}

    async def agent(ctx: Context) -> AsyncIterator[AgentEvent]:
        for a in (1, 2):
            assert await ctx.tool("add", add, a=a, b=3) == {"sum": a + 3}
        yield "done"

    completed(await bench.run(agent))
    call, answer, call2, answer2, _ = bench.events()
    assert (call.tool_call.name, dict(call.tool_call.arguments)) == ("add", {"a": 1, "b": 3})
    assert (call.turn_id, call.attempt, call.epoch) == ("t", 1, EPOCH)
    assert answer.tool_result.call_id == call.tool_call.call_id
    assert dict(answer.tool_result.result.struct_value) == {"sum": 4}
    assert answer2.tool_result.call_id == call2.tool_call.call_id != call.tool_call.call_id
    assert bench.audit.lines == [("tool_started", "t")] * 2


async def test_a_tool_that_raises_is_told_with_an_opaque_id_and_raises_in_the_agent(bench: Bench) -> None:
    async def broken(**_: Any) -> None:
        raise LookupError("not for clients")

    async def agent(ctx: Context) -> AsyncIterator[AgentEvent]:
        with pytest.raises(LookupError):
            await ctx.tool("broken", broken, x=1)
        yield "went on"

    assert completed(await bench.run(agent)).text == "went on"
    call, answer, _ = bench.events()
    assert answer.tool_result.call_id == call.tool_call.call_id
    assert len(answer.tool_result.error_id) == 16
    assert "not for clients" not in str(bench.events())


async def _echoing(given: Any = None, answer: Any = None) -> Any:
    return answer


@pytest.mark.parametrize("side", ["given", "answer"])
@pytest.mark.parametrize("what", ["NaN", "an object", "a set"])
async def test_what_a_tool_is_given_and_answers_must_be_json(bench: Bench, side: str, what: str) -> None:
    called = False

    async def tool(**arguments: Any) -> Any:
        nonlocal called
        called = True
        return NOT_JSON[what]

    async def agent(ctx: Context) -> AsyncIterator[AgentEvent]:
        yield ""
        await ctx.tool("tool", tool, **({"given": NOT_JSON[what]} if side == "given" else {}))

    assert failed(await bench.run(agent)) == "STATE_INVALID"
    assert called == (side == "answer")
    assert bench.kinds == ([] if side == "given" else ["tool_call", "tool_result"])
    if side == "answer":
        assert bench.events()[-1].tool_result.reason == "RESULT_INVALID"


@pytest.mark.parametrize("swallows", [True, False])
async def test_past_the_fence_nothing_is_told_and_no_tool_is_called(bench: Bench, swallows: bool) -> None:
    called = False

    async def tool() -> None:
        nonlocal called
        called = True

    async def agent(ctx: Context) -> AsyncIterator[AgentEvent]:
        yield "before"
        bench.clock.advance(TTL_S)
        ctx.state["x"] = 1
        try:
            await ctx.tool("tool", tool)
        except NodeFenced:
            if not swallows:
                raise
        yield "after"

    with pytest.raises(NodeFenced):
        await bench.run(agent)
    assert (called, bench.kinds, bench.text) == (False, ["text_delta"], "before")


async def test_a_fence_while_a_tool_runs_leaves_its_answer_untold(bench: Bench) -> None:
    async def slow() -> None:
        bench.clock.advance(TTL_S)

    async def agent(ctx: Context) -> AsyncIterator[AgentEvent]:
        yield ""
        await ctx.tool("slow", slow)

    with pytest.raises(NodeFenced):
        await bench.run(agent)
    assert bench.kinds == ["tool_call"]


async def test_a_fault_past_the_fence_is_the_fences(bench: Bench) -> None:
    async def agent(_ctx: Context) -> AsyncIterator[AgentEvent]:
        yield ""
        bench.clock.advance(TTL_S)
        raise ValueError

    with pytest.raises(NodeFenced):
        await bench.run(agent)


@pytest.mark.parametrize("what", ["words", "tools"])
async def test_the_event_loop_breathes_although_an_agent_never_awaits(bench: Bench, what: str) -> None:
    breaths = 0
    over = False

    async def breathe() -> None:
        nonlocal breaths
        while not over:
            breaths += 1
            await asyncio.sleep(0)

    async def agent(ctx: Context) -> AsyncIterator[AgentEvent]:
        for _ in range(1_000):
            if what == "tools":
                await ctx.tool("quick", _echoing)
            else:
                yield "x"

    breathing = asyncio.ensure_future(breathe())
    completed(await bench.run(agent))
    over = True
    await breathing
    assert breaths >= 1_000 // 40
