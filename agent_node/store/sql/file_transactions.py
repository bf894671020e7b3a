"""The SQL store's transactions about sessions' files, one function each, over a connection on which one has begun.

Guarantees: each write of a session's begins with the comparison of its epoch and owner, which locks the session's row.
The sweep has no such row, so it compares in the DELETE itself that nobody has touched the file: a put or a use changes
the file's row (on PostgreSQL DO NOTHING would lose it to a sweep at the same time, DO UPDATE waits for that and makes
it anew). Used by files.py.
"""

from collections.abc import Collection
from typing import Any

from sqlalchemy import Connection, bindparam, case, delete, func, select, update
from sqlalchemy.dialects import postgresql, sqlite

from agent_node.store.file_records import MOST_FILES, FileChunk
from agent_node.store.session_records import Ownership
from agent_node.store.sql.file_schema import chunks, files
from agent_node.store.sql.session_schema import of_session, session_columns, session_keys
from agent_node.store.sql.session_transactions import assert_owned
from agentring.ids import SessionRef

_EXPIRE_AT_ONCE = 50
_INSERTS: dict[str, Any] = {"sqlite": sqlite.insert, "postgresql": postgresql.insert}


def make_room(
    connection: Connection,
    ownership: Ownership,
    commit_id: str,
    digest: bytes,
    size_bytes: int,
    max_bytes: int,
    in_use: Collection[bytes],
) -> bool:
    """As FileStore."""
    assert_owned(connection, ownership, commit_id, None)
    keys = session_keys(ownership.ref)
    least = max_bytes // MOST_FILES
    counted = case((files.c.size_bytes < least, least), else_=files.c.size_bytes)
    others = of_session(files) & (files.c.digest != digest)
    stored = connection.execute(select(func.sum(counted)).where(others), keys).scalar() or 0
    left_bytes = max_bytes - max(size_bytes, least) - int(stored)
    due = []
    if left_bytes < 0:
        oldest = select(files.c.digest, counted).where(others, files.c.is_used == 1)
        for other, freed_bytes in connection.execute(oldest.order_by(files.c.touched_ns), keys).all():
            if left_bytes < 0 and other not in in_use:
                due.append(other)
                left_bytes += freed_bytes
    if left_bytes < 0:
        return False
    for other in due:
        for table in (chunks, files):
            connection.execute(delete(table).where(of_session(table), table.c.digest == other), keys)
    return True


def keep_chunk(connection: Connection, ownership: Ownership, commit_id: str, chunk: FileChunk, now_ns: int) -> None:
    """As FileStore."""
    assert_owned(connection, ownership, commit_id, None)
    insert = _INSERTS[connection.dialect.name]
    names = session_columns(ownership.ref) | {"digest": chunk.digest}
    row = insert(files).values(
        **names,
        size_bytes=chunk.size_bytes,
        is_whole=int(chunk.is_last),
        is_used=int(chunk.is_used),
        touched_ns=now_ns,
    )
    touched = row.on_conflict_do_update(
        index_elements=[files.c.tenant, files.c.session_id, files.c.digest],
        set_={
            "is_whole": _either(files.c.is_whole, row.excluded.is_whole),
            "is_used": _either(files.c.is_used, row.excluded.is_used),
            "touched_ns": row.excluded.touched_ns,
        },
    )
    connection.execute(touched)
    piece = insert(chunks).values(**names, number=chunk.number, data=chunk.data)
    connection.execute(piece.on_conflict_do_nothing())


def use(
    connection: Connection, ownership: Ownership, commit_id: str, digests: Collection[bytes], now_ns: int
) -> dict[bytes, int]:
    """As FileStore."""
    assert_owned(connection, ownership, commit_id, None)
    keys = session_keys(ownership.ref)
    whole = select(files.c.digest, files.c.size_bytes).where(of_session(files), files.c.is_whole == 1)
    there = connection.execute(whole.where(files.c.digest.in_(digests)), keys).all()
    found = {bytes(digest): int(size_bytes) for digest, size_bytes in there}
    if len(found) < len(set(digests)):
        return found
    one = update(files).where(of_session(files), files.c.digest == bindparam("k_digest"))
    using = one.values(is_used=1, touched_ns=now_ns)
    for digest in sorted(found):
        if connection.execute(using, keys | {"k_digest": digest}).rowcount != 1:
            del found[digest]  # the sweep has removed it meanwhile
    return found


def size(connection: Connection, ref: SessionRef, digest: bytes) -> int | None:
    """As FileStore."""
    whole = select(files.c.size_bytes).where(of_session(files), files.c.digest == digest, files.c.is_whole == 1)
    found: int | None = connection.execute(whole, session_keys(ref)).scalar()
    return found


def read_chunk(connection: Connection, ref: SessionRef, digest: bytes, number: int) -> bytes | None:
    """As FileStore."""
    piece = select(chunks.c.data).where(of_session(chunks), chunks.c.digest == digest, chunks.c.number == number)
    data: bytes | None = connection.execute(piece, session_keys(ref)).scalar()
    return data


def expire(connection: Connection, before_ns: int) -> int:
    """Removes some files that no turn has used since then."""
    is_due = (files.c.is_used == 0) & (files.c.touched_ns < before_ns)
    due = connection.execute(
        select(files.c.tenant, files.c.session_id, files.c.digest).where(is_due).limit(_EXPIRE_AT_ONCE)
    ).all()
    count = 0
    for tenant, session_id, digest in due:
        keys = {"k_tenant": tenant, "k_session_id": session_id}
        # Invariant: what was used or put meanwhile stays (tests/unit/agent_node/store/test_file_store.py).
        removed = connection.execute(delete(files).where(of_session(files), files.c.digest == digest, is_due), keys)
        if removed.rowcount == 1:
            connection.execute(delete(chunks).where(of_session(chunks), chunks.c.digest == digest), keys)
            count += 1
    return count


def _either(old: Any, new: Any) -> Any:
    return case((old == 1, 1), else_=new)
