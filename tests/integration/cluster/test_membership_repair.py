"""Snapshots follow etcd where the watch does not: silent, broken, compacted, or begun too late."""

import asyncio
import signal
from collections.abc import AsyncGenerator, Callable
from typing import Any

import pytest

from agentring.cluster.etcd.client import WATCH_SILENCE_S, EtcdClient
from agentring.cluster.etcd.errors import EtcdUnavailable
from agentring.cluster.etcd.types import RangeResult, WatchBatch
from agentring.cluster.keys import Keys
from agentring.cluster.membership import Membership
from agentring.cluster.new_generation import begin_new_generation
from agentring.ids import NodeId, Revision
from harness.clock import FakeClock
from harness.conditions import PATIENCE_S
from harness.etcd import EtcdProcess
from harness.etcd_faults import compact, until_answered
from harness.registrations import delete_node, put_node
from harness.watched_memberships import NEVER_S, has, running, until, watched
from robustness.chaos.cluster.links import Link


class SilentWatch(EtcdClient):
    """Its watches never say anything: every event is lost."""

    async def watch(self, prefix: str, from_revision: Revision) -> AsyncGenerator[WatchBatch, None]:
        await asyncio.Event().wait()
        yield WatchBatch(from_revision, (), ())


class Interrupted(EtcdClient):
    """Lets something happen between the reading of the membership and the watch that follows it."""

    def __init__(self, url: str) -> None:
        super().__init__([url])
        self.before_watch: list[Callable[[], Any]] = []
        self.ranges = 0

    async def range(self, prefix: str) -> RangeResult:
        self.ranges += 1
        return await super().range(prefix)

    async def watch(self, prefix: str, from_revision: Revision) -> AsyncGenerator[WatchBatch, None]:
        if self.before_watch:
            await self.before_watch.pop(0)()
        async for batch in super().watch(prefix, from_revision):
            yield batch


async def test_reconciling_repairs_what_the_watch_lost(etcd_url: str, keys: Keys) -> None:
    async with SilentWatch([etcd_url]) as etcd:
        membership = watched(etcd, keys, reconcile_s=0.1)
        async with running(membership):
            await until(membership, has())
            await put_node(etcd, keys, "n1")
            await put_node(etcd, keys, "n2")
            await until(membership, has("n1", "n2"))
            await delete_node(etcd, keys, "n1")
            await until(membership, has("n2"))


async def test_without_changes_reconciling_is_no_news(etcd_url: str, keys: Keys) -> None:
    async with Interrupted(etcd_url) as etcd:
        membership = watched(etcd, keys, reconcile_s=0.05)
        again = asyncio.Event()

        async def third_time() -> None:
            again.set()

        async def nothing() -> None:
            pass

        etcd.before_watch = [nothing, nothing, third_time]
        async with running(membership):
            first = await until(membership, has())
            async with asyncio.timeout(PATIENCE_S):
                await again.wait()
            assert membership.current is first
            assert etcd.ranges >= 3


async def test_what_happens_between_reading_and_watching_is_seen(etcd_url: str, keys: Keys) -> None:
    async with Interrupted(etcd_url) as etcd:
        etcd.before_watch = [lambda: put_node(etcd, keys, "n1")]
        membership = watched(etcd, keys)
        async with running(membership):
            await until(membership, has("n1"))
        assert etcd.ranges == 1


async def test_more_than_etcd_sends_at_once_between_reading_and_watching_is_seen(etcd_url: str, keys: Keys) -> None:
    """A watch that catches up is sent 1,000 revisions at a time, each time under etcd's newest revision."""

    async def much() -> None:
        for _ in range(11):
            await asyncio.gather(*(put_node(etcd, keys, f"n{i}") for i in range(100)))
        await put_node(etcd, keys, "last")

    async with Interrupted(etcd_url) as etcd:
        etcd.before_watch = [much]
        membership = watched(etcd, keys)
        async with running(membership):
            await until(membership, lambda now: NodeId("last") in now.nodes)
        assert etcd.ranges == 1


async def test_a_compaction_before_the_watch_leads_to_reading_anew(etcd_url: str, keys: Keys) -> None:
    async with Interrupted(etcd_url) as etcd:

        async def change_and_compact() -> None:
            await put_node(etcd, keys, "n1")
            await put_node(etcd, keys, "n2")
            await delete_node(etcd, keys, "n1")
            await compact(etcd_url, (await EtcdClient.range(etcd, keys.root)).revision)

        etcd.before_watch = [change_and_compact]
        membership = watched(etcd, keys)
        async with running(membership):
            await until(membership, has("n2"))
        assert etcd.ranges == 2


async def test_a_watch_that_breaks_is_resumed_after_a_while(etcd_url: str, keys: Keys) -> None:
    """Not at once: an etcd in trouble is not to be asked in a loop. And without reading everything anew."""
    clock = FakeClock()
    async with Interrupted(etcd_url) as etcd:

        async def breaks() -> None:
            raise EtcdUnavailable

        etcd.before_watch = [breaks, breaks]
        membership = Membership(etcd, keys, clock, reconcile_s=NEVER_S)
        async with running(membership):
            await until(membership, has())
            for name in ("n1", "n2"):
                due_s = await clock.next_due_s()
                assert due_s - clock.now_s() == 0.5
                await put_node(etcd, keys, name)
                clock.advance_to(due_s)
            await until(membership, has("n1", "n2"))
            await put_node(etcd, keys, "n3")
            await until(membership, has("n1", "n2", "n3"))
            assert etcd.ranges == 1


async def test_it_outlasts_a_restart_of_etcd(own_etcd: EtcdProcess, keys: Keys) -> None:
    async with EtcdClient([own_etcd.url]) as etcd:
        membership = watched(etcd, keys)
        async with running(membership):
            await put_node(etcd, keys, "n1")
            before = await until(membership, has("n1"))
            await asyncio.to_thread(own_etcd.stop, signal.SIGTERM)
            assert membership.current is before
            await asyncio.to_thread(own_etcd.restart)
            await until_answered(etcd)
            await put_node(etcd, keys, "n2")
            after = await until(membership, has("n1", "n2"))
            assert after.revision > before.revision
            assert after.nodes[NodeId("n1")] == before.nodes[NodeId("n1")]


async def test_it_begins_with_an_etcd_that_is_not_there_yet(own_etcd: EtcdProcess, keys: Keys) -> None:
    await asyncio.to_thread(own_etcd.stop, signal.SIGTERM)
    async with EtcdClient([own_etcd.url]) as etcd:
        membership = watched(etcd, keys)
        async with running(membership):
            with pytest.raises(EtcdUnavailable):
                await etcd.get(keys.meta)
            assert membership.current is None
            await asyncio.to_thread(own_etcd.restart)
            await until(membership, has())


async def test_a_compaction_while_the_watch_is_stalled_is_made_good_within_two_seconds(
    etcd_url: str, keys: Keys
) -> None:
    """What was missed is gone from etcd's history: it can only be read anew."""
    link = Link(etcd_url.removeprefix("http://"))
    await link.start("127.0.0.1")
    try:
        async with EtcdClient([f"http://{link.address}"]) as stalled, EtcdClient([etcd_url]) as etcd:
            membership = watched(stalled, keys)
            async with running(membership):
                await put_node(etcd, keys, "n1")
                await until(membership, has("n1"))
                link.cut()
                await put_node(etcd, keys, "n2")
                await delete_node(etcd, keys, "n1")
                await put_node(etcd, keys, "n3")
                await compact(etcd_url, (await etcd.range(keys.root)).revision)
                await asyncio.sleep(WATCH_SILENCE_S + 0.5)  # so that the watch is given up
                mended_s = asyncio.get_running_loop().time()
                link.mend()
                await until(membership, has("n2", "n3"))
                took_s = asyncio.get_running_loop().time() - mended_s
        assert took_s < 2.0, took_s
    finally:
        await link.stop()


async def test_a_watch_that_is_silent_is_asked_and_stays(etcd_url: str, keys: Keys) -> None:
    """Nothing happens in the cluster for longer than a watch may be silent: etcd says so itself."""
    async with Interrupted(etcd_url) as etcd:
        etcd._watch_silence_s = 0.5  # (etcd lets a watch catch up every 0.1 s)
        membership = watched(etcd, keys)
        async with running(membership):
            first = await until(membership, has())
            await asyncio.sleep(1.1)
            assert etcd.ranges == 1
            await put_node(etcd, keys, "n1")
            async with asyncio.timeout(PATIENCE_S):
                assert has("n1")(await membership.next(first))
        assert etcd.ranges == 1


async def test_a_broken_history_that_another_call_found_closes_a_quiet_watch(etcd_url: str, keys: Keys) -> None:
    async with EtcdClient([etcd_url], watch_silence_s=0.2) as etcd, EtcdClient([etcd_url]) as operator:
        membership = watched(etcd, keys)
        await membership.history.begin()
        async with running(membership):
            await put_node(operator, keys, "n1")
            before = await until(membership, has("n1"))
            etcd.distrust()
            assert membership.current is None
            async with asyncio.timeout(PATIENCE_S):
                await membership.closed.wait()
            await delete_node(operator, keys, "n1")
            await begin_new_generation(operator, keys)
            async with asyncio.timeout(PATIENCE_S):
                assert has()(await membership.next(before))
            assert not membership.closed.is_set()
