"""Who calls, by the credentials that one auth file knows. Its files are read again when they change.

Guarantees: where a call has `authorization`, that alone decides. A token is verified once, and remembered by its hash
until its end; what is remembered is bounded, and so is the part of the loop's time that unknown tokens take. A key is
compared in constant time. A file that becomes unusable changes nothing, and is logged. No credential is kept.
"""

import asyncio
import hmac
import re
import time
from collections.abc import Callable, Sequence
from hashlib import sha256
from pathlib import Path
from typing import Final

import structlog

from agentring.auth.identity import Identity
from agentring.auth.rules import ApiKey, AuthFileUnusable, load_rules, versions
from agentring.auth.tables import RevokedTable
from agentring.auth.tokens import MAX_TOKEN_BYTES, TokenIdentity, thumbprint, verify_token
from agentring.errors import CredentialUnchecked, NotAuthenticated

MAX_REMEMBERED: Final = 10_000
CHECKING_SHARE: Final = 0.2
"""How much of the loop's time goes into tokens that are not remembered."""
_MAX_SAVED_S: Final = 0.1
_EVERY_S: Final = 1.0
_BEARER: Final = re.compile(r"bearer +([^ ]+)", re.IGNORECASE | re.ASCII)
_API_KEY: Final = re.compile(r"ar_([A-Za-z0-9-]{1,32})_[0-9a-f]{64}", re.ASCII)
_UNKNOWN_KEY: Final = ApiKey("0" * 64, Identity("", "", frozenset(), "", None))

_log = structlog.get_logger()


class AuthFile:
    """The credentials of an auth file. Resource handling: one task must run `run()`."""

    def __init__(
        self,
        path: Path,
        now_s: Callable[[], float] = time.time,
        cost_s: Callable[[], float] = time.perf_counter,
    ) -> None:
        """path: of the file; now_s: Unix time; cost_s: what verifying is measured with. Raises AuthFileUnusable."""
        self._path = path
        self._now_s = now_s
        self._cost_s = cost_s
        self._rules, self._read = load_rules(path)
        self._remembered: dict[bytes, TokenIdentity] = {}
        """By the tokens' SHA-256, the oldest first."""
        self._saved_s = _MAX_SAVED_S
        self._counted_s = cost_s()

    def identify(self, authorization: Sequence[str], peer_names: Sequence[str]) -> Identity:
        """Who calls. authorization: the values of the call's fields of this name; peer_names: of its connection's
        certificate, `URI:` or `DNS:` before each. Raises NotAuthenticated, CredentialUnchecked."""
        identity = self._by_field(authorization) if authorization else self._by_name(peer_names)
        if identity.expires_at is not None and self._now_s() >= identity.expires_at:
            raise NotAuthenticated("the credential has expired")
        # Invariant: no remembered token is revoked (tests/unit/agentring/auth/test_authenticator.py).
        if not isinstance(identity, TokenIdentity) and self.is_revoked(identity):
            raise NotAuthenticated("the credential was revoked")
        return identity

    def is_revoked(self, identity: Identity) -> bool:
        """Whether what was valid once is not any more: it was revoked, its key or its table is not in the files, or
        says something else now."""
        if isinstance(identity, TokenIdentity):
            for table, keys in self._rules.issuers.get(identity.table.issuer, ()):
                key = keys.get(identity.key)
                if table == identity.table and key is not None and thumbprint(key) == identity.thumbprint:
                    break
            else:
                return True
        elif identity not in self._rules.fixed:
            return True
        return any(_is_of(row, identity) for row in self._rules.revoked)

    async def run(self) -> None:
        """Reads the files again when they change, until cancelled."""
        while True:
            await asyncio.sleep(_EVERY_S)
            self.poll()

    def poll(self) -> None:
        """Reads the files again if they have changed."""
        now = versions(self._read)
        if now == self._read:
            return
        try:
            self._rules, self._read = load_rules(self._path)
        except AuthFileUnusable as error:
            self._read = now  # said once
            _log.error("auth_file_unusable", why=str(error))
            return
        self._remembered = {name: each for name, each in self._remembered.items() if not self.is_revoked(each)}
        _log.info("auth_file_read", api_keys=len(self._rules.api_keys), issuers=len(self._rules.issuers))

    def _by_field(self, authorization: Sequence[str]) -> Identity:
        found = _BEARER.fullmatch(authorization[0]) if len(authorization) == 1 else None
        if found is None or len(authorization[0]) > MAX_TOKEN_BYTES + len("Bearer "):
            raise NotAuthenticated("`authorization` is not `Bearer` and one token or key, once")
        credential = found[1]
        if (key := _API_KEY.fullmatch(credential)) is None:
            return self._by_token(credential)
        known = self._rules.api_keys.get(key[1], _UNKNOWN_KEY)
        if not hmac.compare_digest(sha256(credential.encode()).hexdigest(), known.digest):
            raise NotAuthenticated("the key is not known")
        return known.identity

    def _by_token(self, token: str) -> TokenIdentity:
        name = sha256(token.encode("utf-8", "surrogatepass")).digest()
        if (known := self._remembered.get(name)) is not None:
            return known
        began_s = self._cost_s()
        self._saved_s = min(_MAX_SAVED_S, self._saved_s + (began_s - self._counted_s) * CHECKING_SHARE)
        self._counted_s = began_s
        if self._saved_s <= 0:
            raise CredentialUnchecked
        try:
            identity = verify_token(token, self._rules.issuers)
        finally:
            self._saved_s -= self._cost_s() - began_s
        if self.is_revoked(identity):
            raise NotAuthenticated("the credential was revoked")
        if len(self._remembered) >= MAX_REMEMBERED:
            del self._remembered[next(iter(self._remembered))]
        self._remembered[name] = identity
        return identity

    def _by_name(self, peer_names: Sequence[str]) -> Identity:
        found = {self._rules.names[name] for name in peer_names if name in self._rules.names}
        if len(found) > 1:
            raise NotAuthenticated("the certificate's names are those of several callers")
        if found:
            return found.pop()
        if self._rules.anonymous is None:
            raise NotAuthenticated("the metadata `authorization: Bearer` is missing")
        return self._rules.anonymous


def _is_of(row: RevokedTable, identity: Identity) -> bool:
    token = identity if isinstance(identity, TokenIdentity) else None
    if row.subject is not None and row.subject != identity.subject:
        return False
    if row.jti is not None and row.jti != (token.jti if token is not None else identity.credential_id):
        return False
    if row.issued_before is not None:
        return token is not None and (token.issued_at is None or token.issued_at < row.issued_before)
    return True
