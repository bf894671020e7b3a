"""Who may read what a node and a cluster keep: their owner alone, also where more was allowed before."""

import os
import sqlite3
import stat
from collections.abc import Iterator
from pathlib import Path

import pytest

from agent_node.audit import FileAuditLog
from agent_node.lifecycle.data_dir import DataDir
from agentring.ids import NodeId
from agentring.process import private_files


@pytest.fixture(autouse=True, params=[0o000, 0o022, 0o077])
def _umask(request: pytest.FixtureRequest) -> Iterator[None]:
    before = os.umask(request.param)
    yield
    os.umask(before)


def mode(path: Path) -> int:
    return stat.S_IMODE(path.stat().st_mode)


def test_directories_are_made_for_the_owner_alone_and_tightened(tmp_path: Path) -> None:
    path = tmp_path / "a" / "b"
    private_files.make_directory(path)
    assert (mode(path), mode(path.parent)) == (0o700, 0o700)
    path.chmod(0o755)
    private_files.make_directory(path)
    assert mode(path) == 0o700


def test_a_directory_above_that_is_there_is_left_as_it_is(tmp_path: Path) -> None:
    tmp_path.chmod(0o755)
    private_files.make_directory(tmp_path / "a")
    assert mode(tmp_path) == 0o755


def test_a_file_is_no_directory(tmp_path: Path) -> None:
    (tmp_path / "file").touch()
    for path in (tmp_path / "file", tmp_path / "file" / "below"):
        with pytest.raises(OSError, match="file"):
            private_files.make_directory(path)


def test_files_are_written_for_the_owner_alone_and_tightened(tmp_path: Path) -> None:
    path = tmp_path / "file"
    for text in ("longer", "text"):
        private_files.write_text(path, text)
        assert (path.read_text(), mode(path)) == (text, 0o600)
        path.chmod(0o644)


def test_a_database_and_its_log_are_the_owners_alone(tmp_path: Path) -> None:
    path = tmp_path / "store.db"
    private_files.make_database(path)
    with sqlite3.connect(path) as connection:
        connection.execute("PRAGMA journal_mode = WAL")
        connection.execute("CREATE TABLE t (x)")
        connection.commit()
        files = sorted(tmp_path.iterdir())
        assert [file.name for file in files] == ["store.db", "store.db-shm", "store.db-wal"]
        assert {mode(file) for file in files} == {0o600}
        for file in files:
            file.chmod(0o666)
        private_files.make_database(path)  # of an earlier release
        assert {mode(file) for file in files} == {0o600}
    connection.close()


def test_a_nodes_directory_and_audit_log_are_its_owners_alone(tmp_path: Path) -> None:
    old = tmp_path / "n1"
    old.mkdir()
    old.chmod(0o755)
    (old / "lock").touch()
    (old / "lock").chmod(0o644)
    with DataDir(old):
        assert mode(old) == 0o700
        assert {mode(file) for file in old.iterdir()} == {0o600}
    audit = FileAuditLog(tmp_path / "audit", NodeId("n1"))
    audit.close()
    assert mode(tmp_path / "audit") == 0o600


def test_a_device_is_no_file_of_ours(tmp_path: Path) -> None:
    before = Path(os.devnull).stat().st_mode
    os.close(private_files.open_file(Path(os.devnull), os.O_WRONLY))
    assert Path(os.devnull).stat().st_mode == before
