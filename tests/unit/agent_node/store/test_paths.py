"""A path is a path: whatever is in it, the store's file is there and nowhere else."""

from collections.abc import Awaitable, Callable
from pathlib import Path

import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from agent_node.settings import NodeSettings
from agent_node.store.opening import check_url, open_store
from agent_node.store.sql.sessions import SqlStore
from agentring.settings import load
from harness.stored_turns import HERE

OpenSql = Callable[..., Awaitable[SqlStore]]
NAMES = ["run?a", "run%41", "run%", "run#a", "a b", "zoë", "x&y=z;w", "file:run", "?", ":memory:", "a@b:c", "'\"\\"]
PART = st.text(st.characters(exclude_characters="/\0", exclude_categories=["Cs"]), min_size=1, max_size=12).filter(
    lambda name: name not in (".", "..") and len(name.encode()) < 100
)


def made(directory: Path) -> list[str]:
    return sorted(str(path.relative_to(directory)) for path in directory.rglob("*") if path.is_file())


@pytest.mark.parametrize("name", NAMES)
async def test_the_file_is_where_the_url_says(tmp_path: Path, open_sql: OpenSql, name: str) -> None:
    await open_sql(check_url(f"sqlite:///{tmp_path}/{name}/store.db"))
    assert made(tmp_path) == [f"{name}/store.db{end}" for end in ("", "-lock", "-shm", "-turn", "-wal")]


@pytest.mark.parametrize("name", NAMES)
async def test_a_relative_one_too(
    tmp_path: Path, open_sql: OpenSql, name: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.chdir(tmp_path)
    await open_sql(check_url(f"sqlite:///{name}"))
    assert made(tmp_path) == [name, *(f"{name}-{end}" for end in ("lock", "shm", "turn", "wal"))]


async def test_directories_that_differ_after_a_question_mark_do_not_meet(tmp_path: Path, open_sql: OpenSql) -> None:
    stores = []
    for name in ("run?a", "run?b", "run"):
        flags = ["--node-id=n1", f"--data-dir={tmp_path / name / 'nodes' / 'n1'}"]
        node = load(NodeSettings, flags, program="test")
        stores.append(await open_sql(node.store_url))
    assert len({store.uuid for store in stores}) == 3
    assert [name for name in made(tmp_path) if name.endswith(".db")] == [
        "run/nodes/store.db",
        "run?a/nodes/store.db",
        "run?b/nodes/store.db",
    ]


@settings(max_examples=30, suppress_health_check=[HealthCheck.function_scoped_fixture])
@given(name=PART)
async def test_any_name(tmp_path: Path, name: str) -> None:
    store = await open_store(f"sqlite:///{tmp_path}/{name}", HERE, timeout_s=5.0, max_history_turns=1)
    assert store is not None
    try:
        assert (tmp_path / name).is_file()
    finally:
        await store.close()
        left = made(tmp_path)
        for each in left:
            (tmp_path / each).unlink()
    assert left == [name, f"{name}-lock", f"{name}-turn"]
