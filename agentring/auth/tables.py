"""The tables of an auth file and of a file of API keys, field by field. A field that is not here is refused."""

import re
from datetime import datetime
from pathlib import Path
from typing import Annotated, Final, Literal

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


class _Table(BaseModel):
    model_config = ConfigDict(extra="forbid", frozen=True, hide_input_in_errors=True)


class JwtTable(_Table):
    """Whose tokens are believed, and how far."""

    issuer: Annotated[str, AfterValidator(_check_issuer)]
    audience: Annotated[str, Field(min_length=1)]
    jwks_file: Path
    algorithms: Annotated[tuple[Algorithm, ...], Field(min_length=1)]
    tenant_claim: _Claim
    subject_claim: _Claim = "sub"
    roles_claim: _Claim | None = None
    """None: every token has the roles that are allowed of user and viewer."""
    tenants: tuple[Tenant, ...] | None = None
    """None: any."""
    roles: Roles = _DEFAULT_ROLES
    """Which roles it may give; others that a token claims count for nothing."""


class RevokedTable(_Table):
    """What is not valid any more; where several fields are there, all of them must fit."""

    jti: Annotated[str, Field(min_length=1)] | None = None
    """A token's `jti`, or the id of an API key."""
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
        return f"URI:{self.san}" if re.match(r"[A-Za-z][A-Za-z0-9+.-]*:", self.san) else f"DNS:{self.san.lower()}"


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
