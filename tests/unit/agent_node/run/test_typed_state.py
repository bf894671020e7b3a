"""The state of an agent that was declared with a class and a version: read, stored, migrated, refused."""

import json
from collections.abc import AsyncIterator, Callable
from dataclasses import dataclass, field
from typing import Any

import pytest
from pydantic import BaseModel

from agent_node.run.outcome import Failed
from agent_node.run.typed_state import VERSION_KEY
from agentring.agent import Agent, AgentEvent, Context, JsonObject, agent
from harness.bench import Bench, completed


@dataclass
class Line:
    sku: str
    count: int = 1


@dataclass
class Basket:
    lines: list[Line] = field(default_factory=list)
    note: Any = None


class Model(BaseModel):
    turns: int = 0


def basket(change: Callable[[Context[Any]], Any], **options: Any) -> Agent:
    async def changing(ctx: Context[Basket]) -> AsyncIterator[AgentEvent]:
        change(ctx)
        yield "done"

    return agent(**{"state": Basket, **options})(changing)


def add(ctx: Context[Basket]) -> None:
    ctx.state.lines.append(Line("milk"))


async def test_it_is_changed_in_place_and_read_again_in_the_next_turn(bench: Bench) -> None:
    first = completed(await bench.run(basket(add)))
    assert json.loads(first.state_json) == {"lines": [{"sku": "milk", "count": 1}], "note": None}
    second = completed(await bench.run(basket(add), state_json=first.state_json))
    assert len(json.loads(second.state_json)["lines"]) == 2
    changed = [list(event.state_changed.keys) for event in bench.events() if event.HasField("state_changed")]
    assert changed == [["lines", "note"], ["lines"]]


async def test_it_may_be_assigned_anew(bench: Bench) -> None:
    def replace(ctx: Context[Basket]) -> None:
        ctx.state = Basket([Line("tea", 2)])

    assert json.loads(completed(await bench.run(basket(replace))).state_json)["lines"] == [{"sku": "tea", "count": 2}]


async def test_a_pydantic_model_is_one(bench: Bench) -> None:
    def count(ctx: Context[Model]) -> None:
        ctx.state.turns += 1

    outcome = completed(await bench.run(basket(count, state=Model), state_json='{"turns": 3}'))
    assert json.loads(outcome.state_json) == {"turns": 4}


def spoil(name: str, value: Any) -> Callable[[Context[Any]], None]:
    def change(ctx: Context[Any]) -> None:
        setattr(ctx.state, name, value)

    return change


def unlike(ctx: Context[Any]) -> None:
    ctx.state = {"lines": []}


@pytest.mark.parametrize(
    ("spoiled", "detail"),
    [
        (basket(spoil("lines", [Line("a"), Line("b", "many")])), "state $.lines[1].count: not an int, but a str"),  # type: ignore[arg-type]
        (basket(spoil("lines", None)), "state $.lines: not a list, but null"),
        (basket(spoil("note", b"bytes")), "state $.note: bytes"),
        (basket(unlike), "state $: not a Basket, but of type dict"),
        (basket(spoil("turns", "x"), state=Model), "state $.turns: int_parsing"),
        (basket(lambda ctx: ctx.state.update({VERSION_KEY: 9}), state=None), "state $: the key $agentring.version"),
    ],
)
async def test_what_does_not_validate_fails_the_turn_with_the_place(bench: Bench, spoiled: Agent, detail: str) -> None:
    outcome = await bench.run(spoiled)
    assert isinstance(outcome, Failed)
    assert outcome.reason == "STATE_INVALID"
    assert outcome.detail.startswith(detail)


async def test_what_has_no_end_fails_the_turn(bench: Bench) -> None:
    def loop(ctx: Context[Basket]) -> None:
        ctx.state.note = ctx.state

    outcome = await bench.run(basket(loop))
    assert isinstance(outcome, Failed)
    assert (outcome.reason, outcome.detail) == ("STATE_INVALID", "state $: cannot be read (RecursionError)")


def migrate(state: JsonObject, version: int) -> JsonObject:
    return {"lines": [{"sku": f"{sku} of {version}"} for sku in state["items"]]}


async def test_a_lower_version_is_migrated_once(bench: Bench) -> None:
    migrating = basket(lambda ctx: None, version=3, migrate=migrate)
    first = completed(await bench.run(migrating, state_json='{"items": ["milk"]}'))
    assert json.loads(first.state_json) == {
        "lines": [{"sku": "milk of 1", "count": 1}],
        "note": None,
        VERSION_KEY: 3,
    }
    second = completed(await bench.run(migrating, state_json=first.state_json))
    assert second.state_json == first.state_json
    changed = [list(event.state_changed.keys) for event in bench.events() if event.HasField("state_changed")]
    assert changed == [["items", "lines", "note"]]


async def test_an_empty_state_is_not_migrated(bench: Bench) -> None:
    assert completed(await bench.run(basket(add, version=3, migrate=migrate))).state_json


async def test_versions_are_there_without_a_class_too(bench: Bench) -> None:
    seen: list[Any] = []
    plain = basket(
        lambda ctx: seen.append(dict(ctx.state)), state=None, version=2, migrate=lambda old, _: {**old, "b": 2}
    )
    outcome = completed(await bench.run(plain, state_json='{"a": 1}'))
    assert json.loads(outcome.state_json) == {"a": 1, "b": 2, VERSION_KEY: 2}
    assert seen == [{"a": 1, "b": 2}]


@pytest.mark.parametrize("known", [basket(add), basket(add, version=2), basket(add, state=None)])
async def test_a_state_of_newer_code_is_refused_and_says_what_to_do(bench: Bench, known: Agent) -> None:
    outcome = await bench.run(known, state_json=json.dumps({"future": 1, VERSION_KEY: 3}))
    assert isinstance(outcome, Failed)
    assert outcome.reason == "STATE_TOO_NEW"
    assert "version 3" in outcome.detail
    assert "replace the agent's code on all its nodes by the newer one" in outcome.detail
    assert "turn_completed" not in bench.kinds


async def test_an_old_state_that_nobody_migrates_is_refused_and_says_what_to_do(bench: Bench) -> None:
    outcome = await bench.run(basket(add, version=2), state_json='{"items": []}')
    assert isinstance(outcome, Failed)
    assert outcome.detail == (
        "state $.items: Basket has no such field; it was stored as version 1: "
        "give @agent a `version` and `migrate` that makes it fit"
    )


async def test_a_migration_that_raises_is_the_agents_own_error(bench: Bench) -> None:
    outcome = await bench.run(basket(add, version=2, migrate=migrate), state_json='{"other": []}')
    assert isinstance(outcome, Failed)
    assert outcome.reason == "AGENT_ERROR"


async def test_a_migration_that_returns_no_object_is_refused(bench: Bench) -> None:
    outcome = await bench.run(basket(add, version=2, migrate=lambda *_: ["no"]), state_json='{"other": []}')
    assert isinstance(outcome, Failed)
    assert outcome.detail == "state $: not an object, but a list; it was stored as version 1"
