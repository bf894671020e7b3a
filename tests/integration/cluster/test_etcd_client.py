"""The calls that agentring makes, against a real etcd."""

import asyncio
import signal
import time
from collections.abc import Sequence

import pytest

from agentring.cluster.etcd.channel import EtcdTls
from agentring.cluster.etcd.client import EtcdClient
from agentring.cluster.etcd.errors import EtcdError, EtcdLeaseNotFound, EtcdUnavailable
from agentring.cluster.etcd.types import Compare, Delete, Get, KeyValue, Put, TxnResult
from agentring.cluster.keys import Keys
from agentring.ids import Revision
from harness.etcd import EtcdProcess
from harness.etcd_faults import ending_endpoint, silent_endpoint, until_answered
from harness.etcd_writes import put, until
from harness.processes import free_port

NO_LEASE = 424242


async def test_a_key_is_read_back_with_its_revisions_and_its_lease(etcd: EtcdClient, keys: Keys) -> None:
    lease_id, _ = await etcd.grant(60)
    created = await put(etcd, keys.meta, b"\x00one", lease_id)
    assert await etcd.get(keys.meta) == KeyValue(keys.meta, b"\x00one", created, created, lease_id)
    changed = await put(etcd, keys.meta, b"two")
    assert changed > created
    assert await etcd.get(keys.meta) == KeyValue(keys.meta, b"two", created, changed, 0)


async def test_a_key_that_is_not_there_is_none(etcd: EtcdClient, keys: Keys) -> None:
    assert await etcd.get(keys.meta) is None


async def test_a_range_is_what_lies_under_its_prefix_at_one_revision(etcd: EtcdClient, keys: Keys) -> None:
    for name in ("b", "a", "ü"):
        await put(etcd, f"{keys.nodes}{name}", name.encode())
    for outside in (keys.meta, keys.nodes[:-1], keys.nodes[:-1] + "0", keys.root + "sessions/a/b"):
        await put(etcd, outside)
    found = await etcd.range(keys.nodes)
    assert [(kv.key, kv.value) for kv in found.kvs] == [
        (f"{keys.nodes}{name}", name.encode()) for name in ("a", "b", "ü")
    ]
    assert found.revision >= max(kv.mod_revision for kv in found.kvs)


async def test_an_empty_range_has_a_revision_too(etcd: EtcdClient, keys: Keys) -> None:
    revision = await put(etcd, keys.meta)
    found = await etcd.range(keys.nodes)
    assert (found.revision, found.kvs) == (revision, ())


def outcome(result: TxnResult) -> tuple[bool, list[bytes | None]]:
    return result.succeeded, [kv.value if kv else None for kv in result.gets]


async def test_a_transaction_takes_the_branch_that_its_compares_choose(etcd: EtcdClient, keys: Keys) -> None:
    key, other = keys.root + "a", keys.root + "b"

    async def attempt(*compares: Compare) -> tuple[bool, list[bytes | None]]:
        return outcome(await etcd.txn(compares, [Get(key)], [Get(other), Get(key)]))

    assert await attempt(Compare(key, "create", 0)) == (True, [None])
    assert await attempt(Compare(key, "mod", 0)) == (True, [None])
    created = await put(etcd, key, b"1")
    changed = await put(etcd, key, b"2")
    for holds in (
        [Compare(key, "create", created)],
        [Compare(key, "mod", changed)],
        [Compare(key, "create", created), Compare(key, "mod", changed), Compare(other, "create", 0)],
        [],
    ):
        assert await attempt(*holds) == (True, [b"2"])
    for fails in (
        [Compare(key, "create", 0)],
        [Compare(key, "create", changed)],
        [Compare(key, "mod", created)],
        [Compare(key, "mod", changed), Compare(other, "create", created)],
    ):
        assert await attempt(*fails) == (False, [None, b"2"])


async def test_a_transactions_operations_happen_in_their_order_at_its_revision(etcd: EtcdClient, keys: Keys) -> None:
    old, new = keys.root + "a", keys.root + "b"
    await put(etcd, old, b"1")
    result = await etcd.txn([], [Get(old), Delete(old), Get(old), Put(new, b"2", 0), Get(new), Delete(keys.meta)])
    assert outcome(result) == (True, [b"1", None, b"2"])
    assert await etcd.get(old) is None
    found = await etcd.get(new)
    assert found is not None
    assert found.create_revision == found.mod_revision == result.revision


async def test_a_transaction_that_writes_nothing_has_the_revision_of_what_it_read(etcd: EtcdClient, keys: Keys) -> None:
    revision = await put(etcd, keys.meta)
    result = await etcd.txn([Compare(keys.meta, "create", 0)], [Delete(keys.meta)], [Get(keys.meta)])
    assert (result.succeeded, result.revision) == (False, revision)


async def test_a_key_is_deleted_alone_and_it_is_said_whether_it_was_there(etcd: EtcdClient, keys: Keys) -> None:
    await etcd.txn([], [Put(keys.meta, b"", 0), Put(f"{keys.meta}2", b"", 0)])
    assert await etcd.delete(keys.meta)
    assert not await etcd.delete(keys.meta)
    assert await etcd.get(f"{keys.meta}2") is not None


async def test_a_lease_is_granted_renewed_and_revoked(etcd: EtcdClient, keys: Keys) -> None:
    lease_id, ttl_s = await etcd.grant(60)
    assert ttl_s == 60
    await put(etcd, keys.meta, b"", lease_id)
    assert await etcd.keep_alive(lease_id, timeout_s=2) == 60
    await etcd.revoke(lease_id)
    assert await etcd.get(keys.meta) is None
    assert await etcd.keep_alive(lease_id, timeout_s=2) == 0


async def test_to_revoke_a_lease_that_is_gone_is_no_error(etcd: EtcdClient) -> None:
    await etcd.revoke(NO_LEASE)


async def test_to_write_with_a_lease_that_is_gone_is_one(etcd: EtcdClient, keys: Keys) -> None:
    with pytest.raises(EtcdLeaseNotFound) as failed:
        await put(etcd, keys.meta, b"", NO_LEASE)
    assert not failed.value.outcome_unknown
    assert await etcd.get(keys.meta) is None


async def test_a_request_that_etcd_refuses_has_no_outcome(etcd: EtcdClient, keys: Keys) -> None:
    """One key twice in a transaction."""
    with pytest.raises(EtcdError) as failed:
        await etcd.txn([], [Put(keys.meta, b"1", 0), Put(keys.meta, b"2", 0)])
    assert not failed.value.outcome_unknown
    assert await etcd.get(keys.meta) is None


async def test_a_read_goes_on_to_the_next_endpoint(etcd_url: str, keys: Keys) -> None:
    async with EtcdClient([f"http://127.0.0.1:{free_port()}", etcd_url]) as etcd:
        assert await etcd.get(keys.meta) is None
        assert (await etcd.range(keys.nodes)).kvs == ()


async def test_a_read_goes_on_from_an_endpoint_that_says_nothing(etcd_url: str, keys: Keys) -> None:
    with silent_endpoint() as silent:
        async with EtcdClient([silent, etcd_url], timeout_s=0.5) as etcd:
            assert await etcd.get(keys.meta) is None


async def test_a_write_is_not_repeated_but_the_next_goes_to_the_next_endpoint(etcd_url: str, keys: Keys) -> None:
    async with EtcdClient([f"http://127.0.0.1:{free_port()}", etcd_url]) as etcd:
        with pytest.raises(EtcdUnavailable):
            await put(etcd, keys.meta)
        assert await etcd.get(keys.meta) is None
        await put(etcd, keys.meta)


async def test_a_renewal_that_fails_moves_to_the_next_endpoint(etcd_url: str) -> None:
    async with EtcdClient([etcd_url]) as other:
        lease_id, _ = await other.grant(60)
    async with EtcdClient([f"http://127.0.0.1:{free_port()}", etcd_url]) as etcd:
        with pytest.raises(EtcdUnavailable):
            await etcd.keep_alive(lease_id, timeout_s=2)
        assert await etcd.keep_alive(lease_id, timeout_s=2) == 60


async def test_a_watch_that_cannot_begin_moves_to_the_next_endpoint(etcd_url: str, keys: Keys) -> None:
    async with EtcdClient([f"http://127.0.0.1:{free_port()}", etcd_url]) as etcd:
        with pytest.raises(EtcdUnavailable):
            await until(etcd.watch(keys.nodes, Revision(1)), Revision(1))
        revision = await put(etcd, keys.nodes + "a")
        assert [batch.revision for batch in await until(etcd.watch(keys.nodes, revision), revision)] == [revision]


async def test_a_stream_that_ends_at_once_moves_to_the_next_endpoint(etcd_url: str, keys: Keys) -> None:
    async with EtcdClient([etcd_url]) as other:
        lease_id, _ = await other.grant(60)
    async with ending_endpoint() as ending:
        async with EtcdClient([ending, etcd_url]) as etcd:
            with pytest.raises(EtcdError):
                await until(etcd.watch(keys.nodes, Revision(1)), Revision(1))
            revision = await put(etcd, keys.nodes + "a")
            assert [batch.revision for batch in await until(etcd.watch(keys.nodes, revision), revision)] == [revision]
        async with EtcdClient([ending, etcd_url]) as etcd:
            with pytest.raises(EtcdError):
                await etcd.keep_alive(lease_id, timeout_s=2)
            assert await etcd.keep_alive(lease_id, timeout_s=2) == 60


async def test_calls_that_fail_together_move_on_by_one_endpoint(etcd_url: str, keys: Keys) -> None:
    dead = f"http://127.0.0.1:{free_port()}"
    async with EtcdClient([dead, etcd_url, dead]) as etcd:
        writes = [put(etcd, f"{keys.root}{i}") for i in range(5)]
        assert all(isinstance(each, EtcdUnavailable) for each in await asyncio.gather(*writes, return_exceptions=True))
        await put(etcd, keys.meta)


@pytest.mark.parametrize("endpoints", [1, 2, 3])
async def test_where_no_endpoint_answers_every_call_fails(endpoints: int, keys: Keys) -> None:
    async with EtcdClient([f"http://127.0.0.1:{free_port()}" for _ in range(endpoints)]) as etcd:
        for call in (
            etcd.get(keys.meta),
            etcd.range(keys.nodes),
            put(etcd, keys.meta),
            etcd.grant(60),
            etcd.keep_alive(1, timeout_s=1),
            etcd.revoke(1),
            until(etcd.watch(keys.nodes, Revision(1)), Revision(1)),
        ):
            with pytest.raises(EtcdUnavailable):
                await call


async def test_a_frozen_etcd_fails_calls_at_their_deadline(own_etcd: EtcdProcess, keys: Keys) -> None:
    async with EtcdClient([own_etcd.url], timeout_s=10) as patient, EtcdClient([own_etcd.url], timeout_s=0.5) as etcd:
        lease_id, _ = await patient.grant(60)
        await put(patient, keys.meta, b"before")
        await until_answered(etcd)
        own_etcd.process.freeze()
        began_s = time.monotonic()
        failures = await asyncio.gather(
            etcd.get(keys.meta),
            etcd.txn([], [Put(keys.meta, b"", 0)]),
            etcd.grant(60),
            patient.txn([], [Put(keys.meta, b"", 0)], timeout_s=0.5),
            patient.keep_alive(lease_id, timeout_s=0.5),
            patient.revoke(lease_id, timeout_s=0.5),
            return_exceptions=True,
        )
        took_s = time.monotonic() - began_s
        for failure in failures:
            assert isinstance(failure, EtcdUnavailable)
            assert failure.outcome_unknown
        assert took_s < 5
        own_etcd.process.send(signal.SIGCONT)
        await until_answered(etcd)
        await until_answered(patient)


async def test_a_client_without_endpoints_is_refused() -> None:
    with pytest.raises(ValueError, match="at least one endpoint"):
        EtcdClient([])


@pytest.mark.parametrize(
    ("endpoints", "tls"),
    [
        (["ftp://127.0.0.1:1"], None),
        (["unix:///tmp/etcd"], None),
        (["https://127.0.0.1:1"], None),
        (["http://127.0.0.1:1"], EtcdTls(b"")),
    ],
)
async def test_an_endpoint_that_does_not_go_with_the_tls_settings_is_refused(
    endpoints: Sequence[str], tls: EtcdTls | None
) -> None:
    with pytest.raises(ValueError, match=r"etcd endpoint|leave the"):
        EtcdClient(endpoints, tls=tls)


async def test_an_endpoint_may_be_given_without_a_scheme(etcd_url: str, keys: Keys) -> None:
    async with EtcdClient([etcd_url.removeprefix("http://")]) as etcd:
        assert await etcd.get(keys.meta) is None
    async with EtcdClient([etcd_url + "/"]) as etcd:
        assert await etcd.get(keys.meta) is None
