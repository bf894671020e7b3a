"""The limits of tenants and of their subjects, as the operator's TOML file has them.

```toml
[tenant]                      # each tenant
running_turns = 50
[subject]                     # each subject of any tenant
running_turns = 5
[tenants.acme]                # in place of [tenant], entry by entry
running_turns = 200
[tenants.acme.subject]        # each subject of acme, in place of [subject]
[tenants.acme.subjects.bob]   # this one
```

Guarantees: a word that is none of these, a value that is no limit and a name that cannot be one are refused, and where
it stands is said. What is not named has no limit.
"""

import tomllib
from typing import Annotated, Any, Self

from pydantic import AfterValidator, BaseModel, ConfigDict, Field, StringConstraints, ValidationError

from agentring.errors import InvalidTenantId
from agentring.ids import parse_tenant


def _tenant(name: str) -> str:
    try:
        return parse_tenant(name)
    except InvalidTenantId:
        raise ValueError("no name of a tenant") from None


_Count = Annotated[int, Field(ge=0, le=10**12, strict=True)]
_Rate = Annotated[float, Field(gt=0, le=10**12, allow_inf_nan=False)]
_Tenant = Annotated[str, AfterValidator(_tenant)]
_Subject = Annotated[str, StringConstraints(min_length=1, max_length=512)]


class Limits(BaseModel):
    """Of one tenant or subject, over the cluster. None: there is none."""

    model_config = ConfigDict(extra="forbid", frozen=True)

    sessions: _Count | None = None
    """Sessions that nodes hold in memory; what is idle and stored counts no more."""
    streams: _Count | None = None
    """Calls that are being sent events."""
    running_turns: _Count | None = None
    """Turns and task runs at a time; further ones wait."""
    waiting_turns: _Count | None = None
    """Turns and task runs that are accepted, and wait or are answered a question."""
    tasks: _Count | None = None
    """Tasks that have not ended."""
    turns_per_s: _Rate | None = None
    """Turns and tasks that are accepted."""
    bytes_in_per_s: _Rate | None = None
    """Bytes of inputs and files."""

    def with_defaults(self, defaults: "Limits") -> Self:
        """These, and the defaults' where it has none."""
        return type(self)(**(defaults.model_dump(exclude_none=True) | self.model_dump(exclude_none=True)))


class TenantLimits(Limits):
    """Of one tenant."""

    stored_bytes: _Count | None = None
    """Bytes that a durable store has; more come with what runs, and nothing is removed."""


NO_LIMITS = Limits()


class _TenantTable(TenantLimits):
    subject: Limits = NO_LIMITS
    subjects: dict[_Subject, Limits] = Field(default_factory=dict)

    def own(self) -> TenantLimits:
        return TenantLimits(**self.model_dump(exclude_none=True, exclude={"subject", "subjects"}))


class _File(BaseModel):
    model_config = ConfigDict(extra="forbid", frozen=True)

    tenant: TenantLimits = TenantLimits()
    subject: Limits = NO_LIMITS
    tenants: dict[_Tenant, _TenantTable] = Field(default_factory=dict)


class LimitTable:
    """A whole file."""

    def __init__(self, file: _File) -> None:
        self._tenant = file.tenant
        self._subject = file.subject
        self._tenants = {name: table.own().with_defaults(file.tenant) for name, table in file.tenants.items()}
        self._any_subject = {name: table.subject.with_defaults(file.subject) for name, table in file.tenants.items()}
        self._subjects = {
            (name, subject): limits.with_defaults(self._any_subject[name])
            for name, table in file.tenants.items()
            for subject, limits in table.subjects.items()
        }

    def of_tenant(self, tenant: str) -> TenantLimits:
        """A tenant's."""
        return self._tenants.get(tenant, self._tenant)

    def of_subject(self, tenant: str, subject: str) -> Limits:
        """One of its subject's."""
        found = self._subjects.get((tenant, subject))
        return self._any_subject.get(tenant, self._subject) if found is None else found


def parse_limits(content: bytes) -> LimitTable:
    """A file's limits. Raises ValueError, with where and what."""
    try:
        tables: dict[str, Any] = tomllib.loads(content.decode())
    except (ValueError, RecursionError) as error:  # UnicodeDecodeError is one
        raise ValueError(f"no TOML: {error}") from None
    try:
        return LimitTable(_File(**tables))
    except ValidationError as refused:
        first = refused.errors(include_url=False, include_input=False)[0]
        where = ".".join(str(part) for part in first["loc"]) or "the file"
        raise ValueError(f"{where}: {first['msg']}") from None
