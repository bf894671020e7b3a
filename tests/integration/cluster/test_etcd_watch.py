"""Watches on a real etcd: what they deliver, in which batches, and how they end."""

import asyncio
import signal
from contextlib import aclosing

import pytest

from agentring.cluster.etcd.client import EtcdClient
from agentring.cluster.etcd.errors import EtcdCompacted, EtcdUnavailable
from agentring.cluster.etcd.types import Delete, KeyValue, WatchBatch
from agentring.cluster.keys import Keys
from agentring.ids import Revision
from harness.conditions import PATIENCE_S
from harness.etcd import EtcdProcess
from harness.etcd_faults import compact
from harness.etcd_writes import put, until


async def test_a_watch_breaks_once_etcds_data_have_begun_anew(etcd_url: str, keys: Keys) -> None:
    async with EtcdClient([etcd_url], watch_silence_s=0.4) as etcd, asyncio.timeout(PATIENCE_S):
        revision = await put(etcd, keys.nodes + "a")
        watching = asyncio.create_task(until(etcd.watch(keys.nodes, revision), Revision(revision + 1)))
        await asyncio.sleep(0)
        etcd.begin_anew(revision)
        with pytest.raises(EtcdUnavailable):
            await watching


async def test_a_watch_tells_what_changed_since_a_revision_and_what_changes(etcd: EtcdClient, keys: Keys) -> None:
    first = await put(etcd, keys.nodes + "a", b"1")
    await put(etcd, keys.meta)
    watch = etcd.watch(keys.nodes, first)
    async with asyncio.timeout(PATIENCE_S), aclosing(watch):
        batch = await anext(watch)
        assert batch == WatchBatch(first, (KeyValue(keys.nodes + "a", b"1", first, first, 0),), ())
        second = await put(etcd, keys.nodes + "a", b"2")
        assert await anext(watch) == WatchBatch(second, (KeyValue(keys.nodes + "a", b"2", first, second, 0),), ())
        third = (await etcd.txn([], [Delete(keys.nodes + "a")])).revision
        assert await anext(watch) == WatchBatch(third, (), (keys.nodes + "a",))


async def test_a_watch_begins_after_what_was_before_its_revision(etcd: EtcdClient, keys: Keys) -> None:
    before = await put(etcd, keys.nodes + "a")
    after = await put(etcd, keys.nodes + "b")
    (batch,) = await until(etcd.watch(keys.nodes, Revision(before + 1)), after)
    assert [kv.key for kv in batch.puts] == [keys.nodes + "b"]


async def test_a_revision_that_deletes_many_keys_is_one_batch(etcd: EtcdClient, keys: Keys) -> None:
    lease_id, _ = await etcd.grant(60)
    names = {f"{keys.nodes}{i}" for i in range(50)}
    for name in names:
        last = await put(etcd, name, b"", lease_id)
    watch = etcd.watch(keys.nodes, last)
    async with asyncio.timeout(PATIENCE_S), aclosing(watch):
        await anext(watch)
        await etcd.revoke(lease_id)
        batch = await anext(watch)
    assert batch.puts == ()
    assert len(batch.deletes) == 50
    assert set(batch.deletes) == names
    assert batch.revision == last + 1


async def test_batches_read_one_after_the_other_give_the_last_state(etcd: EtcdClient, keys: Keys) -> None:
    """Keys that come, go and come again within what etcd sends at once."""
    again, gone, changed = keys.nodes + "again", keys.nodes + "gone", keys.nodes + "changed"
    first = await put(etcd, again, b"1")
    await put(etcd, changed, b"1")
    await etcd.txn([], [Delete(again)])
    await put(etcd, gone, b"1")
    await put(etcd, changed, b"2")
    back = await put(etcd, again, b"2")
    last = (await etcd.txn([], [Delete(gone)])).revision
    state: dict[str, KeyValue] = {}
    for batch in await until(etcd.watch(keys.nodes, first), last):
        assert not {kv.key for kv in batch.puts} & set(batch.deletes)
        state = {key: kv for key, kv in state.items() if key not in batch.deletes}
        state |= {kv.key: kv for kv in batch.puts}
    assert {key: kv.value for key, kv in state.items()} == {again: b"2", changed: b"2"}
    assert state[again].create_revision == back


async def test_a_batch_of_a_watch_that_catches_up_is_as_new_as_its_newest_change(etcd: EtcdClient, keys: Keys) -> None:
    """etcd sends 1,000 revisions at a time, each time under the revision that it is at itself."""
    revisions = []
    for _ in range(11):
        revisions += await asyncio.gather(*(put(etcd, f"{keys.nodes}{i}") for i in range(100)))
    batches = await until(etcd.watch(keys.nodes, min(revisions)), max(revisions))
    assert len(batches) > 1
    for batch in batches:
        assert batch.revision == max(kv.mod_revision for kv in batch.puts)
    assert [batch.revision for batch in batches] == sorted({batch.revision for batch in batches})


async def test_to_watch_from_a_compacted_revision_is_an_error(etcd: EtcdClient, etcd_url: str, keys: Keys) -> None:
    first = await put(etcd, keys.nodes + "a")
    last = await put(etcd, keys.nodes + "a")
    await compact(etcd_url, last)
    with pytest.raises(EtcdCompacted):
        await until(etcd.watch(keys.nodes, first), last)


async def test_a_watch_whose_etcd_dies_breaks(own_etcd: EtcdProcess, keys: Keys) -> None:
    async with EtcdClient([own_etcd.url]) as etcd:
        revision = await put(etcd, keys.nodes + "a")
        watch = etcd.watch(keys.nodes, revision)
        async with asyncio.timeout(PATIENCE_S), aclosing(watch):
            await anext(watch)
            own_etcd.stop(signal.SIGKILL)
            with pytest.raises(EtcdUnavailable):
                await anext(watch)


async def test_a_watch_that_is_cancelled_leaves_the_client_at_work(etcd: EtcdClient, keys: Keys) -> None:
    revision = await put(etcd, keys.nodes + "a")

    async def watch() -> None:
        async with aclosing(etcd.watch(keys.nodes, revision)) as batches:
            async for _ in batches:
                seen.set()

    seen = asyncio.Event()
    watching = asyncio.create_task(watch())
    async with asyncio.timeout(PATIENCE_S):
        await seen.wait()
    watching.cancel()
    await asyncio.wait([watching])
    assert watching.cancelled()
    assert await etcd.get(keys.nodes + "a") is not None
