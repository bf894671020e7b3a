"""What an agent says beside its text: its own events and its log."""

import asyncio
from collections.abc import AsyncIterator
from typing import Any

import pytest
from structlog.testing import capture_logs

from agent_node.run import agent_log
from agent_node.run.agent_log import AgentLog
from agent_node.run.outcome import Failed
from agent_node.run.run_output import MOST_EVENT_BYTES, MOST_NAME
from agentring.agent import Agent, AgentEvent, Context
from agentring.errors import NodeFenced
from harness.bench import Bench, completed, failed
from harness.premises import TTL_S


async def test_events_come_in_order_with_the_text(bench: Bench) -> None:
    async def agent(ctx: Context) -> AsyncIterator[AgentEvent]:
        yield "one "
        ctx.emit("progress", {"done": 1, "of": [2, None]})
        yield "two"
        ctx.emit("done")

    completed(await bench.run(agent))
    assert bench.kinds == ["text_delta", "custom_event", "text_delta", "custom_event"]
    first, last = (event.custom_event for event in bench.events() if event.HasField("custom_event"))
    assert (first.name, dict(first.data.struct_value)["done"]) == ("progress", 1)
    assert (last.name, last.data.HasField("null_value")) == ("done", True)


def emitting(name: Any, data: Any) -> Agent:
    async def agent(ctx: Context) -> AsyncIterator[AgentEvent]:
        ctx.emit(name, data)
        yield ""

    return agent


@pytest.mark.parametrize(
    ("data", "where"),
    [
        ({"price": [{1}]}, "event card $.price[0]: set"),
        (float("nan"), "event card $: nan"),
        (2**60, "event card $: "),
        ("x" * MOST_EVENT_BYTES, "event card $: "),
    ],
)
async def test_data_that_cannot_be_sent_fails_the_turn_with_the_place(bench: Bench, data: Any, where: str) -> None:
    outcome = await bench.run(emitting("card", data))
    assert isinstance(outcome, Failed)
    assert outcome.reason == "EVENT_INVALID"
    assert outcome.detail.startswith(where)
    assert bench.kinds == []


@pytest.mark.parametrize("name", ["", "x" * (MOST_NAME + 1), "a\nb", "\x1b[2J", "\ud800", 7, None])
async def test_a_name_that_is_none_is_the_agents_error(bench: Bench, name: Any) -> None:
    assert failed(await bench.run(emitting(name, None))) == "AGENT_ERROR"
    assert bench.kinds == []


async def test_the_longest_name_and_the_most_data_are_sent(bench: Bench) -> None:
    completed(await bench.run(emitting("é" * MOST_NAME, "x" * (MOST_EVENT_BYTES - 8))))
    assert bench.kinds == ["custom_event"]


async def test_nothing_is_sent_once_the_lease_may_be_over_or_the_run_is(bench: Bench) -> None:
    kept: list[Context] = []

    async def agent(ctx: Context) -> AsyncIterator[AgentEvent]:
        kept.append(ctx)
        bench.clock.advance(TTL_S)
        with pytest.raises(NodeFenced):
            ctx.emit("late")
        yield ""

    with pytest.raises(NodeFenced):
        await bench.run(agent)
    with pytest.raises((NodeFenced, RuntimeError)):
        kept[0].emit("later")
    assert bench.kinds == []


async def test_lines_of_the_log_have_the_runs_fields(bench: Bench) -> None:
    async def agent(ctx: Context) -> AsyncIterator[AgentEvent]:
        ctx.log.info("looked_up", city="Oslo", session="mine", event="other")
        await asyncio.to_thread(ctx.log.warning, "in a thread", of=[1])
        try:
            raise LookupError("no such city")
        except LookupError:
            ctx.log.exception("failed")
        yield ""

    with capture_logs() as found:
        completed(await bench.run(agent, name="shop"))
    assert [line["event"] for line in found] == ["looked_up", "in a thread", "failed"]
    assert all((line["session"], line["agent"], line["turn"]) == ("s", "shop", "t") for line in found)
    assert (found[0]["city"], found[0]["session_"], found[0]["event_"]) == ("Oslo", "mine", "other")
    assert [line["log_level"] for line in found] == ["info", "warning", "error"]
    assert found[2]["exc_info"] is True


def test_a_line_that_cannot_be_written_fails_nobody(monkeypatch: pytest.MonkeyPatch) -> None:
    class Full:
        def log(self, *_: Any, **__: Any) -> None:
            raise OSError("no room")

    monkeypatch.setattr(agent_log, "_log", Full())
    AgentLog({}).error("lost", city="Oslo")
