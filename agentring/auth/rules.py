"""What an auth file and the files that it names say, read once and checked whole.

Guarantees: what is not known, missing, of the wrong kind or there twice is an error that names file, table and field;
no key and no token stands in any of it. Read by the authenticator and by `agentring auth check`.
"""

import json
import tomllib
from collections.abc import Iterator, Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any, Final, TypeVar

from pydantic import BaseModel, ValidationError

from agentring.auth.identity import Identity
from agentring.auth.jwks import JwksUnusable, KeySet, read_jwks
from agentring.auth.tables import AnonymousTable, AuthTables, JwtTable, KeyRow, KeyTables, RevokedTable

MAX_FILE_BYTES: Final = 16 << 20
Versions = dict[Path, tuple[int, int, int] | None]
"""Of each file: when it was written, how long it is, its inode; None: it is not there."""
_M = TypeVar("_M", bound=BaseModel)


class AuthFileUnusable(Exception):
    """The auth file, or one that it names, is not what it must be. Its text names file, table and field."""


@dataclass(frozen=True, slots=True)
class ApiKey:
    """A key as a file has it."""

    digest: str
    """SHA-256 of the whole key, in hexadecimal."""
    identity: Identity


@dataclass(frozen=True)
class Rules:
    """Who may call."""

    issuers: Mapping[str, tuple[tuple[JwtTable, KeySet], ...]]
    """By the tokens' `iss`."""
    api_keys: Mapping[str, ApiKey]
    """By id."""
    names: Mapping[str, Identity]
    """By a certificate's name, `URI:` or `DNS:` before it."""
    anonymous: Identity | None
    revoked: tuple[RevokedTable, ...]
    fixed: frozenset[Identity]
    """All that need no token."""


def versions(paths: Iterator[Path] | Versions) -> Versions:
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
    tables, files = _load_tables(path)
    read = versions(iter(dict.fromkeys((path, *files))))
    issuers: dict[str, tuple[tuple[JwtTable, KeySet], ...]] = {}
    for table in tables.jwt:
        file = path.parent / table.jwks_file
        try:
            keys = read_jwks(json.loads(_text(file)))
        except JwksUnusable as error:
            raise AuthFileUnusable(f"{file}: {error}") from None
        except (ValueError, RecursionError):
            raise AuthFileUnusable(f"{file}: it is no JSON") from None
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
    fixed = {*(key.identity for key in api_keys.values()), *names.values(), *([nobody] if nobody else ())}
    if not fixed and not issuers:
        raise AuthFileUnusable(f"{path}: there is no credential in it, so nobody could call")
    return Rules(issuers, api_keys, names, nobody, tuple(tables.revoked), frozenset(fixed)), read


def load_api_keys(file: Path) -> dict[str, ApiKey]:
    """By id. Raises AuthFileUnusable."""
    keys: dict[str, ApiKey] = {}
    for row in load_key_rows(file):
        if row.id in keys:
            raise AuthFileUnusable(f"{file}: keys.id: {row.id} is there twice")
        identity = Identity(row.tenant, row.subject, frozenset(row.roles), row.id, row.expires_at)
        keys[row.id] = ApiKey(row.sha256, identity)
    return keys


def load_key_rows(file: Path) -> list[KeyRow]:
    """As the file has them. Raises AuthFileUnusable."""
    return _checked(KeyTables, file).keys


def _load_tables(path: Path) -> tuple[AuthTables, list[Path]]:
    tables = _checked(AuthTables, path)
    named = [*(each.jwks_file for each in tables.jwt), *(each.file for each in tables.api_keys)]
    return tables, [path.parent / name for name in named]


def _anonymous(table: AnonymousTable | None) -> Identity | None:
    return Identity(table.tenant, "", frozenset(table.roles), "", None) if table is not None else None


def _checked(model: type[_M], path: Path) -> _M:
    try:
        found: dict[str, Any] = tomllib.loads(_text(path))
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
        if path.stat().st_size > MAX_FILE_BYTES:
            raise AuthFileUnusable(f"{path}: larger than {MAX_FILE_BYTES >> 20} MiB")
        return path.read_text(encoding="utf-8")
    except OSError as error:
        raise AuthFileUnusable(f"{path}: {error.strerror}") from None
    except UnicodeDecodeError:
        raise AuthFileUnusable(f"{path}: it is no UTF-8") from None
