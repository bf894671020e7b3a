"""The rules of watching, to the revision: resumed, read anew, dropped, closed. With an etcd that the test writes."""

import asyncio
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager

import pytest

from agentring.cluster.etcd.errors import EtcdCompacted, EtcdError, EtcdSilent, EtcdUnavailable
from agentring.cluster.etcd.types import KeyValue, WatchBatch
from agentring.cluster.keys import Keys
from agentring.cluster.membership import Membership
from agentring.cluster.snapshot import MembershipSnapshot
from agentring.ids import Revision
from harness.clock import PATIENCE_S, FakeClock
from harness.etcd_scripted import ScriptedEtcd

KEYS = Keys("c")


class Watched:
    """A membership that runs on a scripted etcd, which has n1 at revision 10."""

    def __init__(self, etcd: ScriptedEtcd, clock: FakeClock, membership: Membership) -> None:
        self.etcd = etcd
        self.clock = clock
        self.membership = membership

    async def watch_from(self) -> int:
        """The revision that the next watch begins with, once it has begun."""
        async with asyncio.timeout(PATIENCE_S):
            return await self.etcd.asked.get()

    def say(self, revision: int, *, puts: tuple[str, ...] = (), deletes: tuple[str, ...] = ()) -> None:
        """The watch brings this."""
        self.etcd.revision = max(self.etcd.revision, revision)
        for name in puts:
            self.etcd.set_node(name)
        for name in deletes:
            del self.etcd.values[KEYS.nodes + name]
        kvs = tuple(
            KeyValue(key, value, Revision(revision), Revision(revision), 0)
            for key, value in self.etcd.values.items()
            if key.removeprefix(KEYS.nodes) in puts
        )
        batch = WatchBatch(Revision(revision), kvs, tuple(KEYS.nodes + name for name in deletes))
        self.etcd.watches.put_nowait(batch)

    async def fail(self, error: Exception, *, retried: bool = True) -> None:
        """The watch ends; where it is not taken up again at once, the clock moves on."""
        self.etcd.watches.put_nowait(error)
        if retried:
            await self.retry()

    async def retry(self) -> None:
        self.clock.advance_to(await self.clock.next_due_s())

    async def until(self, *names: str) -> MembershipSnapshot:
        snapshot = self.membership.current
        async with asyncio.timeout(PATIENCE_S):
            while snapshot is None or set(snapshot.nodes) != set(names):
                snapshot = await self.membership.next(snapshot)
        return snapshot


@asynccontextmanager
async def watched() -> AsyncIterator[Watched]:
    clock = FakeClock()
    async with ScriptedEtcd(KEYS) as etcd:
        etcd.set_meta("one")
        etcd.set_node("n1")
        run = Watched(etcd, clock, Membership(etcd, KEYS, clock, reconcile_s=3_600))
        running = asyncio.create_task(run.membership.run())
        try:
            await run.until("n1")
            assert await run.watch_from() == 11
            yield run
        finally:
            running.cancel()
            await asyncio.wait([running])


async def test_a_broken_watch_is_resumed_after_what_was_applied() -> None:
    async with watched() as run:
        run.say(15, puts=("n2",))
        await run.until("n1", "n2")
        await run.fail(EtcdUnavailable())
        assert await run.watch_from() == 16
        run.say(17, deletes=("n1",))
        await run.until("n2")
        assert run.etcd.ranges == 1


async def test_a_resumed_watch_may_repeat_itself() -> None:
    """What is at or below the applied revision is dropped: a node that has left does not come again."""
    async with watched() as run:
        run.say(15, puts=("n2",))
        await run.until("n1", "n2")
        run.say(16, deletes=("n2",))
        await run.until("n1")
        run.say(15, puts=("n2",))
        run.say(16, puts=("n2",))
        run.say(17, puts=("n3",))
        assert (await run.until("n1", "n3")).revision == 17


@pytest.mark.parametrize("error", [EtcdCompacted(), EtcdSilent()])
async def test_a_compacted_or_silent_watch_leads_to_reading_anew_at_once(error: EtcdError) -> None:
    async with watched() as run:
        run.etcd.set_node("n2")
        run.etcd.revision = 30
        await run.fail(error, retried=False)
        assert (await run.until("n1", "n2")).revision == 30
        assert await run.watch_from() == 31
        assert run.etcd.ranges == 2


async def test_a_wiped_etcd_closes_the_membership_until_a_new_generation() -> None:
    async with watched() as run:
        run.etcd.values.clear()
        run.etcd.revision = 1
        await run.fail(EtcdUnavailable())
        async with asyncio.timeout(PATIENCE_S):
            await run.membership.closed.wait()
        assert run.membership.current is None
        # Another node, that knows nothing of what was, makes the record anew; that is no way out.
        run.etcd.set_meta("two")
        run.etcd.set_node("n9")
        await run.retry()
        await run.clock.next_due_s()
        assert run.membership.current is None
        run.etcd.set_meta("two", generation=2)
        await run.retry()
        assert (await run.until("n9")).revision == 1
        assert not run.membership.closed.is_set()


async def test_a_lower_revision_closes_the_membership_though_the_record_is_the_same() -> None:
    """An etcd restored from yesterday's backup."""
    async with watched() as run:
        run.say(15, puts=("n2",))
        await run.until("n1", "n2")
        run.etcd.revision = 12
        await run.fail(EtcdUnavailable())
        async with asyncio.timeout(PATIENCE_S):
            await run.membership.closed.wait()
        run.etcd.revision = 100
        await run.retry()
        await run.clock.next_due_s()
        assert run.membership.current is None


async def test_what_was_before_a_new_generation_is_not_served_though_nobody_noticed_the_loss() -> None:
    """A node that joins again may be the first to hear of the new generation; the snapshot is still the old life's,
    and its revision says nothing of the node's new incarnation."""
    async with watched() as run:
        before = run.membership.current
        run.etcd.values.clear()
        run.etcd.revision = 1
        run.etcd.set_meta("one", generation=2)
        run.etcd.set_node("n9")
        await run.membership.history.begin()
        assert run.membership.current is None
        await run.fail(EtcdUnavailable())
        async with asyncio.timeout(PATIENCE_S):
            after = await run.membership.next(before)
        assert (after.revision, set(after.nodes)) == (1, {"n9"})


async def test_an_etcd_that_does_not_answer_leaves_the_snapshot_as_it_was() -> None:
    async with watched() as run:
        before = run.membership.current
        run.etcd.reachable = False
        await run.fail(EtcdUnavailable())
        await run.retry()
        await run.clock.next_due_s()
        assert run.membership.current is before
        assert not run.membership.closed.is_set()
