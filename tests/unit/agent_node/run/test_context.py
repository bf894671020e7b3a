"""What an agent learns of its turn, and that its state is its own."""

from collections.abc import AsyncIterator
from typing import Any

from agentring.agent import AgentEvent, Context, PastTurn
from agentring.ids import parse_session, parse_task
from harness.bench import EPOCH, Bench, completed


async def test_the_context_tells_what_the_turn_is_about(bench: Bench) -> None:
    seen: list[Any] = []

    async def agent(ctx: Context) -> AsyncIterator[AgentEvent]:
        seen.append((ctx.input_text, ctx.input_data, ctx.history, ctx.turn_number, ctx.attempt))
        seen.append((ctx.node_id, ctx.fencing_token, ctx.state))
        yield ""

    history = (PastTurn("a", "b"),)
    await bench.run(agent, text="words", data={"x": 1}, history=history, state_json='{"k": 1}')
    assert seen == [("words", {"x": 1}, history, 2, 1), ("n1", EPOCH, {"k": 1})]


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

    state_json = '{"list": [1]}'
    for _ in range(2):
        assert completed(await bench.run(agent, state_json=state_json)).state_json == '{"list": [1, 2]}'
    assert state_json == '{"list": [1]}'


async def test_only_keys_that_read_back_differently_have_changed(bench: Bench) -> None:
    async def agent(ctx: Context) -> AsyncIterator[AgentEvent]:
        ctx.state["same"] = (1, 2)
        ctx.state["new"] = 1
        ctx.state["changed"]["x"] = 1
        del ctx.state["deleted"]
        yield ""

    await bench.run(agent, state_json='{"same": [1, 2], "changed": {}, "deleted": 0}')
    (event,) = bench.events()
    assert list(event.state_changed.keys) == ["changed", "deleted", "new"]


async def test_a_tasks_state_is_nobodys(bench: Bench) -> None:
    async def agent(ctx: Context) -> AsyncIterator[AgentEvent]:
        ctx.state["x"] = 1
        yield "y"

    await bench.run(agent, ref=parse_task("", "k"), turn_id="")
    assert bench.kinds == ["text_delta"]
