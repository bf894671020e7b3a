"""Who calls is not known, or may not do this. None says whether what was asked for exists."""

from dataclasses import dataclass
from typing import ClassVar

from grpc import StatusCode

from agentring.errors.base import AgentringError


@dataclass(eq=False)
class NotAuthenticated(AgentringError):
    """Nobody who is known here has proved that he calls."""

    code: ClassVar[StatusCode] = StatusCode.UNAUTHENTICATED
    reason: ClassVar[str] = "NOT_AUTHENTICATED"
    sentence: ClassVar[str] = "the call has no credential that is valid here"
    why: str
    """Static words, never a part of the credential."""


@dataclass(eq=False)
class RoleMissing(AgentringError):
    """The caller is known, and has none of the roles that the method asks for."""

    code: ClassVar[StatusCode] = StatusCode.PERMISSION_DENIED
    reason: ClassVar[str] = "ROLE_MISSING"
    sentence: ClassVar[str] = "the caller's roles do not allow this method"
    method: str
    roles: str
    """Those that do, separated by commas."""


class TenantForeign(AgentringError):
    """The call names a tenant that is not the credential's, and the caller is no operator."""

    code = StatusCode.PERMISSION_DENIED
    reason = "TENANT_FOREIGN"
    sentence = "the tenant is the credential's; only operators may name another one"


@dataclass(eq=False)
class MetadataReserved(AgentringError):
    """A field that routers and nodes alone may set came from somebody who has not proved to be one."""

    code: ClassVar[StatusCode] = StatusCode.PERMISSION_DENIED
    reason: ClassVar[str] = "METADATA_RESERVED"
    sentence: ClassVar[str] = "metadata that begins with x-agentring- is set by routers and nodes alone"
    header: str


class CredentialRevoked(AgentringError):
    """The credential by which a turn or a task was accepted was revoked meanwhile: it begins no step any more."""

    code = StatusCode.PERMISSION_DENIED
    reason = "CREDENTIAL_REVOKED"
    sentence = "the credential by which this was accepted was revoked"


class CredentialUnchecked(AgentringError):
    """So many unknown credentials came that one more is not checked now, and calls of known ones are not held up; or
    its issuer's keys are still to be fetched."""

    code = StatusCode.UNAVAILABLE
    reason = "CREDENTIAL_UNCHECKED"
    sentence = "this new credential could not be checked yet: too many came at once, or its issuer's keys are awaited"
    retry_after_s = 1.0
