"""Transactions that travel together: each by its own compares, none at another's cost."""

import asyncio
from collections.abc import AsyncIterator, Sequence

import pytest_asyncio
from grpc import StatusCode

from agentring.cluster.etcd.errors import EtcdError, EtcdUnavailable
from agentring.cluster.etcd.types import Compare, Get, Put, Txn, TxnResult
from agentring.cluster.group_commit import GroupCommit
from harness.clock import FakeClock
from harness.fake_etcd import FakeEtcd
from harness.tasks import own_tasks


class Network:
    """A fake etcd, what was sent to it, and a line to it."""

    def __init__(self, tasks: asyncio.TaskGroup, *, timeout_s: float = 5.0) -> None:
        self.etcd = FakeEtcd(FakeClock())
        self.line = GroupCommit(self.etcd.client(), tasks, timeout_s=timeout_s, max_group=3)

    def begin(self, key: str, txn: Txn) -> asyncio.Task[TxnResult]:
        return asyncio.create_task(self.line.commit(key, txn))

    async def sent(self) -> list[str]:
        """The requests on their way."""
        for _ in range(10):
            await asyncio.sleep(0)
        return [request.name for request in self.etcd.requests]

    async def answer(self, index: int = 0) -> None:
        """Carries out and answers one of them, the oldest unless told."""
        await self.sent()
        request = self.etcd.requests.pop(index)
        request.apply()
        request.reply()
        for _ in range(10):
            await asyncio.sleep(0)

    def refuse(self, error: EtcdError) -> None:
        request = self.etcd.requests.pop()
        request.answer.set_exception(error)


@pytest_asyncio.fixture
async def network() -> AsyncIterator[Network]:
    async with own_tasks() as tasks:
        yield Network(tasks)


def put(key: str, *, absent: bool = True) -> Txn:
    return Txn((Compare(key, "create", 0 if absent else 99),), (Put(key, b"v", 0),), (Get(key),))


async def results(tasks: Sequence[asyncio.Task[TxnResult]]) -> list[TxnResult]:
    async with asyncio.timeout(10):
        return await asyncio.gather(*tasks)


async def test_a_lone_one_goes_at_once_and_what_comes_meanwhile_goes_together(network: Network) -> None:
    first = network.begin("a", put("a"))
    assert await network.sent() == ["txn"]
    others = [network.begin(key, put(key)) for key in "bc"]
    assert await network.sent() == ["txn"]
    await network.answer()
    assert await network.sent() == ["txn_of_all"]
    await network.answer()
    one, *rest = await results([first, *others])
    assert one.succeeded
    assert {result.revision for result in rest} == {one.revision + 1}


async def test_only_a_full_group_goes_while_another_one_is_under_way_and_two_at_most(network: Network) -> None:
    tasks = [network.begin("a", put("a")), *(network.begin(key, put(key)) for key in "bc")]
    await network.sent()
    tasks += [network.begin(key, put(key)) for key in "de"]
    assert await network.sent() == ["txn_of_all"]
    tasks += [network.begin(key, put(key)) for key in "fghi"]
    assert await network.sent() == ["txn_of_all"] * 2
    await network.answer(1)
    assert [task.done() for task in tasks] == [False] * 3 + [True] * 3 + [False] * 3
    assert await network.sent() == ["txn_of_all"] * 2
    await network.answer()
    await network.answer()
    assert all(result.succeeded for result in await results(tasks))


async def test_a_group_is_no_larger_than_allowed(network: Network) -> None:
    tasks = [network.begin(key, put(key)) for key in "abcdefg"]
    for left in (4, 1, 0):
        await network.answer()
        assert sum(not task.done() for task in tasks) == left
    assert all(result.succeeded for result in await results(tasks))


async def test_each_succeeds_or_fails_by_its_own_compares(network: Network) -> None:
    tasks = [network.begin("a", put("a")), network.begin("b", put("b", absent=False)), network.begin("c", put("c"))]
    assert await network.sent() == ["txn_of_all"]
    await network.answer()
    assert network.etcd.kvs == {}  # all or nothing
    assert await network.sent() == ["txns"]
    await network.answer()
    assert [result.succeeded for result in await results(tasks)] == [True, False, True]
    assert set(network.etcd.kvs) == {"a", "c"}


async def test_after_a_failure_groups_are_nested_until_one_comes_through_whole(network: Network) -> None:
    kinds = []
    for round_number, absent in enumerate([True, False, False, True, True]):
        keys = f"a{round_number}", f"b{round_number}"
        tasks = [network.begin(keys[0], put(keys[0])), network.begin(keys[1], put(keys[1], absent=absent))]
        while names := await network.sent():
            kinds += names
            await network.answer()
        assert [result.succeeded for result in await results(tasks)] == [True, absent]
    assert kinds == ["txn_of_all", "txn_of_all", "txns", "txns", "txns", "txn_of_all"]


async def test_what_was_not_written_as_one_is_unknown_once_it_was_sent_again(network: Network) -> None:
    tasks = [network.begin("a", put("a")), network.begin("b", put("b", absent=False))]
    await network.answer()
    assert await network.sent() == ["txns"]
    network.refuse(EtcdUnavailable(outcome_unknown=True))
    failures = await asyncio.gather(*tasks, return_exceptions=True)
    assert [getattr(failure, "outcome_unknown", None) for failure in failures] == [True, True]


async def test_two_on_one_key_keep_their_order_and_never_share_a_group(network: Network) -> None:
    tasks = [network.begin("a", put("a")), network.begin("a", put("a")), network.begin("b", put("b"))]
    await network.answer()
    assert [task.done() for task in tasks] == [True, False, True]
    await network.answer()
    assert [result.succeeded for result in await results(tasks)] == [True, False, True]


async def test_two_on_one_key_are_never_under_way_at_once(network: Network) -> None:
    """Else the second one could reach etcd first."""
    first = [network.begin(key, put(key)) for key in "abc"]
    await network.sent()
    again, *others = [network.begin(key, put(key)) for key in "adef"]
    assert await network.sent() == ["txn_of_all"] * 2
    await network.answer(1)
    assert all(result.succeeded for result in await results(others))
    assert await network.sent() == ["txn_of_all"]
    assert not again.done()
    await network.answer()
    assert all(result.succeeded for result in await results(first))
    assert await network.sent() == ["txn"]
    await network.answer()
    assert not (await again).succeeded


async def test_a_group_that_is_refused_as_a_whole_goes_one_by_one(network: Network) -> None:
    tasks = [network.begin(key, put(key)) for key in "ab"]
    assert await network.sent() == ["txn_of_all"]
    network.refuse(EtcdError(code=StatusCode.INVALID_ARGUMENT))
    for _ in tasks:
        assert await network.sent() == ["txn"]
        await network.answer()
    assert all(result.succeeded for result in await results(tasks))


async def test_what_became_too_old_before_its_turn_alone_is_not_sent() -> None:
    async with own_tasks() as tasks:
        network = Network(tasks, timeout_s=0.05)
        hung, late = (network.begin(key, put(key)) for key in "ab")
        assert await network.sent() == ["txn_of_all"]
        network.refuse(EtcdError(code=StatusCode.INVALID_ARGUMENT))
        assert await network.sent() == ["txn"]
        async with asyncio.timeout(10):
            failures = await asyncio.gather(hung, late, return_exceptions=True)
        assert [getattr(failure, "outcome_unknown", None) for failure in failures] == [True, False]


async def test_who_stops_waiting_ends_nobody_elses_wait(network: Network) -> None:
    first, gone, other = (network.begin(key, put(key)) for key in "abc")
    await network.sent()
    gone.cancel()
    await network.answer()
    assert [result.succeeded for result in await results([first, other])] == [True, True]
    assert gone.cancelled()
    assert "b" in network.etcd.kvs  # it was on its way


async def test_what_nobody_waits_for_any_more_is_not_sent(network: Network) -> None:
    first = network.begin("a", put("a"))
    await network.sent()
    gone = network.begin("b", put("b"))
    await asyncio.sleep(0)
    gone.cancel()
    await network.answer()
    assert (await first).succeeded
    await asyncio.sleep(0)
    assert network.etcd.requests == []
    assert "b" not in network.etcd.kvs


async def test_without_an_answer_in_time_the_outcome_is_unknown_of_what_was_sent() -> None:
    async with own_tasks() as tasks:
        line = GroupCommit(FakeEtcd(FakeClock()).client(), tasks, timeout_s=0.05, max_group=2)
        calls = [line.commit(key, put(key)) for key in "abcdefgh"]
        failures = await asyncio.gather(*calls, return_exceptions=True)
    assert [getattr(failure, "outcome_unknown", None) for failure in failures] == [True] * 4 + [False] * 4


async def test_when_the_node_ends_what_was_sent_is_unknown_and_what_waits_has_not_happened() -> None:
    calls: list[asyncio.Task[TxnResult]] = []
    sent = asyncio.Event()

    async def node() -> None:
        async with asyncio.TaskGroup() as tasks:
            network = Network(tasks)
            calls.extend(network.begin(key, put(key)) for key in "abcdefgh")
            assert await network.sent() == ["txn_of_all"] * 2
            sent.set()
            await asyncio.Event().wait()

    running = asyncio.create_task(node())
    await asyncio.wait_for(sent.wait(), 10)
    running.cancel()
    async with asyncio.timeout(10):
        failures = await asyncio.gather(*calls, return_exceptions=True)
    assert [getattr(failure, "outcome_unknown", None) for failure in failures] == [True] * 6 + [False] * 2
