"""The arguments of a step: its function gets them as they are, and what cannot be called so is refused at once."""

import asyncio
import inspect
import threading
from collections.abc import AsyncIterator, Awaitable, Callable, Mapping
from dataclasses import replace
from functools import partial, wraps
from types import MappingProxyType
from typing import Any

import pytest

from agent_node.events.log import EventLog
from agent_node.events.whole_log import all_events
from agent_node.once.arguments import with_arguments
from agent_node.run.agent_run import run_agent
from agent_node.run.outcome import Completed
from agent_node.run.run_input import TurnInput
from agentring.agent import AgentEvent, Context, Result
from agentring.ids import Epoch, SessionRef, TaskRef, parse_session, parse_task
from harness.once import OnceCluster, once_cluster
from harness.premises import environment
from harness.sessions import kind_of

EPOCH = Epoch(7)
RUN = {"idempotency_key": "k", "fencing_token": 9}
Function = Callable[..., Awaitable[Any]]
REFS: list[SessionRef | TaskRef] = [parse_session("", "s"), parse_task("", "k")]


async def everything_named(**arguments: Any) -> dict[str, Any]:
    return arguments


async def call(function: Function, args: Mapping[str, Any] | None) -> Any:
    return await with_arguments(function, args)(**RUN)


async def run_once(
    cluster: OnceCluster, ref: SessionRef | TaskRef, function: Function, args: Any, **more: Any
) -> tuple[Any, EventLog]:
    """What the step `key` returns or raises, asked for by the agent of a turn or a task; and the run's events."""
    ended: list[Any] = []

    async def agent(ctx: Context) -> AsyncIterator[AgentEvent]:
        try:
            ended.append(await ctx.once("key", function, args=args, **more))
        except Exception as error:
            ended.append(error)
        yield Result({})

    env = replace(environment(cluster.clock), once=cluster.n1.once)
    turn = TurnInput(ref, "t" if type(ref) is SessionRef else "", 1, "hi", {}, "{}", (), 1)
    log = EventLog(EPOCH, 1 << 20)
    assert isinstance(await run_agent(env, agent, turn, log, EPOCH), Completed)
    return ended[0], log


async def test_the_function_gets_them_and_what_every_run_is_given() -> None:
    assert await call(everything_named, {"amount": 7, "to": "Ada"}) == {"amount": 7, "to": "Ada", **RUN}


@pytest.mark.parametrize("args", [None, {}])
async def test_without_any_it_is_called_as_ever(args: Mapping[str, Any] | None) -> None:
    assert await call(everything_named, args) == RUN


async def test_any_mapping_will_do_and_any_name() -> None:
    args = MappingProxyType({"not an identifier": 1, "self": 2, "func": 2, "key": 3, "function": 4, "args": 5})
    assert await call(everything_named, args) == {**args, **RUN}


async def test_values_stay_the_very_objects_that_they_are() -> None:
    """They are no JSON and are neither copied nor pickled: a lock could not be."""
    lock, items = threading.Lock(), [1]
    received = await call(everything_named, {"lock": lock, "items": items, "none": None})
    assert received["lock"] is lock
    assert received["items"] is items
    assert received["none"] is None


async def test_a_change_of_the_mapping_afterwards_comes_too_late() -> None:
    args: dict[str, Any] = {"amount": 7}
    bound = with_arguments(everything_named, args)
    args["amount"] = 8
    args["to"] = "Eve"
    assert await bound(**RUN) == {"amount": 7, **RUN}


async def test_a_tool_is_a_step_with_the_tools_arguments() -> None:
    async def tool(name: str, function: Function, /, **arguments: Any) -> Any:
        return [name, await function(**arguments)]

    received = await call(partial(tool, "charge", everything_named), {"name": "Ada"})
    assert received == ["charge", {"name": "Ada", **RUN}]


@pytest.mark.parametrize(
    ("args", "error"),
    [
        ([], "args is a mapping of names to values, not list"),
        ([("amount", 7)], "args is a mapping of names to values, not list"),
        ("", "args is a mapping of names to values, not str"),
        (7, "args is a mapping of names to values, not int"),
        ({1: 7}, "args has names that are str, not int"),
        ({None: 7}, "args has names that are str, not NoneType"),
    ],
)
def test_what_is_no_mapping_of_names_is_a_type_error(args: Any, error: str) -> None:
    with pytest.raises(TypeError) as raised:
        with_arguments(everything_named, args)
    assert str(raised.value) == error


@pytest.mark.parametrize("name", ["idempotency_key", "fencing_token"])
def test_the_names_of_what_every_run_is_given_are_taken(name: str) -> None:
    with pytest.raises(ValueError) as raised:
        with_arguments(everything_named, {"amount": 7, name: "mine"})
    assert str(raised.value) == f"args must not have {name}: every run of the step is given its own"


async def positional_only(amount: int, /, **_: Any) -> None: ...


async def without_run(amount: int) -> None: ...


async def one_argument(amount: int, idempotency_key: str, fencing_token: int) -> None: ...


@pytest.mark.parametrize(
    ("function", "args", "why"),
    [
        (positional_only, {"amount": 7}, "positional"),
        (without_run, {"amount": 7}, "unexpected keyword argument 'idempotency_key'"),
        (one_argument, {"amout": 7}, "amou"),
        (one_argument, {"amount": 7, "to": "Ada"}, "unexpected keyword argument 'to'"),
        (one_argument, {}, "missing a required argument: 'amount'"),
        ("no function", {"amount": 7}, "callable"),
    ],
)
def test_a_function_that_does_not_take_them_is_a_type_error(function: Any, args: Any, why: str) -> None:
    with pytest.raises(TypeError, match=why):
        with_arguments(function, args)


async def test_a_decorator_may_add_arguments() -> None:
    async def charge(bank: str, amount: int, **run: Any) -> list[Any]:
        return [bank, amount, run]

    @wraps(charge)
    async def at_the_bank(**sent: Any) -> Any:
        return await charge("bank", **sent)

    assert await call(at_the_bank, {"amount": 7}) == ["bank", 7, RUN]


async def test_an_object_with_a_call_will_do_and_a_method() -> None:
    class Bank:
        async def __call__(self, amount: int, **run: Any) -> int:
            return amount

        async def charge(self, amount: int, **run: Any) -> int:
            return amount

    assert await call(Bank(), {"amount": 7}) == await call(Bank().charge, {"amount": 7}) == 7
    with pytest.raises(TypeError):
        with_arguments(Bank(), {"amout": 7})


async def test_a_callable_that_says_nothing_of_its_signature_is_tried() -> None:
    with pytest.raises(ValueError):
        inspect.signature(dict)
    silent: Any = dict
    bound: Any = with_arguments(silent, {"amount": 7})
    assert bound(**RUN) == {"amount": 7, **RUN}


@pytest.mark.parametrize("ref", REFS, ids=["turn", "task"])
async def test_turns_and_tasks_pass_them(ref: SessionRef | TaskRef) -> None:
    lock = threading.Lock()
    seen: list[Any] = []

    async def charge(amount: int, lock: Any, idempotency_key: str, fencing_token: int) -> dict[str, Any]:
        seen.append(lock)
        return {"amount": amount, "key": idempotency_key, "token": fencing_token}

    async with once_cluster() as cluster:
        result, log = await run_once(cluster, ref, charge, {"amount": 7, "lock": lock})
        stored = await cluster.stored("key")
        assert seen == [lock]
        assert (result["amount"], bool(result["key"]), result["token"] > 0) == (7, True, True)
        assert "7" in stored.ending.result_json
        assert [kind_of(event) for event in all_events(log)] == []  # no event has the arguments


@pytest.mark.parametrize("ref", REFS, ids=["turn", "task"])
@pytest.mark.parametrize(
    ("args", "error"),
    [([1], TypeError), ({1: 1}, TypeError), ({"fencing_token": 1}, ValueError), ({"amout": 7}, TypeError)],
)
async def test_what_is_refused_claims_no_key_and_leaves_no_failure(
    ref: SessionRef | TaskRef, args: Any, error: type[Exception]
) -> None:
    async with once_cluster() as cluster:
        before = cluster.etcd.revision
        raised, _ = await run_once(cluster, ref, one_argument, args, idempotent=False)
        assert type(raised) is error
        assert (cluster.etcd.revision, cluster.n1.events) == (before, [])
        assert (await run_once(cluster, ref, one_argument, {"amount": 7}, idempotent=False))[0] is None
        assert cluster.n1.events == ["once_started", "once_committed"]


async def test_a_waiter_for_anothers_run_gets_that_runs_result_whatever_its_own_arguments_are() -> None:
    """The key says what the step is: two who ask under one key with different arguments ask for one step."""
    go = asyncio.Event()

    async def charge(amount: int, **_: Any) -> int:
        await go.wait()
        return amount

    async with once_cluster() as cluster:
        first = asyncio.create_task(run_once(cluster, REFS[0], charge, {"amount": 7}))
        await asyncio.sleep(0.01)
        second = asyncio.create_task(run_once(cluster, REFS[1], charge, {"amount": 8}))
        await asyncio.sleep(0.01)
        go.set()
        assert [(await first)[0], (await second)[0]] == [7, 7]
        assert cluster.n1.events == ["once_started", "once_committed"]
