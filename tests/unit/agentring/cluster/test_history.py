"""Whether etcd's data are still the same: revisions that went back, another uuid, a lost record; and the way out."""

import asyncio
from collections.abc import AsyncIterator

import pytest
import pytest_asyncio

from agentring.cluster.etcd.errors import EtcdHistoryBroken, EtcdUnavailable
from agentring.cluster.history import ClusterHistory
from agentring.cluster.keys import Keys
from agentring.ids import Revision
from harness.etcd_scripted import ScriptedEtcd

KEYS = Keys("c")


@pytest_asyncio.fixture
async def etcd() -> AsyncIterator[ScriptedEtcd]:
    async with ScriptedEtcd(KEYS) as scripted:
        scripted.set_meta("one")
        yield scripted


@pytest_asyncio.fixture
async def history(etcd: ScriptedEtcd) -> ClusterHistory:
    """Of a process that has seen revision 10 of the cluster `one`."""
    known = ClusterHistory(etcd, KEYS)
    await known.check()
    await etcd.range(KEYS.nodes)
    return known


async def is_broken(etcd: ScriptedEtcd, history: ClusterHistory) -> bool:
    """What `check` says, and that reads go along with it."""
    try:
        await history.check()
    except EtcdHistoryBroken:
        with pytest.raises(EtcdHistoryBroken):
            await etcd.range(KEYS.nodes)
        assert history.broken
        return True
    await etcd.range(KEYS.nodes)
    assert not history.broken
    return False


async def test_the_same_data_at_the_same_or_a_later_revision_are_whole(
    etcd: ScriptedEtcd, history: ClusterHistory
) -> None:
    assert not await is_broken(etcd, history)
    etcd.revision = 500
    assert not await is_broken(etcd, history)
    assert (history.cluster_uuid, history.generation) == ("one", 1)


async def test_a_lower_revision_breaks_it(etcd: ScriptedEtcd, history: ClusterHistory) -> None:
    etcd.revision = 9
    assert await is_broken(etcd, history)


async def test_a_read_under_a_lower_revision_breaks_it_too(etcd: ScriptedEtcd, history: ClusterHistory) -> None:
    etcd.revision = 9
    with pytest.raises(EtcdHistoryBroken):
        await etcd.get("/any")
    assert await is_broken(etcd, history)


async def test_it_stays_broken_when_the_revision_has_caught_up(etcd: ScriptedEtcd, history: ClusterHistory) -> None:
    etcd.revision = 9
    assert await is_broken(etcd, history)
    etcd.revision = 1_000
    assert await is_broken(etcd, history)


async def test_an_answer_that_was_overtaken_by_a_later_one_breaks_nothing(
    etcd: ScriptedEtcd, history: ClusterHistory
) -> None:
    """Only what was known when the request was sent counts."""
    etcd.answering.clear()
    early = asyncio.ensure_future(etcd.range(KEYS.nodes))
    await asyncio.sleep(0)
    await asyncio.sleep(0)
    etcd.revision = 20
    late = asyncio.ensure_future(etcd.range(KEYS.nodes))
    await asyncio.sleep(0)
    await asyncio.sleep(0)
    etcd.answering.set()
    assert (await late).revision == 20
    assert (await early).revision == 10
    assert not await is_broken(etcd, history)


@pytest.mark.parametrize("generation", [1, 0])
async def test_another_uuid_breaks_it(etcd: ScriptedEtcd, history: ClusterHistory, generation: int) -> None:
    etcd.revision = 500
    etcd.set_meta("two", generation)
    assert await is_broken(etcd, history)


async def test_a_lower_generation_breaks_it(etcd: ScriptedEtcd, history: ClusterHistory) -> None:
    etcd.set_meta("one", 3)
    assert not await is_broken(etcd, history)
    etcd.set_meta("one", 2)
    assert await is_broken(etcd, history)


@pytest.mark.parametrize("value", [None, b"?"])
async def test_a_record_that_is_lost_or_unreadable_breaks_it(
    etcd: ScriptedEtcd, history: ClusterHistory, value: bytes | None
) -> None:
    del etcd.values[KEYS.meta]
    if value is not None:
        etcd.values[KEYS.meta] = value
    assert await is_broken(etcd, history)


async def test_a_higher_generation_mends_it_at_whatever_revision(etcd: ScriptedEtcd, history: ClusterHistory) -> None:
    etcd.revision = 3
    etcd.set_meta("two")
    assert await is_broken(etcd, history)
    etcd.set_meta("two", 2)
    assert not await is_broken(etcd, history)
    assert (history.cluster_uuid, history.generation) == ("two", 2)
    etcd.revision = 2
    assert await is_broken(etcd, history)


async def test_an_etcd_that_does_not_answer_breaks_nothing(etcd: ScriptedEtcd, history: ClusterHistory) -> None:
    etcd.reachable = False
    with pytest.raises(EtcdUnavailable):
        await history.check()
    assert not history.broken
    etcd.reachable = True
    assert not await is_broken(etcd, history)


async def test_begin_anew_forgets_what_was_known() -> None:
    async with ScriptedEtcd(KEYS) as etcd:
        await etcd.range(KEYS.nodes)
        assert etcd.newest_revision == 10
        etcd.distrust()
        etcd.begin_anew(Revision(2))
        etcd.revision = 2
        assert (await etcd.range(KEYS.nodes)).revision == 2


@pytest.mark.parametrize("late", ["read", "check"])
async def test_what_was_asked_in_the_life_before_breaks_nothing_in_the_next(
    etcd: ScriptedEtcd, history: ClusterHistory, late: str
) -> None:
    """Two tasks of a process ask; the first answer that comes begins a new generation."""
    etcd.set_meta("one", 2)
    etcd.revision = 2
    etcd.answering.clear()
    first = asyncio.create_task(history.check())
    other = asyncio.create_task(etcd.range(KEYS.nodes) if late == "read" else history.check())
    for _ in range(5):
        await asyncio.sleep(0)
    etcd.answering.set()
    await first
    if late == "read":
        with pytest.raises(EtcdUnavailable):
            await other
    else:
        await other
    assert not history.broken
    assert not await is_broken(etcd, history)
