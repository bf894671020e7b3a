"""API keys in their file: made and taken back.

Guarantees: the file has a key's hash and never the key; it is replaced whole, readable for its owner alone; two changes
at once keep each other's; what else stands in the file, comments too, stays. Used by `agentring keys`.
"""

import fcntl
import os
import re
import secrets
from collections.abc import Iterator, Sequence
from contextlib import contextmanager, suppress
from datetime import UTC, datetime
from hashlib import sha256
from pathlib import Path
from typing import Final

from agentring.auth.rules import MAX_FILE_BYTES, AuthFileUnusable, load_api_keys, load_key_rows, parse_key_rows
from agentring.auth.tables import KeyRow

_TABLE: Final = re.compile(r"^[ \t]*\[\[[ \t]*keys[ \t]*\]\]", re.MULTILINE)


class KeyUnknown(Exception):
    """The file has no key of this id."""


def make_key() -> tuple[str, str, str]:
    """A key's id, the key itself, of 256 random bits, and its SHA-256 in hexadecimal."""
    key_id = secrets.token_hex(6)
    key = f"ar_{key_id}_{secrets.token_hex(32)}"
    return key_id, key, sha256(key.encode()).hexdigest()


def add_row(path: Path, row: KeyRow) -> None:
    """Puts a key into the file, which may be missing. Raises AuthFileUnusable, OSError."""
    with _changing(path) as file:
        text, rows = _read(file)
        before = f"{text.rstrip()}\n\n" if text.strip() else ""
        _replace(file, before + _as_table(row), [*rows, row])


def remove_row(path: Path, key_id: str) -> KeyRow:
    """Takes a key out of the file. Raises KeyUnknown, AuthFileUnusable, OSError."""
    with _changing(path) as file:
        if not file.exists():
            raise AuthFileUnusable(f"{path}: No such file or directory")
        text, rows = _read(file)
        found = next((position for position, row in enumerate(rows) if row.id == key_id), None)
        if found is None:
            raise KeyUnknown
        starts = [match.start() for match in _TABLE.finditer(text)]
        begins, ends = [*starts, *([len(text)] * 2)][found : found + 2] if len(starts) == len(rows) else (0, 0)
        said = text[:begins] + _remarks_at_end(text[begins:ends]) + text[ends:]
        _replace(file, said, [row for row in rows if row.id != key_id])
        return rows[found]


def _read(file: Path) -> tuple[str, list[KeyRow]]:
    if not file.exists():
        return "", []
    load_api_keys(file)  # refuses ids that are there twice
    return file.read_text(encoding="utf-8"), load_key_rows(file)


def _as_table(row: KeyRow) -> str:
    """Text that may have been typed is quoted as TOML has it."""
    lines = [
        "[[keys]]",
        f"id = {_quoted(row.id)}",
        f"sha256 = {_quoted(row.sha256)}",
        f"tenant = {_quoted(row.tenant)}",
        f"subject = {_quoted(row.subject)}",
        f"roles = [{', '.join(_quoted(role.value) for role in row.roles)}]",
    ]
    if row.expires_at is not None:
        lines.append(f"expires_at = {datetime.fromtimestamp(row.expires_at, UTC).isoformat()}")
    return "\n".join(lines) + "\n"


def _quoted(text: str) -> str:
    """A basic string; the models of tables.py leave nothing in it that is not printable."""
    return '"' + text.replace("\\", "\\\\").replace('"', '\\"') + '"'


def _remarks_at_end(table: str) -> str:
    """Comments that end a table's text are about the next one."""
    lines = table.splitlines(keepends=True)
    last = len(lines)
    while last and (not lines[last - 1].strip() or lines[last - 1].lstrip().startswith("#")):
        last -= 1
    return "".join(lines[last:])


@contextmanager
def _changing(path: Path) -> Iterator[Path]:
    """The file that the path leads to, for this process alone."""
    file = path.resolve()
    directory = os.open(file.parent, os.O_RDONLY | os.O_DIRECTORY | os.O_CLOEXEC)
    try:
        fcntl.flock(directory, fcntl.LOCK_EX)
        yield file
        os.fsync(directory)
    finally:
        os.close(directory)


def _replace(file: Path, text: str, rows: Sequence[KeyRow]) -> None:
    """Writes the text if it says what is meant; a file in another style is left as it is. Raises AuthFileUnusable,
    OSError."""
    try:
        meant = parse_key_rows(file, text) == list(rows) and len(text.encode()) <= MAX_FILE_BYTES
    except AuthFileUnusable:
        meant = False
    if not meant:
        raise AuthFileUnusable(f"{file}: it is not changed: its keys are not tables [[keys]], or it is too large")
    whole = file.with_name(f".{file.name}.{secrets.token_hex(4)}")
    try:
        fd = os.open(whole, os.O_WRONLY | os.O_CREAT | os.O_EXCL | os.O_CLOEXEC, 0o600)
        with os.fdopen(fd, "w", encoding="utf-8", newline="") as opened:
            if file.exists() and ((was := file.stat()).st_uid, was.st_gid) != (os.geteuid(), os.getegid()):
                os.fchown(fd, was.st_uid, was.st_gid)  # the routers that read it must be able to
            opened.write(text)
            opened.flush()
            os.fsync(fd)
        whole.replace(file)
    finally:
        with suppress(FileNotFoundError):
            whole.unlink()
