"""What an auth file and the files that it names say, read once and checked whole.

Guarantees: what is not known, missing, of the wrong kind or there twice is an error that names file, table and field;
no key and no token stands in any of it. Read by the authenticator and by `agentring auth check`.
"""

import json
import os
import tomllib
from collections.abc import Callable, Iterable, Mapping
from dataclasses import dataclass, field, replace
from pathlib import Path
from stat import S_ISREG
from typing import Any, Final, TypeVar

from pydantic import BaseModel, ValidationError

from agentring.auth.identity import Identity
from agentring.auth.jwks import EMPTY, JwksUnusable, KeySet, read_jwks
from agentring.auth.revocations import Revocations
from agentring.auth.tables import AnonymousTable, AuthTables, JwtTable, KeyRow, KeyTables
from agentring.auth.tokens import Issuers

MAX_FILE_BYTES: Final = 16 << 20
Versions = dict[Path, tuple[int, int, int] | None]
"""Of each file: when it was written, how long it is, its inode; None: it is not there."""
_M = TypeVar("_M", bound=BaseModel)


@dataclass(frozen=True, slots=True)
class KeyIdentity(Identity):
    """The holder of an API key."""

    digest: str = field(repr=False)
    """So that another key with its id is not taken for it."""


class AuthFileUnusable(Exception):
    """The auth file, or one that it names, is not what it must be. Its text names file, table and field."""


@dataclass(frozen=True, slots=True)
class ApiKey:
    """A key as a file has it."""

    digest: str
    """SHA-256 of the whole key, in hexadecimal."""
    identity: KeyIdentity


@dataclass(frozen=True)
class Rules:
    """Who may call."""

    issuers: Issuers
    """Those that are fetched have no keys here."""
    api_keys: Mapping[str, ApiKey]
    """By id."""
    names: Mapping[str, Identity]
    """By a certificate's name, `URI:` or `DNS:` before it."""
    anonymous: Identity | None
    revocations: Revocations
    fixed: frozenset[Identity]
    """All that need no token and are not revoked."""

    @property
    def urls(self) -> list[str]:
        """Where keys are fetched."""
        tables = [table for rows in self.issuers.values() for table, _ in rows]
        return list(dict.fromkeys(table.jwks_url for table in tables if table.jwks_url is not None))

    def with_fetched(self, get: Callable[[str], KeySet]) -> "Rules":
        """get: the keys that are at a URL."""
        issuers = {
            issuer: tuple((table, get(table.jwks_url) if table.jwks_url is not None else keys) for table, keys in rows)
            for issuer, rows in self.issuers.items()
        }
        return replace(self, issuers=issuers)


def versions(paths: Iterable[Path]) -> Versions:
    """How the files are now."""
    found: Versions = {}
    for path in paths:
        try:
            stat = path.stat()
            found[path] = (stat.st_mtime_ns, stat.st_size, stat.st_ino)
        except OSError:
            found[path] = None
    return found


def load_rules(path: Path) -> tuple[Rules, Versions]:
    """Reads the auth file, and what it names, beside itself. Raises AuthFileUnusable."""
    # Before the file is read: what changes meanwhile is then seen to have changed.
    read = versions([path])
    tables, files = _load_tables(path)
    read |= versions(file for file in files if file not in read)
    issuers: dict[str, tuple[tuple[JwtTable, KeySet], ...]] = {}
    for table in tables.jwt:
        keys = EMPTY if table.jwks_file is None else _load_jwks(path.parent / table.jwks_file)
        issuers[table.issuer] = (*issuers.get(table.issuer, ()), (table, keys))
    api_keys: dict[str, ApiKey] = {}
    for each in tables.api_keys:
        for name, key in load_api_keys(path.parent / each.file).items():
            if name in api_keys:
                raise AuthFileUnusable(f"{path.parent / each.file}: keys.id: {name} is there twice")
            api_keys[name] = key
    names: dict[str, Identity] = {}
    for row in tables.mtls:
        if row.peer_name in names:
            raise AuthFileUnusable(f"{path}: mtls.san: {row.peer_name} is there twice")
        names[row.peer_name] = Identity(row.tenant, row.subject, frozenset(row.roles), row.peer_name, None)
    nobody = _anonymous(tables.anonymous)
    fixed = [*(key.identity for key in api_keys.values()), *names.values(), *([nobody] if nobody else ())]
    if not fixed and not issuers and not tables.api_keys:
        raise AuthFileUnusable(f"{path}: there is no credential in it, so nobody could call")
    revocations = Revocations(tables.revoked)
    valid = frozenset(each for each in fixed if not revocations.has_fixed(each.credential_id, each.subject))
    return Rules(issuers, api_keys, names, nobody, revocations, valid), read


def load_api_keys(file: Path) -> dict[str, ApiKey]:
    """By id. Raises AuthFileUnusable."""
    keys: dict[str, ApiKey] = {}
    for row in load_key_rows(file):
        if row.id in keys:
            raise AuthFileUnusable(f"{file}: keys.id: {row.id} is there twice")
        identity = KeyIdentity(row.tenant, row.subject, frozenset(row.roles), row.id, row.expires_at, row.sha256)
        keys[row.id] = ApiKey(row.sha256, identity)
    return keys


def load_key_rows(file: Path) -> list[KeyRow]:
    """As the file has them. Raises AuthFileUnusable."""
    return parse_key_rows(file, _text(file))


def parse_key_rows(file: Path, text: str) -> list[KeyRow]:
    """text: what the file has. Raises AuthFileUnusable."""
    return _checked(KeyTables, file, text).keys


def _load_tables(path: Path) -> tuple[AuthTables, list[Path]]:
    tables = _checked(AuthTables, path, _text(path))
    named = [*(each.jwks_file for each in tables.jwt), *(each.file for each in tables.api_keys)]
    return tables, [path.parent / name for name in named if name is not None]


def _load_jwks(file: Path) -> KeySet:
    try:
        return read_jwks(json.loads(_text(file)))
    except JwksUnusable as error:
        raise AuthFileUnusable(f"{file}: {error}") from None
    except (ValueError, RecursionError):
        raise AuthFileUnusable(f"{file}: it is no JSON") from None


def _anonymous(table: AnonymousTable | None) -> Identity | None:
    return Identity(table.tenant, "", frozenset(table.roles), "", None) if table is not None else None


def _checked(model: type[_M], path: Path, text: str) -> _M:
    try:
        found: dict[str, Any] = tomllib.loads(text)
    except (tomllib.TOMLDecodeError, RecursionError) as error:
        raise AuthFileUnusable(f"{path}: {error}") from None
    try:
        return model.model_validate(found)
    except ValidationError as error:
        # The input is left out: somebody may have written a key where its hash belongs.
        first = error.errors(include_input=False, include_url=False, include_context=False)[0]
        where = ".".join(str(part) for part in first["loc"])
        raise AuthFileUnusable(f"{path}: {where or 'the file'}: {first['msg']}") from None


def _text(path: Path) -> str:
    try:
        content = _content(path)
        if len(content) > MAX_FILE_BYTES:
            raise AuthFileUnusable(f"{path}: larger than {MAX_FILE_BYTES >> 20} MiB")
        return content.decode()
    except OSError as error:
        raise AuthFileUnusable(f"{path}: {error.strerror}") from None
    except UnicodeDecodeError:
        raise AuthFileUnusable(f"{path}: it is no UTF-8") from None


def _content(path: Path) -> bytes:
    """No more of it than shows that it is too large. Raises AuthFileUnusable, OSError."""
    # A pipe that nobody writes to would hold its reader up for ever, and with it every later revocation.
    fd = os.open(path, os.O_RDONLY | os.O_NONBLOCK | os.O_CLOEXEC)
    try:
        if not S_ISREG(os.fstat(fd).st_mode):
            raise AuthFileUnusable(f"{path}: it is no regular file")
        with os.fdopen(fd, "rb", closefd=False) as file:
            return file.read(MAX_FILE_BYTES + 1)
    finally:
        os.close(fd)
