"""What every store promises of files: there only whole, within their bound, and safe from the sweep once used."""

import asyncio
from collections.abc import Awaitable, Callable
from hashlib import sha256

import pytest

from agent_node.store import MemoryStore, Ownership, Store
from agent_node.store.clock import VolatileClock
from agent_node.store.file_records import CHUNK_BYTES, MOST_FILES, UNUSED_S, FileChunk
from agent_node.store.sql.sessions import SqlStore
from agentring.errors import StaleEpoch
from harness.clock import FakeClock
from harness.stored_steps import SESSION
from harness.stored_turns import epoch

PassTime = Callable[[float], Awaitable[None]]
OpenSql = Callable[..., Awaitable[SqlStore]]
OWNER = Ownership(SESSION, epoch(1), "n1/1")
MOST = 100


@pytest.fixture
async def store(url: str, open_sql: OpenSql, clock: FakeClock) -> Store:
    """With one session."""
    memory = url == "memory:"
    made: Store = MemoryStore(max_history_turns=3, clock=VolatileClock(clock)) if memory else await open_sql(url)
    await made.activate(OWNER, "echo")
    return made


def chunk(data: bytes, *, is_used: bool = False) -> FileChunk:
    return FileChunk(sha256(data).digest(), len(data), 0, data, is_used)


async def names(store: Store, *contents: bytes) -> list[bytes]:
    """Those of the files that are there."""
    found = []
    for data in contents:
        if await store.files.size(SESSION, sha256(data).digest()) == len(data):
            found.append(data)
    return found


async def test_a_file_is_there_once_its_last_piece_is(store: Store) -> None:
    data = b"x" * CHUNK_BYTES + b"rest"
    digest = sha256(data).digest()
    pieces = [FileChunk(digest, len(data), 0, data[:CHUNK_BYTES]), FileChunk(digest, len(data), 1, b"rest")]
    await store.files.keep_chunk(OWNER, pieces[0])
    assert await store.files.size(SESSION, digest) is None
    assert not await store.files.use(OWNER, [digest])
    for piece in (pieces[1], pieces[0]):  # and once more, as by a client that tries again
        await store.files.keep_chunk(OWNER, piece)
    assert await store.files.size(SESSION, digest) == len(data)
    read = [await store.files.read_chunk(SESSION, digest, number) for number in range(3)]
    assert read == [data[:CHUNK_BYTES], b"rest", None]


async def test_an_empty_file_is_one(store: Store) -> None:
    await store.files.keep_chunk(OWNER, chunk(b""))
    assert await names(store, b"") == [b""]


async def test_files_are_used_all_or_none(store: Store, pass_time: PassTime) -> None:
    await store.files.keep_chunk(OWNER, chunk(b"here"))
    here, away = sha256(b"here").digest(), sha256(b"away").digest()
    assert await store.files.use(OWNER, {here, away}) == {here: 4}
    await pass_time(2 * UNUSED_S)
    assert await store.files.expire(UNUSED_S) == 1  # what was refused is no use


async def test_a_file_that_was_begun_does_not_count_twice(store: Store) -> None:
    data = b"x" * CHUNK_BYTES + b"rest"
    begun = FileChunk(sha256(data).digest(), len(data), 0, data[:CHUNK_BYTES])
    await store.files.keep_chunk(OWNER, begun)
    assert await store.files.make_room(OWNER, begun.digest, len(data), len(data), [])
    assert not await store.files.make_room(OWNER, chunk(b"another").digest, 1, len(data), [])


async def test_small_files_are_not_too_many(store: Store) -> None:
    data = [bytes([number]) for number in range(3)]
    for each in data[:2]:
        await store.files.keep_chunk(OWNER, chunk(each))
    most = MOST_FILES * 1_000_000
    assert await store.files.make_room(OWNER, chunk(data[2]).digest, most - 2_000_000, most, [])
    assert not await store.files.make_room(OWNER, chunk(data[2]).digest, most - 1_999_999, most, [])


async def test_room_is_made_by_what_was_used_longest_ago(store: Store, pass_time: PassTime) -> None:
    a, b, c, new = (letter * 30 for letter in (b"a", b"b", b"c", b"n"))
    for data in (a, b, c):
        await store.files.keep_chunk(OWNER, chunk(data, is_used=True))
        await pass_time(4)
    await store.files.use(OWNER, [chunk(a).digest])
    assert await store.files.make_room(OWNER, chunk(new).digest, len(new), MOST, [chunk(b).digest])
    assert await names(store, a, b, c) == [a, b]


async def test_what_is_in_use_or_waits_for_its_turn_is_not_removed_for_another(store: Store) -> None:
    used, waiting = b"u" * 50, b"w" * 50
    await store.files.keep_chunk(OWNER, chunk(used, is_used=True))
    await store.files.keep_chunk(OWNER, chunk(waiting))
    assert not await store.files.make_room(OWNER, chunk(b"n").digest, 1, MOST, [chunk(used).digest])
    assert await names(store, used, waiting) == [used, waiting]
    assert await store.files.make_room(OWNER, chunk(b"n").digest, 1, MOST, [])
    assert await names(store, used, waiting) == [waiting]


async def test_what_no_turn_has_used_expires(store: Store, pass_time: PassTime) -> None:
    await store.files.keep_chunk(OWNER, chunk(b"used"))
    await store.files.use(OWNER, [chunk(b"used").digest])
    await store.files.keep_chunk(OWNER, chunk(b"unused"))
    await store.files.keep_chunk(OWNER, FileChunk(sha256(b"half").digest(), 9, 0, b"half"))
    await pass_time(UNUSED_S - 60)
    assert await store.files.expire(UNUSED_S) == 0
    await store.files.keep_chunk(OWNER, chunk(b"late"))
    await pass_time(180)
    assert await store.files.expire(UNUSED_S) == 2
    assert await store.files.expire(UNUSED_S) == 0
    assert await names(store, b"used", b"unused", b"late") == [b"used", b"late"]
    assert await store.files.read_chunk(SESSION, chunk(b"unused").digest, 0) is None


async def test_a_file_that_is_put_while_it_expires_is_there_or_is_made_anew(store: Store, pass_time: PassTime) -> None:
    for data in (b"one", b"two", b"three", b"four"):
        for kept in (data, b"left"):
            await store.files.keep_chunk(OWNER, chunk(kept))
        await pass_time(60)
        expired, _ = await asyncio.gather(store.files.expire(30), store.files.keep_chunk(OWNER, chunk(data)))
        assert expired in (1, 2)
        assert await store.files.use(OWNER, [chunk(data).digest]) == {chunk(data).digest: len(data)}
        assert await store.files.read_chunk(SESSION, chunk(data).digest, 0) == data


async def test_who_does_not_own_the_session_changes_nothing(store: Store) -> None:
    await store.activate(Ownership(SESSION, epoch(2), "n2/1"), "echo")
    with pytest.raises(StaleEpoch):
        await store.files.keep_chunk(OWNER, chunk(b"stale"))
    with pytest.raises(StaleEpoch):
        await store.files.use(OWNER, [chunk(b"stale").digest])
    with pytest.raises(StaleEpoch):
        await store.files.make_room(OWNER, chunk(b"n").digest, 1, MOST, [])
    assert await names(store, b"stale") == []


async def test_files_go_with_their_session(store: Store, pass_time: PassTime) -> None:
    await store.files.keep_chunk(OWNER, chunk(b"kept", is_used=True))
    await store.close_session(OWNER, 0)
    if store.durable:
        await pass_time(60)
        assert await store.expire_closed(1.0) == 1
    else:
        await store.release(OWNER, 0, 0)
    assert await names(store, b"kept") == []
    assert await store.files.read_chunk(SESSION, chunk(b"kept").digest, 0) is None
