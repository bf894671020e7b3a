"""What is halted on a node, whichever of its sources say so, in any order."""

import asyncio
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from agent_node.halt.halts import Halts
from agentring.cluster.halts import Halt
from agentring.errors import Halted
from agentring.ids import parse_session, parse_task
from harness.halts import EVERYTHING, agent, everywhere, halted, session, tenant

REF, TASK = parse_session("", "s"), parse_task("", "k")


def test_nothing_is_halted_at_first_and_after_each_resume() -> None:
    halts = Halts()
    assert halts.current is None
    halts.check(REF, "a")
    for _ in range(2):
        halts.say(halted(session()))
        assert halts.find(REF, "a") is not None
        with pytest.raises(Halted):
            halts.check(REF, "a")
        for _ in range(2):  # resumed twice
            halts.unsay(session())
            assert halts.current is None


@pytest.mark.parametrize("scope", [EVERYTHING, everywhere("a"), tenant(), agent("a"), session()])
def test_a_scope_halts_what_is_in_it_and_nothing_else(scope: Any) -> None:
    halts = Halts()
    halts.say(halted(scope))
    assert halts.find(REF, "a") is not None
    assert (halts.find(TASK, "a") is not None) == (scope != session())
    other = parse_session("other", "s")
    assert (halts.find(other, "a") is not None) == (scope in (EVERYTHING, everywhere("a")))
    assert (halts.find(REF, "b") is not None) == (scope in (EVERYTHING, tenant(), session()))


def test_of_overlapping_halts_each_stands_until_it_is_resumed_and_what_cancels_counts_first() -> None:
    halts = Halts()
    held, ended = halted(tenant(), hold=True), halted(session())
    halts.say(held)
    halts.say(ended)
    assert halts.find(REF, "a") == ended
    halts.unsay(session())
    assert halts.find(REF, "a") == held
    halts.unsay(tenant())
    assert halts.find(REF, "a") is None


def test_what_a_router_says_stands_until_etcd_or_the_store_shows_it_and_goes_with_them() -> None:
    halts, halt = Halts(), halted(session())
    halts.say(halt)
    halts.see_etcd([])  # a look from before
    assert halts.all == [halt]
    halts.see_etcd([halt])
    halts.see_etcd([])  # resumed
    assert halts.current is None
    halts.say(halt)
    halts.see_store([halt])
    halts.unsay(session())
    assert halts.all == [halt]  # the store still says so
    halts.see_store([])
    assert halts.current is None


SAYINGS = st.lists(
    st.tuples(
        st.sampled_from(["etcd", "store", "say", "unsay"]),
        st.lists(st.tuples(st.sampled_from([EVERYTHING, tenant(), session()]), st.booleans()), max_size=3),
    ),
    max_size=8,
)


@given(SAYINGS)
def test_what_any_source_says_is_halted_and_what_none_says_is_not(sayings: Any) -> None:
    halts = Halts()
    of: dict[str, list[Halt]] = {"etcd": [], "store": []}
    said: dict[Any, Halt] = {}
    for what, scopes in sayings:
        made = [halted(scope, hold=hold) for scope, hold in scopes]
        if what in of:
            of[what] = made
            (halts.see_etcd if what == "etcd" else halts.see_store)(made)
        for halt in made:
            if what == "say":
                said[halt.scope] = halt
                halts.say(halt)
            elif what == "unsay":
                said.pop(halt.scope, None)
                halts.unsay(halt.scope)
    found = [*of["etcd"], *of["store"], *said.values()]
    assert {halt.scope for halt in halts.all} == {halt.scope for halt in found}
    assert (halts.current is None) == (not found)
    for halt in halts.all:
        assert halt.hold == all(each.hold for each in found if each.scope == halt.scope)


async def test_who_waits_goes_on_when_the_last_halt_is_resumed_and_is_refused_once_it_is_to_end() -> None:
    halts, waits = Halts(), []
    stopping = False
    halts.say(halted(tenant(), hold=True))
    halts.say(halted(session(), hold=True))
    waiting = asyncio.ensure_future(halts.pass_by(REF, "a", lambda: stopping, lambda: waits.append(1)))
    await asyncio.sleep(0)
    halts.unsay(tenant())
    await asyncio.sleep(0)
    assert not waiting.done()
    assert waits
    halts.unsay(session())
    await waiting
    stopping = True
    await halts.pass_by(REF, "a", lambda: stopping, lambda: None)  # nothing is halted
    halts.say(halted(session()))
    with pytest.raises(Halted):
        await halts.pass_by(REF, "a", lambda: stopping, lambda: None)
