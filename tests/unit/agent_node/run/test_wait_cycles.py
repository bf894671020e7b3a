"""Agents that call sessions and tasks: a call that would wait for its caller is refused, and no other is."""

import asyncio
from collections.abc import AsyncIterator
from contextlib import ExitStack

import pytest
from hypothesis import given
from hypothesis import strategies as st

from agent_node.run.wait_cycles import WaitCycles
from agentring.agent import AgentEvent, Context
from agentring.errors import TaskCycle
from agentring.held import Holder, Ref, from_header, held, holding, to_header, waiting
from agentring.ids import DEFAULT_TENANT, parse_once, parse_session, parse_task
from harness.bench import Bench, completed
from harness.once import once_cluster

A, B, C = (parse_session("", name) for name in "abc")
KEY = parse_task("", "key")


def never() -> bool:
    return False


def refused(cycles: WaitCycles, ref: Ref, by: frozenset[Ref] | set[Ref]) -> bool:
    try:
        cycles.check(ref, by)
    except TaskCycle:
        return True
    return False


def test_what_a_turn_holds_is_its_session_and_what_its_callers_hold() -> None:
    cycles = WaitCycles()
    assert held() == set()
    with cycles.running(B) as holder, holding(holder):
        assert held() == {B}
        with cycles.waiting(B, {A, KEY}, never):
            assert held() == {A, B, KEY}
        assert held() == {B}
    assert held() == set()


def test_it_waits_for_nothing_of_what_it_holds() -> None:
    cycles = WaitCycles()
    with cycles.running(A) as of_a, holding(of_a):
        by_a = frozenset(held())
        assert refused(cycles, A, by_a)
        assert not refused(cycles, B, by_a)
        with cycles.waiting(B, by_a, never), cycles.running(B) as of_b, holding(of_b):
            assert refused(cycles, A, held())  # through B
            assert refused(cycles, B, held())
            assert not refused(cycles, C, held())


def test_a_waiter_for_a_turn_that_has_ended_is_held_up_no_longer() -> None:
    cycles, over = WaitCycles(), [False]
    with cycles.running(B) as holder, holding(holder), cycles.waiting(B, {A}, lambda: over[0]):
        assert held() == {A, B}
        over[0] = True
        assert held() == {B}
    assert holder.held() == set()


def test_of_two_that_wait_for_each_other_at_one_moment_neither_waits_unseen() -> None:
    """Both have said what they wait for before either call arrives."""
    cycles = WaitCycles()
    with ExitStack() as stack:
        for own, other in ((A, B), (B, A)):
            holder = stack.enter_context(cycles.running(own))
            with holding(holder):
                stack.enter_context(waiting(other))
            holder.is_over = False
        assert refused(cycles, A, {B})
        assert refused(cycles, B, {A})
        assert not refused(cycles, A, {C})


REFS = st.one_of(
    st.from_regex(r"[A-Za-z0-9_][A-Za-z0-9._~:@-]{1,20}", fullmatch=True).map(lambda name: parse_session("", name)),
    st.from_regex(r"[!-~]{1,20}", fullmatch=True).map(lambda name: parse_task("", name)),
    st.from_regex(r"[!-~]{1,20}", fullmatch=True).map(lambda name: parse_once("", name)),
)


@given(st.sets(REFS, max_size=5))
def test_what_is_held_travels_in_a_header(refs: set[Ref]) -> None:
    with ExitStack() as stack:
        for ref in refs:
            stack.enter_context(holding(Holder(ref)))
        header = to_header(DEFAULT_TENANT)
        assert header.isascii()
        assert from_header("", header) == refs
        assert to_header(parse_session("other", "s").tenant) == ""
    assert to_header(DEFAULT_TENANT) == ""


@given(st.text(max_size=40))
def test_a_header_that_says_nonsense_says_nothing(header: str) -> None:
    for ref in from_header("", header):
        assert ref.tenant == DEFAULT_TENANT


def test_a_header_is_bounded() -> None:
    with ExitStack() as stack:
        for number in range(1_000):
            stack.enter_context(holding(Holder(parse_session("", f"{number:0100}"))))
        assert 1_000 < len(to_header(DEFAULT_TENANT)) <= 2 << 10


async def test_what_an_agent_leaves_behind_holds_nothing() -> None:
    left: list[asyncio.Task[set[Ref]]] = []
    go = asyncio.Event()

    async def later() -> set[Ref]:
        before = held()
        await go.wait()
        return before | held() if held() else held()

    async def agent(_ctx: Context) -> AsyncIterator[AgentEvent]:
        assert held() == {parse_session("", "s")}
        left.append(asyncio.create_task(later()))
        yield ""
        await asyncio.sleep(0)

    completed(await Bench().run(agent))
    go.set()
    assert await left[0] == set()


async def test_a_turn_does_not_wait_for_a_step_that_waits_for_the_turn() -> None:
    async def step(**_: object) -> str:
        return "done"

    cycles = WaitCycles()
    async with once_cluster() as cluster:
        with cycles.running(B) as holder, holding(holder), cycles.waiting(B, {parse_once("", "key")}, never):
            with pytest.raises(TaskCycle):
                await cluster.n1.call("key", step)
            assert await cluster.n1.call("other", step) == "done"
