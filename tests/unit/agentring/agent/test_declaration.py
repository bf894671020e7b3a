"""`@agent`: what it takes, what it refuses, and that what it makes is called as the function is."""

from collections.abc import AsyncIterator, Callable
from contextlib import asynccontextmanager
from dataclasses import dataclass, field
from functools import partial
from typing import Any

import pytest
from pydantic import BaseModel, SecretStr

from agentring.agent import AgentEvent, Context, JsonObject, agent
from agentring.agent.declaration import DeclaredAgent, options_of
from harness.agent_context import FakeContext


@dataclass
class Count:
    turns: int = 0
    seen: list[str] = field(default_factory=list)


class Model(BaseModel):
    turns: int = 0


@agent
async def bare(ctx: Context) -> AsyncIterator[AgentEvent]:
    """Says it."""
    yield ctx.input_text


@agent(name="count-er", state=Count, version=2, migrate=lambda state, version: state)
async def counter(ctx: Context[Count]) -> AsyncIterator[AgentEvent]:
    ctx.state.turns += 1
    yield str(ctx.state.turns)


async def test_it_is_called_as_its_function_is() -> None:
    assert [event async for event in bare(FakeContext("hello"))] == ["hello"]
    assert [event async for event in counter(FakeContext(state=Count(4)))] == ["5"]


def test_it_keeps_the_functions_name_and_its_options() -> None:
    assert (bare.__name__, bare.__doc__, bare.__module__) == ("bare", "Says it.", __name__)  # type: ignore[attr-defined]
    assert isinstance(bare, DeclaredAgent)
    options = options_of(counter)
    assert (options.name, options.state, options.version) == ("count-er", Count, 2)


def test_what_was_not_declared_has_the_defaults() -> None:
    assert options_of(lambda ctx: bare(ctx)) == options_of(bare)


def test_a_pydantic_model_may_be_the_state() -> None:
    assert options_of(agent(state=Model)(_stream)).state is Model


async def _stream(ctx: Context[Any]) -> AsyncIterator[AgentEvent]:
    yield "once"


def _sync(ctx: Context) -> str:
    return ctx.input_text


def _generator(ctx: Context) -> Any:
    yield ctx.input_text


async def _coroutine(ctx: Context) -> None:
    pass


async def _of_none() -> AsyncIterator[AgentEvent]:
    yield "x"


async def _of_two(ctx: Context, other: int) -> AsyncIterator[AgentEvent]:
    yield "x"


async def _by_name(*, ctx: Context) -> AsyncIterator[AgentEvent]:
    yield "x"


@pytest.mark.parametrize("function", [_sync, _generator, _coroutine, _of_none, _of_two, _by_name, 7, len])
def test_what_is_no_agent_is_refused_in_one_line(function: Any) -> None:
    for declare in (agent, agent(), agent(name="x")):
        with pytest.raises(TypeError, match="is no agent: ") as refused:
            declare(function)
        assert "\n" not in str(refused.value)


class Hiding(BaseModel):
    inner: list[SecretStr] = []


async def _migrate(state: JsonObject, version: int) -> JsonObject:
    return state


def test_a_state_that_would_be_lost_is_refused() -> None:
    with pytest.raises(TypeError, match="_stream: the state has a secret, which cannot be stored"):
        agent(state=Hiding)(_stream)
    with pytest.raises(TypeError, match="_stream: migrate must not be async"):
        agent(state=Count, migrate=_migrate)(_stream)  # type: ignore[arg-type]


@dataclass
class Required:
    turns: int


class RequiredModel(BaseModel):
    turns: int


@pytest.mark.parametrize(
    ("declare", "words"),
    [
        (partial(agent, state=Required), "field turns needs a default"),
        (partial(agent, state=RequiredModel), "field turns needs a default"),
        (partial(agent, state=dict), "state must be a dataclass or a pydantic model"),
        (partial(agent, state=Count()), "state must be a dataclass or a pydantic model"),
    ],
)
def test_a_state_that_a_new_session_could_not_have_is_refused(declare: Callable[[], Any], words: str) -> None:
    with pytest.raises(TypeError, match=f"_stream: .*{words}"):
        declare()(_stream)


@asynccontextmanager
async def _span(settings: Count) -> AsyncIterator[int]:
    yield settings.turns


async def _bare_span(settings: Count) -> AsyncIterator[int]:
    yield settings.turns


def test_settings_and_lifespan_are_kept_or_refused() -> None:
    options = options_of(agent(settings=Required, lifespan=_span)(_stream))
    assert (options.settings, options.lifespan) == (Required, _span)
    with pytest.raises(TypeError, match="_stream: settings must be a dataclass or a pydantic model"):
        agent(settings=dict)(_stream)
    unlike: tuple[Any, ...] = (_bare_span, 7)
    for lifespan in unlike:
        with pytest.raises(TypeError, match="_stream: lifespan must be a function with @asynccontextmanager above it"):
            agent(lifespan=lifespan)(_stream)


@pytest.mark.parametrize("version", [0, -1, True, "2", 1.5])
def test_a_version_is_a_number_from_1_on(version: Any) -> None:
    with pytest.raises(ValueError, match="_stream: version must be an int from 1 on"):
        agent(version=version)(_stream)


@pytest.mark.parametrize("timeout_s", [0, -1.0, float("nan"), float("inf"), True, "5"])
def test_a_time_out_that_is_none_is_refused(timeout_s: Any) -> None:
    with pytest.raises(ValueError, match="_stream: timeout_s must be a number of seconds above 0"):
        agent(timeout_s=timeout_s)(_stream)
    assert options_of(agent(timeout_s=0.5)(_stream)).timeout_s == 0.5
