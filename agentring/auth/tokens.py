"""A signed token (JWT, RFC 7519) becomes an identity, or is refused.

Guarantees: its size and shape are checked before anything is parsed; its algorithm must be in the issuer's list and fit
the key; a header may name a key and a type, and nothing else, so `jku`, `x5u`, `jwk`, `crit`, `b64` and nested tokens
are refused before a key is looked for. A refusal never repeats a part of the token. Called by the authenticator.
"""

import json
import math
import re
from base64 import urlsafe_b64decode
from collections.abc import Mapping
from dataclasses import dataclass
from hashlib import sha256
from typing import Any, Final

import jwt

from agentring.auth.identity import Identity, Role
from agentring.auth.jwks import KeyName, KeySet
from agentring.auth.tables import JwtTable, check_subject, check_tenant
from agentring.errors import NotAuthenticated

MAX_TOKEN_BYTES: Final = 16 << 10
LEEWAY_S: Final = 30
_TOKEN: Final = re.compile(r"[A-Za-z0-9_-]+\.[A-Za-z0-9_-]+\.[A-Za-z0-9_-]+", re.ASCII)
_HEADER: Final = {"alg", "kid", "typ"}
_TYPES: Final = {"jwt", "at+jwt", "application/jwt", "application/at+jwt"}
_OPTIONS: Final[jwt.types.Options] = {"require": ["exp", "aud", "iss"], "strict_aud": False}
KEY_UNKNOWN: Final = "the token's key is not one of its issuer's"
_LAST_S: Final = 253_402_300_800
"""The year 10000, which is no time that a token ends at."""
_MALFORMED = (jwt.PyJWTError, ValueError, TypeError, KeyError, AttributeError, OverflowError, RecursionError)
"""What libraries raise at what is no token."""

Issuers = Mapping[str, tuple[tuple[JwtTable, KeySet], ...]]
"""By the tokens' `iss`."""


class KeyNotHere(Exception):
    """The token names an issuer that is known and a key that is not, of those which are fetched."""

    def __init__(self, urls: tuple[str, ...]) -> None:
        """urls: where its key may be."""
        super().__init__()
        self.urls = urls


@dataclass(frozen=True, slots=True)
class TokenIdentity(Identity):
    """Who a token's holder is, and what can take it back."""

    table: JwtTable
    key: KeyName
    """Which key of the issuer's signed it."""
    thumbprint: str
    """Of that key, so that another one with its id is not taken for it."""
    jti: str
    issued_at: float | None


def token_name(issuer: str, jti: str) -> str:
    """How a token with a `jti` is called where the token itself must not be."""
    return sha256(f"{issuer}|{jti}".encode()).hexdigest()[:16]


def verify_token(token: str, issuers: Issuers) -> TokenIdentity:
    """Who holds it. Its end is `exp` and the leeway. Raises NotAuthenticated, KeyNotHere."""
    if len(token) > MAX_TOKEN_BYTES or not _TOKEN.fullmatch(token):
        raise NotAuthenticated("the token is no signed JWT, or is larger than 16 KiB")
    head, body, _ = token.split(".")
    try:
        header, unproved = _parse(head), _parse(body)
        rows = issuers.get(unproved["iss"], ())
        name = _key_name(header)
    except _MALFORMED:
        raise NotAuthenticated("the token is no JWT with iss, kid and alg") from None
    if not rows:
        raise NotAuthenticated("the token's issuer is not known here")
    rows = tuple((table, keys) for table, keys in rows if name[1] in table.algorithms)
    if not rows:
        raise NotAuthenticated("the token's algorithm is not one of its issuer's")
    for table, keys in rows:
        if name in keys.keys:
            return _verify(token, table, name, keys)
    if urls := tuple(table.jwks_url for table, _ in rows if table.jwks_url is not None):
        raise KeyNotHere(urls)
    raise NotAuthenticated(KEY_UNKNOWN)


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


def _key_name(header: dict[str, Any]) -> KeyName:
    """Raises NotAuthenticated, and what _MALFORMED has."""
    if not header.keys() <= _HEADER:
        raise NotAuthenticated("the token's header has more than alg, kid and typ")
    if "typ" in header and header["typ"].lower() not in _TYPES:
        raise NotAuthenticated("the token's typ is none of an access token")
    key, algorithm = header["kid"], header["alg"]
    if not isinstance(key, str) or not isinstance(algorithm, str):
        raise TypeError
    return key, algorithm


def _verify(token: str, table: JwtTable, name: KeyName, keys: KeySet) -> TokenIdentity:
    try:
        claims = jwt.decode(
            token,
            keys.keys[name],
            algorithms=[name[1]],
            audience=table.audience,
            issuer=table.issuer,
            leeway=LEEWAY_S,
            options=_OPTIONS,
        )
        return _identity(token, table, name, keys, claims)
    except jwt.InvalidSignatureError:
        why = "the token's signature is not its issuer's"
    except jwt.ExpiredSignatureError:
        why = "the token has expired"
    except (jwt.ImmatureSignatureError, jwt.InvalidIssuedAtError):
        why = "the token is not valid yet"
    except jwt.InvalidAudienceError:
        why = "the token is for another audience"
    except jwt.MissingRequiredClaimError:
        why = "the token has no exp or no aud"
    except _MALFORMED:
        why = "the token's claims are not what they must be"
    # Said to the caller, who has the token: the claims were looked at after the signature alone.
    raise NotAuthenticated(why)


def _identity(token: str, table: JwtTable, name: KeyName, keys: KeySet, claims: dict[str, Any]) -> TokenIdentity:
    ends_at, issued_at = _instant(claims, "exp"), _instant(claims, "iat") if "iat" in claims else None
    if "nbf" in claims:
        _instant(claims, "nbf")
    tenant = check_tenant(_text(claims, table.tenant_claim))
    if table.tenants is not None and tenant not in table.tenants:
        raise NotAuthenticated("the token's tenant is not one that its issuer may name")
    subject = check_subject(f"{table.issuer}|{check_subject(_text(claims, table.subject_claim))}")
    jti = claims.get("jti", "")
    if not isinstance(jti, str):
        raise TypeError
    credential = token_name(table.issuer, jti) if jti else sha256(token.encode()).hexdigest()[:16]
    return TokenIdentity(
        tenant=tenant,
        subject=subject,
        roles=_roles(claims, table),
        credential_id=credential,
        expires_at=ends_at + LEEWAY_S,
        table=table,
        key=name,
        thumbprint=keys.names[name],
        jti=jti,
        issued_at=issued_at,
    )


def _instant(claims: dict[str, Any], name: str) -> float:
    """A NumericDate of RFC 7519: the library takes text for one, too, and times without an end."""
    value = claims[name]
    if isinstance(value, bool) or not isinstance(value, int | float) or not math.isfinite(value) or value >= _LAST_S:
        raise ValueError
    return float(value)


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
