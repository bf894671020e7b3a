"""The tables of an auth file and of a file of API keys, field by field. A field that is not here is refused."""

import re
from datetime import datetime
from ipaddress import ip_address
from pathlib import Path
from typing import Annotated, Final, Literal
from urllib.parse import urlsplit

from pydantic import AfterValidator, BaseModel, BeforeValidator, ConfigDict, Field, model_validator

from agentring.auth.identity import Role
from agentring.errors import AgentringError
from agentring.ids import parse_tenant

MAX_SUBJECT_CHARS: Final = 256
Algorithm = Literal["RS256", "RS384", "RS512", "PS256", "PS384", "PS512", "ES256", "ES384", "ES512", "EdDSA"]
"""Those with a public key. Never `none`, never HMAC: whoever can check could sign."""
_DEFAULT_ROLES: Final = (Role.user, Role.viewer)


def check_tenant(tenant: str) -> str:
    """A tenant's name, which is not empty. Raises ValueError."""
    try:
        return parse_tenant(tenant) if tenant else _no_tenant()
    except AgentringError as error:
        raise ValueError(error.sentence) from None


def check_subject(subject: str) -> str:
    """Raises ValueError."""
    if not subject or len(subject) > MAX_SUBJECT_CHARS or not subject.isprintable():
        raise ValueError(f"a subject has 1 to {MAX_SUBJECT_CHARS} printable characters")
    return subject


def _no_tenant() -> str:
    raise ValueError("a tenant's name is not empty")


def _check_issuer(issuer: str) -> str:
    if not issuer or "|" in issuer or not issuer.isprintable():
        raise ValueError("an issuer is text without `|`, which stands between it and a subject")
    return issuer


def _check_url(url: str) -> str:
    """Where keys may be fetched: who can change them says who may call."""
    parts = urlsplit(url) if url.isascii() and url.isprintable() and " " not in url else None
    try:
        is_whole = parts is not None and parts.hostname and parts.port != 0
    except ValueError:
        is_whole = False
    if parts is None or not is_whole or parts.username is not None or "#" in url:
        raise ValueError("it is no URL of a host, without a user and a fragment")
    if parts.scheme != "https" and not (parts.scheme == "http" and _is_loopback(parts.hostname or "")):
        raise ValueError("https is needed, or http to this machine")
    return url


def _is_loopback(host: str) -> bool:
    try:
        return ip_address(host).is_loopback
    except ValueError:
        return host == "localhost"


def _check_san(san: str) -> str:
    if not san.isascii() or not san.isprintable() or " " in san or "*" in san or not san:
        raise ValueError("a name is a URI or a DNS name, written out: it is compared exactly")
    return san


def _unix_seconds(value: object) -> object:
    if isinstance(value, bool):
        raise ValueError("a time is Unix seconds, or a date and time with its offset")
    if isinstance(value, datetime):
        if value.tzinfo is None:
            raise ValueError("a date and time needs its offset, as in 2030-01-31T00:00:00Z")
        return value.timestamp()
    return value


Tenant = Annotated[str, AfterValidator(check_tenant)]
Subject = Annotated[str, AfterValidator(check_subject)]
Roles = Annotated[tuple[Role, ...], Field(min_length=1)]
Instant = Annotated[float, BeforeValidator(_unix_seconds), Field(allow_inf_nan=False)]
"""Unix seconds."""
_Claim = Annotated[str, Field(min_length=1)]


def peer_name(san: str) -> str:
    """A certificate's name as connections have it: a URI where it has a scheme, else a DNS name."""
    return f"URI:{san}" if re.match(r"[A-Za-z][A-Za-z0-9+.-]*:", san) else f"DNS:{san.lower()}"


class _Table(BaseModel):
    model_config = ConfigDict(extra="forbid", frozen=True, hide_input_in_errors=True)


class JwtTable(_Table):
    """Whose tokens are believed, and how far."""

    issuer: Annotated[str, AfterValidator(_check_issuer)]
    audience: Annotated[str, Field(min_length=1)]
    jwks_file: Path | None = None
    jwks_url: Annotated[str, AfterValidator(_check_url)] | None = None
    algorithms: Annotated[tuple[Algorithm, ...], Field(min_length=1)]
    tenant_claim: _Claim
    subject_claim: _Claim = "sub"
    roles_claim: _Claim | None = None
    """None: every token has the roles that are allowed of user and viewer."""
    tenants: tuple[Tenant, ...] | None = None
    """None: any."""
    roles: Roles = _DEFAULT_ROLES
    """Which roles it may give; others that a token claims count for nothing."""

    @model_validator(mode="after")
    def _has_one_source(self) -> "JwtTable":
        if (self.jwks_file is None) == (self.jwks_url is None):
            raise ValueError("one of jwks_file and jwks_url is needed")
        return self


class RevokedTable(_Table):
    """What is not valid any more; where several fields are there, all of them must fit."""

    jti: Annotated[str, Field(min_length=1)] | None = None
    """A token's `jti`, or the id by which logs call a credential: an API key's is its own."""
    subject: Subject | None = None
    """A token's is `ISSUER|CLAIM`."""
    issued_before: Instant | None = None
    """Of tokens alone; one that does not say when it was issued counts as older."""

    @model_validator(mode="after")
    def _says_something(self) -> "RevokedTable":
        if self.jti is None and self.subject is None and self.issued_before is None:
            raise ValueError("jti, subject or issued_before is needed")
        return self


class ApiKeysTable(_Table):
    """Where keys are."""

    file: Path


class MtlsTable(_Table):
    """Who a certificate's holder is."""

    san: Annotated[str, AfterValidator(_check_san)]
    """A URI where it has a scheme, else a DNS name."""
    tenant: Tenant
    subject: Subject
    roles: Roles

    @property
    def peer_name(self) -> str:
        """As connections have it."""
        return peer_name(self.san)


class AnonymousTable(_Table):
    """Who calls without a credential."""

    tenant: Tenant
    roles: Roles


class AuthTables(_Table):
    """An auth file."""

    jwt: tuple[JwtTable, ...] = ()
    revoked: tuple[RevokedTable, ...] = ()
    api_keys: tuple[ApiKeysTable, ...] = ()
    mtls: tuple[MtlsTable, ...] = ()
    anonymous: AnonymousTable | None = None


class KeyRow(_Table):
    """An API key, which the file does not have."""

    id: Annotated[str, Field(pattern=r"\A[A-Za-z0-9-]{1,32}\z")]
    sha256: Annotated[str, Field(pattern=r"\A[0-9a-f]{64}\z")]
    """Of the whole key."""
    tenant: Tenant
    subject: Subject
    roles: Roles
    expires_at: Instant | None = None


class KeyTables(_Table):
    """A file of API keys."""

    keys: list[KeyRow] = []
