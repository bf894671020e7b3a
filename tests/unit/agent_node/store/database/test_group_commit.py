"""Group commit: who shares a transaction, and who is told what."""

import asyncio
import threading
from collections.abc import AsyncIterator

import pytest

from agent_node.store.database.group_commit import GroupCommit, Outcome, Take, Work, work_off
from agentring.errors import StaleEpoch, StoreUnavailable

TIMEOUT_S = 5.0


class Database:
    """A list; a transaction is undone if it breaks."""

    def __init__(self) -> None:
        self.rows: list[int] = []
        self.groups: list[int] = []
        """How many works each transaction that was tried had."""
        self.failure: Exception | None = None
        self.begun, self.go = threading.Event(), threading.Event()
        self.go.set()
        self.locked = threading.Event()
        """Whoever else had the lock has given it up."""
        self.locked.set()

    def commit(self, take: Take[list[int]]) -> list[Outcome]:
        self.locked.wait()
        works = take()
        self.groups.append(len(works))
        self.begun.set()
        self.go.wait()
        if self.failure is not None:
            raise self.failure
        before = list(self.rows)
        try:
            return work_off(self.rows, works)
        except BaseException:
            self.rows[:] = before
            raise


@pytest.fixture
def database() -> Database:
    return Database()


@pytest.fixture
async def writer(database: Database) -> AsyncIterator[GroupCommit[list[int]]]:
    group_commit: GroupCommit[list[int]] = GroupCommit(database.commit, TIMEOUT_S)
    yield group_commit
    database.go.set()
    await group_commit.close()


def add(number: int) -> Work[list[int]]:
    def work(rows: list[int]) -> int:
        rows.append(number)
        return number

    return work


def refuse(_rows: list[int]) -> None:
    raise StaleEpoch


def break_it(rows: list[int]) -> None:
    rows.append(-1)
    raise ValueError("broken")


async def gathered(writer: GroupCommit[list[int]], database: Database, *works: Work[list[int]]) -> list[object]:
    """The works' outcomes, all but the first having come while that was being committed."""
    database.go.clear()
    first = asyncio.create_task(writer.transact(works[0]))
    await asyncio.to_thread(database.begun.wait)
    rest = [asyncio.create_task(writer.transact(work)) for work in works[1:]]
    await asyncio.sleep(0)
    database.go.set()
    return list(await asyncio.gather(first, *rest, return_exceptions=True))


async def test_what_comes_meanwhile_shares_the_next_transaction_in_its_order(
    writer: GroupCommit[list[int]], database: Database
) -> None:
    assert await gathered(writer, database, *(add(number) for number in range(10))) == list(range(10))
    assert database.groups == [1, 9]
    assert database.rows == list(range(10))


async def test_a_refusal_fails_alone(writer: GroupCommit[list[int]], database: Database) -> None:
    outcomes = await gathered(writer, database, add(0), add(1), refuse, add(3))
    assert outcomes[:2] + outcomes[3:] == [0, 1, 3]
    assert isinstance(outcomes[2], StaleEpoch)
    assert database.groups == [1, 3]


async def test_what_breaks_a_group_is_found_by_trying_each(writer: GroupCommit[list[int]], database: Database) -> None:
    outcomes = await gathered(writer, database, add(0), add(1), break_it, add(3))
    assert outcomes[:2] + outcomes[3:] == [0, 1, 3]
    assert isinstance(outcomes[2], ValueError)
    assert database.groups == [1, 3, 1, 1, 1]
    assert database.rows == [0, 1, 3]


async def test_an_unusable_database_is_told_to_all_and_tried_once(
    writer: GroupCommit[list[int]], database: Database
) -> None:
    database.failure = StoreUnavailable()
    outcomes = await gathered(writer, database, add(0), add(1), add(2))
    assert [type(outcome) for outcome in outcomes] == [StoreUnavailable] * 3
    assert database.groups == [1, 2]
    database.failure = None
    assert await writer.transact(add(4)) == 4


async def test_whoever_went_away_before_their_turn_writes_nothing(
    writer: GroupCommit[list[int]], database: Database
) -> None:
    database.go.clear()
    first = asyncio.create_task(writer.transact(add(0)))
    await asyncio.to_thread(database.begun.wait)
    gone = asyncio.create_task(writer.transact(add(1)))
    await asyncio.sleep(0)
    gone.cancel()
    await asyncio.wait([gone])
    database.go.set()
    await first
    assert await writer.transact(add(2)) == 2
    assert database.rows == [0, 2]


async def test_a_wait_has_a_deadline(database: Database) -> None:
    writer: GroupCommit[list[int]] = GroupCommit(database.commit, 0.02)
    database.go.clear()
    with pytest.raises(StoreUnavailable):
        await writer.transact(add(0))
    database.go.set()
    await writer.close()


async def test_what_comes_while_others_have_the_lock_shares_the_transaction(
    writer: GroupCommit[list[int]], database: Database
) -> None:
    database.locked.clear()
    works = [asyncio.create_task(writer.transact(add(number))) for number in range(10)]
    await asyncio.sleep(0)
    assert database.groups == []
    database.locked.set()
    assert await asyncio.gather(*works) == list(range(10))
    assert database.groups == [10]


async def test_only_who_has_waited_for_a_lock_in_vain_is_told_so(database: Database) -> None:
    calls: list[int] = []
    begun, over = threading.Event(), threading.Event()

    def commit(take: Take[list[int]]) -> list[Outcome]:
        calls.append(1)
        if len(calls) == 2:
            begun.set()
            over.wait()
            raise StoreUnavailable
        return database.commit(take)

    writer: GroupCommit[list[int]] = GroupCommit(commit, TIMEOUT_S)
    database.go.clear()
    ahead = asyncio.create_task(writer.transact(add(-1)))
    await asyncio.to_thread(database.begun.wait)  # both of those that come now are there when the next group begins
    gone, waits = (asyncio.create_task(writer.transact(add(0))) for _ in range(2))
    await asyncio.sleep(0)
    database.go.set()
    await asyncio.to_thread(begun.wait)
    gone.cancel()  # who has gone is not counted among them
    second = asyncio.create_task(writer.transact(add(1)))
    await asyncio.sleep(0)
    over.set()
    assert await ahead == -1
    with pytest.raises(StoreUnavailable):
        await waits
    assert await second == 1
    await writer.close()


async def test_each_of_many_that_come_one_by_one_is_carried_out(
    writer: GroupCommit[list[int]], database: Database
) -> None:
    """The thread rests and is woken again and again, at any moment of its own."""
    for number in range(500):
        assert await writer.transact(add(number)) == number
    assert database.rows == list(range(500))


async def test_each_wait_ends_at_its_own_deadline(database: Database) -> None:
    writer: GroupCommit[list[int]] = GroupCommit(database.commit, 0.05)
    database.go.clear()
    first = asyncio.create_task(writer.transact(add(0)))
    await asyncio.to_thread(database.begun.wait)
    second = asyncio.create_task(writer.transact(add(1)))
    for each in (first, second):
        with pytest.raises(StoreUnavailable):
            await each
    database.go.set()
    assert await writer.transact(add(2)) == 2
    await writer.close()
    assert database.rows == [0, 2]


async def test_who_comes_when_it_is_closed_is_refused_at_once(database: Database) -> None:
    writer: GroupCommit[list[int]] = GroupCommit(database.commit, 60)
    assert await writer.transact(add(0)) == 0
    await writer.close()
    async with asyncio.timeout(TIMEOUT_S):
        with pytest.raises(StoreUnavailable):
            await writer.transact(add(1))
    assert database.rows == [0]


async def test_what_waits_is_carried_out_before_it_is_closed_by_whoever_closes_it(database: Database) -> None:
    writer: GroupCommit[list[int]] = GroupCommit(database.commit, 60)
    database.go.clear()
    first = asyncio.create_task(writer.transact(add(0)))
    await asyncio.to_thread(database.begun.wait)
    second = asyncio.create_task(writer.transact(add(1)))
    impatient, *closing = (asyncio.create_task(writer.close()) for _ in range(3))
    await asyncio.sleep(0)
    impatient.cancel()
    await asyncio.wait([impatient])
    database.go.set()
    async with asyncio.timeout(TIMEOUT_S):
        assert await asyncio.gather(first, second, *closing) == [0, 1, None, None]
    assert database.rows == [0, 1]


@pytest.mark.parametrize("raised", [SystemExit, StopIteration])
async def test_nothing_that_a_work_raises_stops_the_writer(database: Database, raised: type[BaseException]) -> None:
    def leave(_rows: list[int]) -> None:
        raise raised

    writer: GroupCommit[list[int]] = GroupCommit(database.commit, 0.2)
    with pytest.raises(StoreUnavailable):
        await writer.transact(leave)
    async with asyncio.timeout(TIMEOUT_S):
        assert await writer.transact(add(1)) == 1
        await writer.close()
    assert database.rows == [1]


async def test_a_thread_that_cannot_be_had_is_asked_for_again(
    database: Database, monkeypatch: pytest.MonkeyPatch
) -> None:
    writer: GroupCommit[list[int]] = GroupCommit(database.commit, 60)
    failed = asyncio.Event()
    asyncio.get_running_loop().set_exception_handler(lambda _loop, _context: failed.set())

    def start(_thread: threading.Thread) -> None:
        raise RuntimeError("can't start new thread")

    with monkeypatch.context() as patched:
        patched.setattr(threading.Thread, "start", start)
        first = asyncio.create_task(writer.transact(add(0)))
        await failed.wait()
    assert await writer.transact(add(1)) == 1
    assert await first == 0
    async with asyncio.timeout(TIMEOUT_S):
        await writer.close()
    assert database.rows == [0, 1]


def test_a_loop_that_is_closed_meanwhile_stops_the_writer_no_more(database: Database) -> None:
    writer: GroupCommit[list[int]] = GroupCommit(database.commit, TIMEOUT_S)

    async def leave() -> None:
        database.go.clear()
        asyncio.get_running_loop().create_task(writer.transact(add(0)))
        await asyncio.to_thread(database.begun.wait)

    asyncio.run(leave())
    (thread,) = [each for each in threading.enumerate() if each.name == "store-writer"]
    database.go.set()
    writer._orders.put(None)
    thread.join(TIMEOUT_S)
    assert not thread.is_alive()  # it came to what was ordered next
    assert database.rows == [0]
