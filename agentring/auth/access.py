"""Who may have a call: what routers and nodes ask for each one, when it is opened and when it is opened anew.

Guarantees: the tenant is the credential's, unless an operator names another one; nothing that is said depends on
whether what the call is about exists. Called by the relay and by the server of a process's own services.
"""

import time
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from typing import Protocol

from agentring.auth.identity import Identity, Role
from agentring.auth.permissions import ANONYMOUS, check_permission
from agentring.errors import NotAuthenticated, TenantForeign
from agentring.ids import DEFAULT_TENANT


class Authenticator(Protocol):
    """Knows credentials: AuthFile does."""

    @property
    def changes(self) -> int:
        """Goes up when what was valid may not be any more."""

    def identify(self, authorization: Sequence[str], peer_names: Sequence[str], origin: str) -> Identity:
        """Who calls. authorization: the values of the call's fields of this name; peer_names: of its connection's
        certificate, `URI:` or `DNS:` before each; origin: the address that it comes from, without the port. Raises
        NotAuthenticated, CredentialUnchecked."""

    def is_revoked(self, identity: Identity) -> bool:
        """Whether what was valid once would not be now."""


@dataclass(frozen=True, slots=True)
class Caller:
    """Who has a call, and for which tenant it is."""

    identity: Identity
    tenant: str
    is_checked_here: bool = False
    """His credential came with the call; else a peer says who he is."""

    def check_tenant(self, tenant: str) -> None:
        """Whether a message may be about a tenant; empty: about all. Raises TenantForeign."""
        if tenant != (self.identity.tenant or DEFAULT_TENANT) and not self.is_operator:
            raise TenantForeign

    @property
    def is_operator(self) -> bool:
        """Whether he may see which nodes there are."""
        return Role.operator in self.identity.roles


class AccessControl:
    """What a process asks."""

    def __init__(self, authenticator: Authenticator, now_s: Callable[[], float] = time.time) -> None:
        """authenticator: of the file that `--auth` names; now_s: Unix time."""
        self._authenticator = authenticator
        self._now_s = now_s

    def admit(
        self, method: str, authorization: Sequence[str], peer_names: Sequence[str], said_tenant: str, peer: str
    ) -> Caller | None:
        """Who has the call; None: nobody is asked for it. authorization, peer_names: as Authenticator; peer: from where
        it comes, `host:port`; said_tenant: as
        the call has it; empty: it does not say. Raises NotAuthenticated, CredentialUnchecked, RoleMissing,
        TenantForeign."""
        if method in ANONYMOUS:
            return None
        identity = self._authenticator.identify(authorization, peer_names, peer.rpartition(":")[0])
        return admit_identity(identity, method, said_tenant, is_checked_here=True)

    @property
    def changes(self) -> int:
        """As Authenticator."""
        return self._authenticator.changes

    def has_ended(self, identity: Identity) -> bool:
        """Whether it is over by the time alone."""
        return identity.expires_at is not None and identity.expires_at <= self._now_s()

    def check_still_valid(self, identity: Identity) -> None:
        """Raises NotAuthenticated."""
        if self.has_ended(identity) or self._authenticator.is_revoked(identity):
            raise NotAuthenticated("the credential has ended, or was revoked")


def admit_identity(identity: Identity, method: str, said_tenant: str, *, is_checked_here: bool = False) -> Caller:
    """As AccessControl.admit, of a caller who is known."""
    own = identity.tenant or DEFAULT_TENANT
    tenant = said_tenant or own
    if tenant != own and Role.operator not in identity.roles:
        raise TenantForeign
    check_permission(identity, method, is_own_tenant=tenant == own)
    return Caller(identity, tenant, is_checked_here)
