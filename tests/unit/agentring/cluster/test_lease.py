"""The fence, to the instant: on a clock of the test's own, with an etcd that answers when and what it is told."""

import asyncio
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from typing import cast

import pytest
from hypothesis import given
from hypothesis import strategies as st

from agentring.cluster.etcd.client import EtcdClient
from agentring.cluster.etcd.errors import EtcdError, EtcdUnavailable
from agentring.cluster.lease import FenceReason, Lease
from agentring.errors import NodeFenced
from harness.clock import PATIENCE_S, FakeClock

LEASE_ID = 77
TTL_S, MARGIN_S, INTERVAL_S, ANOTHER_S, RETRY_S = 30, 6.0, 7.5, 5.0, 1.5
"""Of the default lease here: F is 24 s after the last acknowledged renewal was sent."""


class Renewal:
    """A renewal that is under way."""

    def __init__(self, clock: FakeClock, timeout_s: float) -> None:
        self.sent_at_s = clock.now_s()
        self.timeout_s = timeout_s
        self._clock = clock
        self.answer: asyncio.Future[int] = asyncio.get_running_loop().create_future()

    def granted(self, ttl_s: int = TTL_S) -> None:
        """etcd answers."""
        self.answer.set_result(ttl_s)

    def failed(self) -> None:
        """The connection breaks."""
        self.answer.set_exception(EtcdUnavailable(outcome_unknown=True))

    def silence(self, until_s: float = float("inf")) -> None:
        """No answer comes until it is time for another renewal, or until a moment."""
        self._clock.advance_to(min(self.sent_at_s + ANOTHER_S, until_s))


class ScriptedEtcd:
    """The three calls that a lease makes; the test answers each renewal."""

    def __init__(self, clock: FakeClock, ttl_s: int = TTL_S) -> None:
        self.revoked: list[tuple[int, float]] = []
        self.revocation_fails = False
        self.grant_takes_s = 0.0
        self._clock = clock
        self._ttl_s = ttl_s
        self._renewals: asyncio.Queue[Renewal] = asyncio.Queue()

    async def grant(self, ttl_s: int) -> tuple[int, int]:
        self._clock.advance(self.grant_takes_s)
        return LEASE_ID, max(ttl_s, self._ttl_s)

    async def keep_alive(self, lease_id: int, *, timeout_s: float, patience_s: float) -> int:
        assert (lease_id, patience_s) == (LEASE_ID, ANOTHER_S)
        renewal = Renewal(self._clock, timeout_s)
        self._renewals.put_nowait(renewal)
        return await renewal.answer

    async def revoke(self, lease_id: int, *, timeout_s: float) -> None:
        self.revoked.append((lease_id, timeout_s))
        if self.revocation_fails:
            raise EtcdUnavailable(outcome_unknown=True)

    async def next_renewal(self) -> Renewal:
        """The next one that the lease sends."""
        async with asyncio.timeout(PATIENCE_S):
            return await self._renewals.get()

    @property
    def idle(self) -> bool:
        """Whether every renewal was seen by the test."""
        return self._renewals.empty()


class Kept:
    """A lease, its clock, its etcd, and the task that keeps it."""

    def __init__(self, clock: FakeClock, etcd: ScriptedEtcd, lease: Lease) -> None:
        self.clock = clock
        self.etcd = etcd
        self.lease = lease
        self.began_s = clock.now_s()
        self.keeping = asyncio.ensure_future(lease.keep())

    def at(self, offset_s: float) -> None:
        """Moves the clock to so long after the grant."""
        self.clock.advance_to(self.began_s + offset_s)

    async def settled(self) -> None:
        """Lets everybody go on who can."""
        for _ in range(20):
            await asyncio.sleep(0)

    async def renewal_at(self, offset_s: float) -> Renewal:
        """Moves the clock to the moment at which the next renewal must be due, and returns it."""
        await self.settled()
        assert await self.clock.next_due_s() == self.began_s + offset_s
        assert self.etcd.idle
        self.at(offset_s)
        return await self.etcd.next_renewal()

    async def next_event(self) -> float | Renewal | FenceReason:
        """What the lease does next: sleep until a moment, renew, or end."""
        await self.settled()
        asleep = asyncio.ensure_future(self.clock.next_due_s())
        renewing = asyncio.ensure_future(self.etcd.next_renewal())
        try:
            await asyncio.wait([asleep, renewing, self.keeping], return_when=asyncio.FIRST_COMPLETED)
            await self.settled()
            for each in (self.keeping, renewing, asleep):
                if each.done():
                    return each.result()
            raise AssertionError
        finally:
            asleep.cancel()
            renewing.cancel()

    async def ended(self) -> FenceReason:
        """What `keep` returns."""
        async with asyncio.timeout(PATIENCE_S):
            return await self.keeping


def is_fenced(lease: Lease) -> bool:
    try:
        lease.check()
    except NodeFenced:
        return True
    return False


async def granted(clock: FakeClock, etcd: ScriptedEtcd, ttl_s: int = TTL_S) -> Lease:
    return await Lease.grant(cast(EtcdClient, etcd), clock, ttl_s)


@asynccontextmanager
async def kept(ttl_s: int = TTL_S) -> AsyncIterator[Kept]:
    clock = FakeClock()
    etcd = ScriptedEtcd(clock, ttl_s)
    running = Kept(clock, etcd, await granted(clock, etcd, ttl_s))
    try:
        yield running
    finally:
        running.keeping.cancel()
        await asyncio.wait([running.keeping])


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


async def test_it_renews_every_quarter_of_the_ttl_and_takes_answers_until_f() -> None:
    async with kept() as run:
        f_s = TTL_S - MARGIN_S
        for n in range(1, 9):
            renewal = await run.renewal_at(n * INTERVAL_S)
            assert renewal.timeout_s == f_s - n * INTERVAL_S
            renewal.granted()
            f_s = n * INTERVAL_S + TTL_S - MARGIN_S
        assert not is_fenced(run.lease)


async def test_an_answer_moves_f_by_when_the_renewal_was_sent() -> None:
    async with kept() as run:
        renewal = await run.renewal_at(INTERVAL_S)
        run.at(INTERVAL_S + 3.0)
        renewal.granted()
        await run.settled()
        assert run.lease.fence_in_s == TTL_S - MARGIN_S - 3.0


async def test_an_answer_with_a_shorter_ttl_brings_f_forward() -> None:
    async with kept() as run:
        (await run.renewal_at(INTERVAL_S)).granted(20)
        await run.settled()
        assert run.lease.fence_in_s == 20 - MARGIN_S


async def test_an_answer_with_a_longer_ttl_does_not_put_f_off() -> None:
    async with kept() as run:
        (await run.renewal_at(INTERVAL_S)).granted(10 * TTL_S)
        await run.settled()
        assert run.lease.fence_in_s == TTL_S - MARGIN_S


async def test_a_refused_renewal_moves_nothing_and_the_next_is_soon() -> None:
    """Not a whole interval later; and never more than so many in a TTL, however fast they are refused."""
    async with kept() as run:
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
    async with kept() as run:
        (await run.renewal_at(INTERVAL_S)).silence()
        again = await run.etcd.next_renewal()
        assert again.sent_at_s == run.began_s + INTERVAL_S + ANOTHER_S
        assert run.lease.failing
        assert run.lease.renewals_failed == 1


async def test_an_answer_that_comes_when_another_one_was_sent_counts() -> None:
    """Where every answer takes longer than etcd is given before it is asked again, the node stays."""
    async with kept() as run:
        slow = await run.renewal_at(INTERVAL_S)
        for n in range(1, 20):
            slow.silence()
            again = await run.etcd.next_renewal()
            slow.granted()
            await run.settled()
            assert run.lease.fence_in_s == TTL_S - MARGIN_S - ANOTHER_S
            assert not run.lease.failing
            assert again.sent_at_s == run.began_s + INTERVAL_S + n * ANOTHER_S
            slow = again
        assert not is_fenced(run.lease)


async def test_an_older_renewals_answer_does_not_bring_f_forward() -> None:
    async with kept() as run:
        older = await run.renewal_at(INTERVAL_S)
        older.silence()
        (await run.etcd.next_renewal()).granted()
        await run.settled()
        assert run.lease.fence_in_s == TTL_S - MARGIN_S
        older.granted()
        await run.settled()
        assert run.lease.fence_in_s == TTL_S - MARGIN_S


async def test_whichever_renewal_finds_the_lease_gone_fences() -> None:
    async with kept() as run:
        older = await run.renewal_at(INTERVAL_S)
        older.silence()
        newer = await run.etcd.next_renewal()
        older.granted(0)
        await run.settled()
        assert is_fenced(run.lease)
        newer.granted()
        assert await run.ended() is FenceReason.LEASE_GONE


async def test_nothing_is_under_way_any_more_once_it_is_fenced() -> None:
    async with kept() as run:
        older = await run.renewal_at(INTERVAL_S)
        older.silence()
        newer = await run.etcd.next_renewal()
        run.at(TTL_S - MARGIN_S)
        assert await run.ended() is FenceReason.NOT_RENEWED
        assert older.answer.cancelled()
        assert newer.answer.cancelled()


async def test_failing_renewals_end_in_the_fence_exactly_at_f() -> None:
    async with kept() as run:
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
    async with kept() as run:
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
    async with kept() as run:
        renewal = await run.renewal_at(INTERVAL_S)
        renewal.granted()
        run.at(TTL_S - MARGIN_S)
        assert await run.ended() is FenceReason.NOT_RENEWED
        assert run.lease.fence_in_s == 0.0


async def test_an_answer_that_arrives_just_before_f_extends() -> None:
    async with kept() as run:
        renewal = await run.renewal_at(INTERVAL_S)
        renewal.granted()
        run.at(TTL_S - MARGIN_S - 0.125)
        await run.etcd.next_renewal()
        assert run.lease.fence_in_s == INTERVAL_S + 0.125
        assert not is_fenced(run.lease)


async def test_etcd_not_knowing_the_lease_fences_at_once() -> None:
    async with kept() as run:
        (await run.renewal_at(INTERVAL_S)).granted(0)
        assert await run.ended() is FenceReason.LEASE_GONE
        assert run.lease.reason is FenceReason.LEASE_GONE
        assert is_fenced(run.lease)


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
    async with kept() as run:
        await run.clock.next_due_s()
        run.at(10 * TTL_S)
        assert await run.ended() is FenceReason.NOT_RENEWED
        assert run.etcd.idle


async def test_the_first_reason_stays() -> None:
    async with kept() as run:
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
    async with kept() as run:
        renewal = await run.renewal_at(INTERVAL_S)
        run.lease.fence(FenceReason.KEY_GONE)
        renewal.granted()
        assert await run.ended() is FenceReason.KEY_GONE
        assert is_fenced(run.lease)
        assert run.lease.fence_in_s == 0.0


async def test_a_fenced_lease_is_not_renewed() -> None:
    async with kept() as run:
        due_s = await run.clock.next_due_s()
        run.lease.fence(FenceReason.KEY_GONE)
        run.clock.advance_to(due_s)
        assert await run.ended() is FenceReason.KEY_GONE
        assert run.etcd.idle


async def test_without_keep_f_comes() -> None:
    async with kept() as run:
        await run.clock.next_due_s()
        run.keeping.cancel()
        await asyncio.wait([run.keeping])
        assert not is_fenced(run.lease)
        run.at(TTL_S - MARGIN_S)
        assert is_fenced(run.lease)


async def test_revoke_fences_and_tells_etcd() -> None:
    async with kept() as run:
        await run.lease.revoke(timeout_s=1.5)
        assert run.etcd.revoked == [(LEASE_ID, 1.5)]
        assert run.lease.reason is FenceReason.REVOKED
        assert is_fenced(run.lease)


async def test_a_revocation_that_fails_has_fenced_all_the_same() -> None:
    async with kept() as run:
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
        async with kept() as run:
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
