"""How much tenants may store, by what was measured and what has come since."""

import asyncio
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager

import pytest

from agent_node.quota.quota import Quota
from agent_node.quota.share import Share
from agent_node.quota.stored import MEASURE_S, StoredBytes
from agentring.errors import QuotaExceeded, StoreUnavailable
from agentring.ids import TenantId
from harness.clock import FakeClock
from harness.limited_nodes import quota_of

A, B = TenantId("a"), TenantId("b")


class Database:
    """What nodes have stored, and how often it was measured."""

    def __init__(self) -> None:
        self.size_bytes = dict.fromkeys((A, B), 0)
        self.measured: list[TenantId] = []
        self.refused = set[tuple[str, str, float]]()
        self.is_away = False
        self.clock = FakeClock()

    async def measure(self, tenant: TenantId) -> int:
        self.measured.append(tenant)
        if self.is_away:
            raise StoreUnavailable
        return self.size_bytes[tenant]

    async def next_measure(self, nodes: int = 1) -> None:
        self.clock.advance_to(await self.clock.next_due_s(nodes))
        await self.clock.next_due_s(nodes)

    def put(self, quota: Quota, size_bytes: int, tenant: TenantId = A) -> bool:
        """Whether a file was let in."""
        try:
            quota.take_file(tenant, "", size_bytes)
        except QuotaExceeded as refused:
            self.refused.add((refused.what, refused.limit, refused.wait_s))
            return False
        self.size_bytes[tenant] += size_bytes
        return True


@asynccontextmanager
async def measuring(database: Database, *all_stored: StoredBytes) -> AsyncIterator[None]:
    runs = [
        asyncio.create_task(stored.run(database.measure, database.clock.sleep, database.clock.now_s))
        for stored in all_stored
    ]
    yield
    for run in runs:
        run.cancel()
    await asyncio.wait(runs)


async def test_a_tenant_stores_up_to_its_limit_and_again_once_something_is_gone() -> None:
    database, quota = Database(), quota_of("[tenants.a]\nstored_bytes = 1000")
    async with measuring(database, quota.stored):
        assert [database.put(quota, 25) for _ in range(3)] == [True, True, False]  # a twentieth, until it is measured
        await database.next_measure()
        assert [database.put(quota, 400) for _ in range(3)] == [True, True, False]
        database.size_bytes[A] += 500  # what an agent said
        await database.next_measure()
        assert not database.put(quota, 1)
        assert database.put(quota, 5_000, B)
        database.size_bytes[A] = 100
        database.is_away = True
        await database.next_measure()
        assert not database.put(quota, 1)
        database.is_away = False
        await database.next_measure()
        assert database.put(quota, 900)
        assert database.refused == {("stored_bytes", "1000", MEASURE_S)}
        assert set(database.measured) == {A}  # a tenant without a limit costs nothing
        await database.next_measure()
        count = len(database.measured)
        await database.next_measure()
        assert len(database.measured) == count  # nobody has asked since


async def test_a_refused_turn_is_not_counted_and_an_accepted_one_is() -> None:
    database, quota = Database(), quota_of("[tenant]\nstored_bytes = 1000\nturns_per_s = 2")
    async with measuring(database, quota.stored):
        quota.accept_turn(A, "", 10, 1)
        await database.next_measure()
        quota.accept_turn(A, "", 800, 1)
        with pytest.raises(QuotaExceeded, match="turns_per_s"):
            quota.accept_turn(A, "", 150, 1)
        with pytest.raises(QuotaExceeded, match="stored_bytes"):
            quota.accept_turn(A, "", 300, 1)
        assert database.put(quota, 150)  # what was refused has taken nothing


async def test_nodes_that_store_at_once_keep_the_limit_within_a_fifth() -> None:
    database = Database()
    quotas = [quota_of("[tenant]\nstored_bytes = 1000", share=Share(index, 1, 3)) for index in range(3)]
    async with measuring(database, *(quota.stored for quota in quotas)):
        for _ in range(6):
            for quota in quotas:
                while database.put(quota, 5):
                    pass
            await database.next_measure(3)
    assert 800 <= database.size_bytes[A] <= 1_000


def test_as_many_tenants_as_may_be_are_remembered() -> None:
    stored = StoredBytes(most=2)
    whole = Share(0, 1, 1)
    for tenant in (A, B, A, TenantId("c")):
        assert stored.has_room(tenant, 1000, 25, whole)
        stored.add(tenant, 25)
    assert not stored.has_room(A, 1000, 1, whole)
    assert stored.has_room(B, 1000, 50, whole)
