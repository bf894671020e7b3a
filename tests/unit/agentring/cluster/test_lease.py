"""The fence, to the instant: when F comes, what brings it, and that nothing passes from then on."""

import asyncio

import pytest
from hypothesis import given
from hypothesis import strategies as st

from agentring.cluster.etcd.errors import EtcdError
from agentring.cluster.lease import FenceReason
from agentring.errors import NodeFenced
from harness.clock import PATIENCE_S, FakeClock
from harness.leases import (
    INTERVAL_S,
    LEASE_ID,
    MARGIN_S,
    TTL_S,
    Renewal,
    ScriptedEtcd,
    granted,
    is_fenced,
    kept_lease,
)


@pytest.mark.parametrize(("ttl_s", "until_f_s"), [(2, 1.0), (3, 2.0), (5, 4.0), (10, 8.0), (30, 24.0), (600, 480.0)])
async def test_f_is_the_ttl_less_a_fifth_of_it_and_at_least_a_second(ttl_s: int, until_f_s: float) -> None:
    clock = FakeClock()
    lease = await granted(clock, ScriptedEtcd(clock, ttl_s), ttl_s)
    assert lease.fence_in_s == until_f_s
    clock.advance(until_f_s - 0.25)
    assert lease.fence_in_s == 0.25
    assert not is_fenced(lease)
    clock.advance(0.25)
    assert is_fenced(lease)


async def test_f_counts_from_when_the_grant_was_sent_by_the_ttl_that_etcd_granted() -> None:
    clock = FakeClock()
    etcd = ScriptedEtcd(clock, ttl_s=TTL_S)
    etcd.grant_takes_s = 4.0
    lease = await granted(clock, etcd, ttl_s=5)
    assert lease.lease_id == LEASE_ID
    assert lease.fence_in_s == TTL_S - MARGIN_S - 4.0


async def test_a_grant_that_is_answered_after_f_is_fenced() -> None:
    clock = FakeClock()
    etcd = ScriptedEtcd(clock)
    etcd.grant_takes_s = TTL_S - MARGIN_S
    assert is_fenced(await granted(clock, etcd))


async def test_check_fences_from_f_on_even_if_nothing_ever_renewed() -> None:
    """The process was frozen: its first step afterwards is a check, before any task of the lease has run."""
    clock = FakeClock()
    lease = await granted(clock, ScriptedEtcd(clock))
    waiting = asyncio.ensure_future(lease.fenced())
    clock.advance(10 * TTL_S)
    with pytest.raises(NodeFenced):
        lease.check()
    assert lease.reason is FenceReason.NOT_RENEWED
    async with asyncio.timeout(PATIENCE_S):
        assert await waiting is FenceReason.NOT_RENEWED
    with pytest.raises(NodeFenced):
        lease.check()


async def test_a_thawed_process_renews_no_more() -> None:
    async with kept_lease() as run:
        await run.clock.next_due_s()
        run.at(10 * TTL_S)
        assert await run.ended() is FenceReason.NOT_RENEWED
        assert run.etcd.idle


async def test_the_first_reason_stays() -> None:
    async with kept_lease() as run:
        run.lease.fence(FenceReason.KEY_GONE)
        run.lease.fence(FenceReason.LEASE_GONE)
        await run.lease.revoke()
        run.at(10 * TTL_S)
        assert is_fenced(run.lease)
        assert run.lease.reason is FenceReason.KEY_GONE
        assert await run.ended() is FenceReason.KEY_GONE


async def test_fenced_wakes_all_who_wait_and_later_ones_at_once() -> None:
    clock = FakeClock()
    lease = await granted(clock, ScriptedEtcd(clock))
    waiting = [asyncio.ensure_future(lease.fenced()) for _ in range(3)]
    done, _ = await asyncio.wait(waiting, timeout=0)
    assert not done
    lease.fence(FenceReason.KEY_GONE)
    async with asyncio.timeout(PATIENCE_S):
        assert [await each for each in [*waiting, lease.fenced()]] == [FenceReason.KEY_GONE] * 4


async def test_an_answer_does_not_lift_a_fence() -> None:
    async with kept_lease() as run:
        renewal = await run.renewal_at(INTERVAL_S)
        run.lease.fence(FenceReason.KEY_GONE)
        renewal.granted()
        assert await run.ended() is FenceReason.KEY_GONE
        assert is_fenced(run.lease)
        assert run.lease.fence_in_s == 0.0


async def test_a_fenced_lease_is_not_renewed() -> None:
    async with kept_lease() as run:
        due_s = await run.clock.next_due_s()
        run.lease.fence(FenceReason.KEY_GONE)
        run.clock.advance_to(due_s)
        assert await run.ended() is FenceReason.KEY_GONE
        assert run.etcd.idle


async def test_without_keep_f_comes() -> None:
    async with kept_lease() as run:
        await run.clock.next_due_s()
        run.keeping.cancel()
        await asyncio.wait([run.keeping])
        assert not is_fenced(run.lease)
        run.at(TTL_S - MARGIN_S)
        assert is_fenced(run.lease)


async def test_revoke_fences_and_tells_etcd() -> None:
    async with kept_lease() as run:
        await run.lease.revoke(timeout_s=1.5)
        assert run.etcd.revoked == [(LEASE_ID, 1.5)]
        assert run.lease.reason is FenceReason.REVOKED
        assert is_fenced(run.lease)


async def test_a_revocation_that_fails_has_fenced_all_the_same() -> None:
    async with kept_lease() as run:
        run.etcd.revocation_fails = True
        with pytest.raises(EtcdError):
            await run.lease.revoke()
        assert run.lease.reason is FenceReason.REVOKED


ANSWERS = {"whole": TTL_S, "half": TTL_S // 2}


eighths_s = st.integers(0, 16 * TTL_S).map(lambda n: n / 8)  # so that sums are exact


@given(st.lists(st.tuples(st.sampled_from([*ANSWERS, "failure", "silence", "late"]), eighths_s), max_size=12))
def test_whatever_etcd_answers_and_whenever_nothing_passes_from_f_on(steps: list[tuple[str, float]]) -> None:
    """F by the promise alone: the send time of the newest renewal that was answered before F, and what etcd granted."""

    async def play() -> None:
        async with kept_lease() as run:
            f_s = run.began_s + TTL_S - MARGIN_S
            acknowledged_s = run.began_s
            silent: list[Renewal] = []
            for what, delay_s in steps:
                while isinstance(event := await run.next_event(), float):
                    assert run.lease.fence_in_s == f_s - run.clock.now_s()
                    run.clock.advance_to(event)
                if isinstance(event, FenceReason):
                    break
                answered = event
                if what == "late" and silent:
                    silent.append(event)
                    answered = silent.pop(0)
                if what in ANSWERS or answered is not event:
                    ttl_s = ANSWERS.get(what, TTL_S)
                    answered.granted(ttl_s)
                    run.clock.advance(delay_s)
                    if run.clock.now_s() < f_s and answered.sent_at_s > acknowledged_s:
                        acknowledged_s, f_s = answered.sent_at_s, answered.sent_at_s + ttl_s - MARGIN_S
                elif what == "failure":
                    event.failed()
                    run.clock.advance(delay_s)
                else:
                    silent.append(event)
                    event.silence(until_s=f_s)
                await run.settled()
                if run.clock.now_s() >= f_s:
                    assert await run.ended() is FenceReason.NOT_RENEWED
                    break
            await run.next_event()
            assert is_fenced(run.lease) == (run.clock.now_s() >= f_s)
            run.clock.advance_to(max(f_s, run.clock.now_s()))
            assert is_fenced(run.lease)

    asyncio.run(play())
