"""Counts and rates of tenants, and the slots that are given by them."""

import asyncio

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from agent_node.quota.limits import parse_limits
from agent_node.quota.quota import Held, Hold, Quota
from agent_node.quota.refusals import Refusals
from agent_node.quota.share import WHOLE, Share
from agent_node.run.slots import RunSlot, RunSlots
from agentring.errors import QuotaExceeded
from agentring.ids import TenantId

A, B = TenantId("a"), TenantId("b")


def quota_of(toml: str, *, nodes: int = 1, now_s: list[float] | None = None) -> Quota:
    table, times = parse_limits(toml.encode()), now_s if now_s is not None else [0.0]
    return Quota(lambda: table, lambda: Share(0, 1, nodes), lambda: times[0], Refusals())


@settings(max_examples=60, deadline=None)
@given(st.lists(st.tuples(st.sampled_from(["begin", "end", "again"]), st.sampled_from("ab"), st.integers(0, 9))))
def test_nothing_leaks_and_nothing_is_counted_twice(steps: list[tuple[str, str, int]]) -> None:
    quota = quota_of("[tenant]\nsessions = 3\n[subject]\nsessions = 2")
    held: list[tuple[str, str, Hold]] = []
    released: list[Hold] = []
    for step, tenant, number in steps:
        subject = f"s{number % 2}"
        if step == "begin":
            of_tenant = [each for each in held if each[0] == tenant]
            fits = len(of_tenant) < 3 and sum(each[1] == subject for each in of_tenant) < 2
            try:
                held.append((tenant, subject, quota.hold(Held.SESSIONS, TenantId(tenant), subject)))
                assert fits
            except QuotaExceeded:
                assert not fits
        elif step == "end" and held:
            released.append(held.pop(number % len(held))[2])
            released[-1].release()
        elif step == "again" and released:
            released[number % len(released)].release()
        for each in "ab":
            assert quota.held(Held.SESSIONS, each) == sum(one[0] == each for one in held)
    for _, _, hold in held:
        hold.release()
    assert not any(quota.totals().values())


@given(st.integers(0, 500), st.lists(st.integers(1, 100), min_size=1, max_size=20))
def test_the_nodes_parts_add_up_to_the_limit_by_weight(limit: int, weights: list[int]) -> None:
    shares = [Share(sum(weights[:index]), weight, sum(weights)) for index, weight in enumerate(weights)]
    parts = [share.of_count(limit) for share in shares]
    for part, weight in zip(parts, weights, strict=True):
        assert abs(part - limit * weight / sum(weights)) < 1 or part == 1
    if limit == 0 or all(limit * weight >= sum(weights) for weight in weights):
        assert sum(parts) == limit
    else:
        assert limit <= sum(parts) < limit + len(weights)
    assert sum(share.of_rate(limit) for share in shares) == pytest.approx(limit)


def test_a_rate_lets_through_a_seconds_worth_and_says_when_more_may_come() -> None:
    now_s = [100.0]
    quota = quota_of("[tenants.a]\nturns_per_s = 4", nodes=2, now_s=now_s)
    for _ in range(2):
        quota.accept_turn(A, "", 10, 9)
    with pytest.raises(QuotaExceeded) as refused:
        quota.accept_turn(A, "", 10, 9)
    assert (refused.value.what, refused.value.limit, refused.value.scope) == ("turns_per_s", "4", "tenant")
    assert refused.value.wait_s == pytest.approx(0.5, abs=0.01)
    quota.accept_turn(B, "", 10, 9)
    now_s[0] += 0.5
    quota.accept_turn(A, "", 10, 9)
    assert quota.held(Held.OPEN_TURNS, A) == 3


async def test_a_tenant_at_its_limit_waits_while_others_run() -> None:
    quota = quota_of("[tenants.a]\nrunning_turns = 2")
    slots = RunSlots(4, 100, quota)
    first = [RunSlot(slots, A) for _ in range(2)]
    for each in first:
        await each.acquire()
    third = RunSlot(slots, A)
    waiting = asyncio.create_task(third.acquire())
    await asyncio.sleep(0)
    other = RunSlot(slots, B)
    await other.acquire()
    assert (slots.free, slots.waiting, quota.held(Held.RUNNING_TURNS, A)) == (1, 1, 2)
    first[0].release()
    await waiting
    assert quota.held(Held.RUNNING_TURNS, A) == 2
    late = asyncio.create_task(RunSlot(slots, A).acquire())
    await asyncio.sleep(0)
    late.cancel()
    await asyncio.wait([late])
    for each in (first[1], third, other):
        each.release()
    assert (slots.free, slots.waiting) == (4, 0)
    assert not any(quota.totals().values())


@pytest.mark.parametrize(
    ("toml", "said"),
    [
        ("[tenant]\nsesions = 3", "tenant.sesions"),
        ("[tenant]\nsessions = -1", "tenant.sessions"),
        ("[tenant]\nsessions = true", "tenant.sessions"),
        ("[tenants.'a b']\nsessions = 1", "no name of a tenant"),
        ("[tenant", "no TOML"),
    ],
)
def test_what_is_no_limit_is_refused_and_named(toml: str, said: str) -> None:
    with pytest.raises(ValueError, match=said):
        parse_limits(toml.encode())


async def test_a_slot_is_found_at_once_beside_a_thousand_subjects_of_a_tenant_at_its_limit() -> None:
    asked: list[str] = []

    class Counted(Quota):
        def may_run(self, tenant: TenantId, subject: str) -> bool:
            asked.append(subject)
            return super().may_run(tenant, subject)

    table = parse_limits(b"[tenants.a]\nrunning_turns = 1")
    slots = RunSlots(2, 10_000, Counted(lambda: table, lambda: WHOLE, lambda: 0.0, Refusals()))
    running = [RunSlot(slots, A, "s"), RunSlot(slots, B, "s")]
    for each in running:
        await each.acquire()
    waiting = [asyncio.create_task(RunSlot(slots, A, f"s{number}").acquire()) for number in range(1_000)]
    last = asyncio.create_task(RunSlot(slots, B, "t").acquire())
    await asyncio.sleep(0)
    asked.clear()
    running[1].release()
    await last
    assert len(asked) < 10
    for call in waiting:
        call.cancel()
    await asyncio.wait(waiting)
