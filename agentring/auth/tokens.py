"""A signed token (JWT, RFC 7519) becomes an identity, or is refused.

Guarantees: its size and shape are checked before anything is parsed; its algorithm must be in the issuer's list and fit
the key; a header may name a key and a type, and nothing else, so `jku`, `x5u`, `jwk`, `crit`, `b64` and nested tokens
are refused before a key is looked for. A refusal never repeats a part of the token. Called by the authenticator.
"""

import json
import re
from base64 import urlsafe_b64decode
from collections.abc import Mapping
from dataclasses import dataclass
from functools import lru_cache
from hashlib import sha256
from typing import Any, Final

import jwt

from agentring.auth.identity import Identity, Role
from agentring.auth.jwks import KeySet
from agentring.auth.tables import JwtTable, check_subject, check_tenant
from agentring.errors import NotAuthenticated

MAX_TOKEN_BYTES: Final = 16 << 10
LEEWAY_S: Final = 30
_TOKEN: Final = re.compile(r"[A-Za-z0-9_-]+\.[A-Za-z0-9_-]+\.[A-Za-z0-9_-]+", re.ASCII)
_HEADER: Final = {"alg", "kid", "typ"}
_TYPES: Final = {"jwt", "at+jwt", "application/jwt", "application/at+jwt"}
_OPTIONS: Final[jwt.types.Options] = {"require": ["exp", "aud", "iss"], "strict_aud": False}
_MALFORMED = (jwt.PyJWTError, ValueError, TypeError, KeyError, AttributeError, OverflowError, RecursionError)
"""What libraries raise at what is no token."""

Issuers = Mapping[str, tuple[tuple[JwtTable, KeySet], ...]]


@dataclass(frozen=True, slots=True)
class TokenIdentity(Identity):
    """Who a token's holder is, and what can take it back."""

    table: JwtTable
    key: tuple[str, str]
    """Which key of the issuer's signed it: its id, and the algorithm."""
    thumbprint: str
    """Of that key, so that another one with its id is not taken for it."""
    jti: str
    issued_at: float | None


def verify_token(token: str, issuers: Issuers) -> TokenIdentity:
    """Who holds it. Its end is `exp` and the leeway. Raises NotAuthenticated."""
    if len(token) > MAX_TOKEN_BYTES or not _TOKEN.fullmatch(token):
        raise NotAuthenticated("the token is no signed JWT, or is larger than 16 KiB")
    head, body, _ = token.split(".")
    try:
        header, unproved = _parse(head), _parse(body)
        for table, keys in issuers.get(unproved["iss"], ()):
            if (key := _key(header, table, keys)) is not None:
                return _verify(token, table, key, keys[key])
    except _MALFORMED:
        raise NotAuthenticated("the token is not what its issuer signs, or not for here, or not now") from None
    raise NotAuthenticated("the token's issuer, key or algorithm is not known here")


@lru_cache(1_024)
def thumbprint(key: jwt.PyJWK) -> str:
    """A name for the key's bytes."""
    return sha256(json.dumps(key._jwk_data, sort_keys=True).encode()).hexdigest()


def _parse(part: str) -> dict[str, Any]:
    found = json.loads(urlsafe_b64decode(part + "=" * (-len(part) % 4)), object_pairs_hook=_once)
    if not isinstance(found, dict):
        raise TypeError
    return found


def _once(pairs: list[tuple[str, Any]]) -> dict[str, Any]:
    """Two readers must not see two things."""
    found = dict(pairs)
    if len(found) != len(pairs):
        raise ValueError
    return found


def _key(header: dict[str, Any], table: JwtTable, keys: KeySet) -> tuple[str, str] | None:
    if not header.keys() <= _HEADER or header["alg"] not in table.algorithms:
        return None
    if "typ" in header and header["typ"].lower() not in _TYPES:
        return None
    key = header["kid"], header["alg"]
    return key if key in keys else None


def _verify(token: str, table: JwtTable, name: tuple[str, str], key: jwt.PyJWK) -> TokenIdentity:
    claims = jwt.decode(
        token,
        key,
        algorithms=[name[1]],
        audience=table.audience,
        issuer=table.issuer,
        leeway=LEEWAY_S,
        options=_OPTIONS,
    )
    tenant = check_tenant(_text(claims, table.tenant_claim))
    if table.tenants is not None and tenant not in table.tenants:
        raise ValueError
    subject = check_subject(f"{table.issuer}|{check_subject(_text(claims, table.subject_claim))}")
    jti = claims.get("jti", "")
    if not isinstance(jti, str):
        raise TypeError
    credential = sha256(f"{table.issuer}|{jti}".encode() if jti else token.encode()).hexdigest()[:16]
    issued_at = float(claims["iat"]) if "iat" in claims else None
    return TokenIdentity(
        tenant=tenant,
        subject=subject,
        roles=_roles(claims, table),
        credential_id=credential,
        expires_at=float(claims["exp"]) + LEEWAY_S,
        table=table,
        key=name,
        thumbprint=thumbprint(key),
        jti=jti,
        issued_at=issued_at,
    )


def _text(claims: dict[str, Any], name: str) -> str:
    value = claims[name]
    if not isinstance(value, str):
        raise TypeError
    return value


def _roles(claims: dict[str, Any], table: JwtTable) -> frozenset[Role]:
    """What is not a role, or not one that this issuer may give, counts for nothing."""
    if table.roles_claim is None:
        return frozenset({Role.user, Role.viewer} & set(table.roles))
    said = claims.get(table.roles_claim, [])
    words = said.split() if isinstance(said, str) else said
    if not isinstance(words, list):
        raise TypeError
    return frozenset(role for role in table.roles if role.value in words)
