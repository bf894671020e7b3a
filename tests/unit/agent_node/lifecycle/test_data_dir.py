"""A node's directory: one process at a time, the same uuid for ever."""

import subprocess
import sys
import uuid
from pathlib import Path

import pytest

from agent_node.lifecycle.data_dir import DataDir, DataDirInUse, boot_id

ELSEWHERE = """
import sys
from pathlib import Path
from agent_node.lifecycle.data_dir import DataDir, DataDirInUse
try:
    print(DataDir(Path(sys.argv[1])).uuid)
except DataDirInUse as error:
    print(error)
"""


def elsewhere(path: Path) -> str:
    """What another process makes of the directory."""
    run = subprocess.run([sys.executable, "-c", ELSEWHERE, str(path)], capture_output=True, text=True, check=True)
    return run.stdout.strip()


def test_it_is_made_with_a_uuid_that_stays(tmp_path: Path) -> None:
    path = tmp_path / "deep" / "node"
    with DataDir(path) as first:
        assert str(uuid.UUID(first.uuid)) == first.uuid
    with DataDir(path) as second:
        assert second.uuid == first.uuid
    with DataDir(tmp_path / "another") as other:
        assert other.uuid != first.uuid
    assert sorted(file.name for file in path.iterdir()) == ["lock", "uuid"]


def test_one_at_a_time_may_use_it(tmp_path: Path) -> None:
    with DataDir(tmp_path) as held:
        with pytest.raises(DataDirInUse, match="in use by another process"):
            DataDir(tmp_path)
        assert elsewhere(tmp_path) == f"data directory {str(tmp_path)!r} is in use by another process"
    assert elsewhere(tmp_path) == held.uuid
    with DataDir(tmp_path) as again:
        assert again.uuid == held.uuid


def test_what_a_crash_left_half_written_is_written_again(tmp_path: Path) -> None:
    (tmp_path / "uuid.new").write_text("half")
    with DataDir(tmp_path) as made:
        assert str(uuid.UUID(made.uuid)) == made.uuid
    assert not (tmp_path / "uuid.new").exists()


def test_a_path_that_is_a_file_is_told(tmp_path: Path) -> None:
    (tmp_path / "file").touch()
    with pytest.raises(OSError, match="file"):
        DataDir(tmp_path / "file")


def test_the_boot_has_one_name() -> None:
    assert boot_id() == boot_id() == str(uuid.UUID(boot_id()))
