"""A file of API keys keeps what it has, is never half there, and is its owner's alone."""

import os
import stat
import threading
from pathlib import Path

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from pydantic import ValidationError

from agentring.auth.identity import Role
from agentring.auth.key_file import KeyUnknown, add_row, make_key, remove_row
from agentring.auth.rules import AuthFileUnusable, load_key_rows
from agentring.auth.tables import KeyRow


def row(key_id: str, subject: str = "bot", expires_at: float | None = None) -> KeyRow:
    return KeyRow(id=key_id, sha256="0" * 64, tenant="acme", subject=subject, roles=(Role.user,), expires_at=expires_at)


@settings(max_examples=25, deadline=None)
@given(st.text(max_size=20), st.none() | st.integers(0, 4_000_000_000))
def test_whatever_may_be_a_subject_is_read_as_it_was_written(
    tmp_path_factory: pytest.TempPathFactory, subject: str, ends: int | None
) -> None:
    path = tmp_path_factory.mktemp("keys") / "keys.toml"
    try:
        first = row("k1", subject, None if ends is None else float(ends))
    except ValidationError:
        return
    add_row(path, first)
    add_row(path, row("k2"))
    assert load_key_rows(path) == [first, row("k2")]
    assert remove_row(path, "k1") == first
    assert load_key_rows(path) == [row("k2")]


def test_the_file_is_its_owners_alone_and_keeps_its_comments(tmp_path: Path) -> None:
    path = tmp_path / "keys.toml"
    add_row(path, row("k1"))
    path.write_text(f"# of the team\n{path.read_text()}# the next one is for tests")
    path.chmod(0o644)
    add_row(path, row("k2"))
    remove_row(path, "k1")
    assert path.read_text().startswith("# of the team\n# the next one is for tests\n\n[[keys]]\n")
    assert stat.S_IMODE(path.stat().st_mode) == 0o600
    assert os.listdir(tmp_path) == ["keys.toml"]


@pytest.mark.parametrize(
    "text",
    ["keys = []\n", "keys = [{}]\n", "more = 1\n", "[[keys]]\nid = 1\n", "\x00", 'x = """\n[[keys]]\n"""\n'],
)
def test_a_file_that_cannot_be_changed_stays_as_it_is(tmp_path: Path, text: str) -> None:
    path = tmp_path / "keys.toml"
    path.write_text(text)
    with pytest.raises(AuthFileUnusable, match=r"keys\.toml"):
        add_row(path, row("k1"))
    with pytest.raises((AuthFileUnusable, KeyUnknown)):
        remove_row(path, "k1")
    assert path.read_text() == text
    assert os.listdir(tmp_path) == ["keys.toml"]


def test_an_id_is_there_once_and_one_that_is_not_there_is_said(tmp_path: Path) -> None:
    path = tmp_path / "keys.toml"
    with pytest.raises(AuthFileUnusable):
        remove_row(path, "k1")
    add_row(path, row("k1"))
    add_row(path, row("k2"))
    with pytest.raises(KeyUnknown):
        remove_row(path, "k3")
    path.write_text(path.read_text().replace("k2", "k1"))
    with pytest.raises(AuthFileUnusable, match="twice"):
        remove_row(path, "k1")


def test_changes_at_once_keep_one_another(tmp_path: Path) -> None:
    path, link = tmp_path / "keys.toml", tmp_path / "link.toml"
    link.symlink_to(path)
    threads = [
        threading.Thread(target=add_row, args=((path, link)[number % 2], row(f"k{number}"))) for number in range(8)
    ]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join(10)
    assert {each.id for each in load_key_rows(path)} == {f"k{number}" for number in range(8)}
    assert link.is_symlink()


def test_keys_differ_and_have_256_bits() -> None:
    made = [make_key() for _ in range(100)]
    assert len({key for _, key, _ in made}) == len({key_id for key_id, _, _ in made}) == 100
    assert all(len(key.removeprefix(f"ar_{key_id}_")) == 64 for key_id, key, _ in made)
