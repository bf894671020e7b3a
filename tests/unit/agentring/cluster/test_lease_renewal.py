"""When a lease is renewed, and what an answer or its absence does to F."""

import asyncio

from agentring.cluster.lease import FenceReason
from harness.leases import (
    ANOTHER_S,
    INTERVAL_S,
    MARGIN_S,
    RETRY_S,
    TTL_S,
    is_fenced,
    kept_lease,
)


async def test_it_renews_every_quarter_of_the_ttl_and_takes_answers_until_f() -> None:
    async with kept_lease() as run:
        f_s = TTL_S - MARGIN_S
        for n in range(1, 9):
            renewal = await run.renewal_at(n * INTERVAL_S)
            assert renewal.timeout_s == f_s - n * INTERVAL_S
            renewal.granted()
            f_s = n * INTERVAL_S + TTL_S - MARGIN_S
        assert not is_fenced(run.lease)


async def test_an_answer_moves_f_by_when_the_renewal_was_sent() -> None:
    async with kept_lease() as run:
        renewal = await run.renewal_at(INTERVAL_S)
        run.at(INTERVAL_S + 3.0)
        renewal.granted()
        await run.settled()
        assert run.lease.fence_in_s == TTL_S - MARGIN_S - 3.0


async def test_an_answer_with_a_shorter_ttl_brings_f_forward() -> None:
    async with kept_lease() as run:
        (await run.renewal_at(INTERVAL_S)).granted(20)
        await run.settled()
        assert run.lease.fence_in_s == 20 - MARGIN_S


async def test_an_answer_with_a_longer_ttl_does_not_put_f_off() -> None:
    async with kept_lease() as run:
        (await run.renewal_at(INTERVAL_S)).granted(10 * TTL_S)
        await run.settled()
        assert run.lease.fence_in_s == TTL_S - MARGIN_S


async def test_a_refused_renewal_moves_nothing_and_the_next_is_soon() -> None:
    """Not a whole interval later; and never more than so many in a TTL, however fast they are refused."""
    async with kept_lease() as run:
        for n in range(4):
            (await run.renewal_at(INTERVAL_S + n * RETRY_S)).failed()
        last_s = INTERVAL_S + 4 * RETRY_S
        renewal = await run.renewal_at(last_s)
        assert run.lease.failing
        assert run.lease.renewals_failed == 4
        assert run.lease.fence_in_s == TTL_S - MARGIN_S - last_s
        renewal.granted()
        await run.settled()
        assert await run.clock.next_due_s() == run.began_s + last_s + INTERVAL_S
        assert run.lease.fence_in_s == TTL_S - MARGIN_S
        assert not run.lease.failing


async def test_a_renewal_that_is_not_answered_is_followed_by_another_one() -> None:
    async with kept_lease() as run:
        (await run.renewal_at(INTERVAL_S)).silence()
        another = await run.etcd.next_renewal()
        assert another.sent_at_s == run.began_s + INTERVAL_S + ANOTHER_S
        assert run.lease.failing
        assert run.lease.renewals_failed == 1


async def test_an_answer_that_comes_when_another_one_was_sent_counts() -> None:
    """Where every answer takes longer than etcd is given before it is asked again, the node stays."""
    async with kept_lease() as run:
        slow = await run.renewal_at(INTERVAL_S)
        for n in range(1, 20):
            slow.silence()
            another = await run.etcd.next_renewal()
            slow.granted()
            await run.settled()
            assert run.lease.fence_in_s == TTL_S - MARGIN_S - ANOTHER_S
            assert not run.lease.failing
            assert another.sent_at_s == run.began_s + INTERVAL_S + n * ANOTHER_S
            slow = another
        assert not is_fenced(run.lease)


async def test_an_older_renewals_answer_does_not_bring_f_forward() -> None:
    async with kept_lease() as run:
        older = await run.renewal_at(INTERVAL_S)
        older.silence()
        (await run.etcd.next_renewal()).granted()
        await run.settled()
        assert run.lease.fence_in_s == TTL_S - MARGIN_S
        older.granted()
        await run.settled()
        assert run.lease.fence_in_s == TTL_S - MARGIN_S


async def test_whichever_renewal_finds_the_lease_gone_fences() -> None:
    async with kept_lease() as run:
        older = await run.renewal_at(INTERVAL_S)
        older.silence()
        newer = await run.etcd.next_renewal()
        older.granted(0)
        await run.settled()
        assert is_fenced(run.lease)
        newer.granted()
        assert await run.ended() is FenceReason.LEASE_GONE


async def test_nothing_is_under_way_any_more_once_it_is_fenced() -> None:
    async with kept_lease() as run:
        older = await run.renewal_at(INTERVAL_S)
        older.silence()
        newer = await run.etcd.next_renewal()
        run.at(TTL_S - MARGIN_S)
        assert await run.ended() is FenceReason.NOT_RENEWED
        assert older.answer.cancelled()
        assert newer.answer.cancelled()


async def test_failing_renewals_end_in_the_fence_exactly_at_f() -> None:
    async with kept_lease() as run:
        waiting = asyncio.ensure_future(run.lease.fenced())
        for n in range(11):
            (await run.renewal_at(INTERVAL_S + n * RETRY_S)).failed()
        await run.settled()
        f_s = await run.clock.next_due_s()
        assert f_s == run.began_s + TTL_S - MARGIN_S
        run.clock.advance_to(f_s - 0.125)
        assert not is_fenced(run.lease)
        run.clock.advance_to(f_s)
        assert await run.ended() is FenceReason.NOT_RENEWED
        assert await waiting is FenceReason.NOT_RENEWED
        assert is_fenced(run.lease)
        assert run.lease.fence_in_s == 0.0
        assert run.etcd.idle


async def test_a_renewal_that_is_never_answered_does_not_put_the_fence_off() -> None:
    async with kept_lease() as run:
        f_s = run.began_s + TTL_S - MARGIN_S
        (await run.renewal_at(INTERVAL_S)).silence()
        for _ in range(3):
            renewal = await run.etcd.next_renewal()
            assert renewal.timeout_s == f_s - renewal.sent_at_s
            renewal.silence(until_s=f_s)
        assert await run.ended() is FenceReason.NOT_RENEWED
        assert run.clock.now_s() == run.began_s + TTL_S - MARGIN_S


async def test_an_answer_that_arrives_after_f_extends_nothing() -> None:
    """The process was frozen over F with the answer in its socket."""
    async with kept_lease() as run:
        renewal = await run.renewal_at(INTERVAL_S)
        renewal.granted()
        run.at(TTL_S - MARGIN_S)
        assert await run.ended() is FenceReason.NOT_RENEWED
        assert run.lease.fence_in_s == 0.0


async def test_an_answer_that_arrives_just_before_f_extends() -> None:
    async with kept_lease() as run:
        renewal = await run.renewal_at(INTERVAL_S)
        renewal.granted()
        run.at(TTL_S - MARGIN_S - 0.125)
        await run.etcd.next_renewal()
        assert run.lease.fence_in_s == INTERVAL_S + 0.125
        assert not is_fenced(run.lease)


async def test_etcd_not_knowing_the_lease_fences_at_once() -> None:
    async with kept_lease() as run:
        (await run.renewal_at(INTERVAL_S)).granted(0)
        assert await run.ended() is FenceReason.LEASE_GONE
        assert run.lease.reason is FenceReason.LEASE_GONE
        assert is_fenced(run.lease)
