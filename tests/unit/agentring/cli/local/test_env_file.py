"""A file of variables, as it stands, and never more than ours."""

from pathlib import Path

import pytest

from agentring.cli.local.env_file import EnvFileUnusable, read_env_file


def test_no_file_has_no_variables() -> None:
    assert read_env_file(None, {}) == {}


def test_values_are_as_they_stand_and_ours_win(tmp_path: Path) -> None:
    path = tmp_path / "some.env"
    path.write_text("# keys\nA=1\nexport B='two words'\nC=${A} $x\nD=\nHOME=there\n")
    assert read_env_file(path, {"HOME": "here"}) == {"A": "1", "B": "two words", "C": "${A} $x", "D": ""}


@pytest.mark.parametrize(
    ("content", "why"),
    [
        ("A=1\nsecret\n", "line 2: not NAME=VALUE"),
        ("A=1\n\n\n='secret\n", "line 4: not NAME=VALUE"),
        ("A=1\nB=a\0secret\n", "line 2: not NAME=VALUE"),
    ],
)
def test_a_line_that_is_none_is_named_by_its_number_and_not_shown(tmp_path: Path, content: str, why: str) -> None:
    path = tmp_path / "some.env"
    path.write_text(content)
    with pytest.raises(EnvFileUnusable) as failed:
        read_env_file(path, {})
    assert str(failed.value) == f"--env-file {path}: {why}"


def test_bytes_that_are_no_text_are_refused(tmp_path: Path) -> None:
    path = tmp_path / "some.env"
    path.write_bytes(b"A=\xff\n")
    with pytest.raises(EnvFileUnusable, match="it is not UTF-8"):
        read_env_file(path, {})
