"""Who calls, by the credentials that one auth file knows. Its files are read again when they change.

Guarantees: where a call has `authorization`, that alone decides. A token is verified once, and remembered by its hash
until its end; what is remembered is bounded, and so is the part of the loop's time that unknown tokens take. A key is
compared in constant time. Files and keys are read in threads; a file that becomes unusable changes nothing, and is
logged and counted. No credential is kept.
"""

import asyncio
import hmac
import re
import time
from collections.abc import Awaitable, Callable, Sequence
from hashlib import sha256
from pathlib import Path
from typing import Final

import structlog

from agentring.auth.checking_share import CheckingShare
from agentring.auth.identity import Identity
from agentring.auth.jwks import KeySet
from agentring.auth.jwks_fetch import fetch_jwks
from agentring.auth.jwks_refresh import FetchedKeys
from agentring.auth.rules import ApiKey, AuthFileUnusable, KeyIdentity, Rules, Versions, load_rules, versions
from agentring.auth.tokens import KEY_UNKNOWN, MAX_TOKEN_BYTES, KeyNotHere, TokenIdentity, verify_token
from agentring.errors import CredentialUnchecked, NotAuthenticated

MAX_REMEMBERED: Final = 10_000
_EVERY_S: Final = 1.0
_BEARER: Final = re.compile(r"bearer +([^ ]+)", re.IGNORECASE | re.ASCII)
_API_KEY: Final = re.compile(r"ar_([A-Za-z0-9-]{1,32})_[0-9a-f]{64}", re.ASCII)
_UNKNOWN_KEY: Final = ApiKey("0" * 64, KeyIdentity("", "", frozenset(), "", None, ""))

_log = structlog.get_logger()


class AuthFile:
    """The credentials of an auth file. Resource handling: one task must run `run()`."""

    def __init__(
        self,
        path: Path,
        now_s: Callable[[], float] = time.time,
        cost_s: Callable[[], float] = time.perf_counter,
        clock_s: Callable[[], float] = time.monotonic,
        fetch: Callable[[str], Awaitable[KeySet]] = fetch_jwks,
        loaded: tuple[Rules, Versions] | None = None,
    ) -> None:
        """path: of the file; now_s: Unix time; cost_s: what verifying is measured with; clock_s: when keys are fetched
        anew, with fetch; loaded: what the file says, if it was read. Raises AuthFileUnusable."""
        self._path = path
        self._now_s = now_s
        self._rules, self._read = loaded or load_rules(path)
        self._fetched = FetchedKeys(fetch, clock_s)
        self._fetched.keep(self._rules.urls)
        self._share = CheckingShare(cost_s)
        self._remembered: dict[bytes, TokenIdentity] = {}
        """By the tokens' SHA-256, the oldest first."""
        self._unsure: dict[bytes, TokenIdentity] = {}
        """Of before the last change: looked at anew when they are asked for, so that no change holds the loop up."""
        self.changes = 0
        """Goes up when what was valid may not be any more."""
        self.why_unusable = ""
        """Why the files, as they are now, are not what is in force."""
        self.unchecked = 0
        """Tokens that were not looked at."""

    @property
    def remembered(self) -> int:
        """How many tokens."""
        return len(self._remembered) + len(self._unsure)

    @property
    def fetched(self) -> FetchedKeys:
        """The issuers' keys that are fetched."""
        return self._fetched

    def identify(self, authorization: Sequence[str], peer_names: Sequence[str], origin: str = "") -> Identity:
        """Who calls. authorization: the values of the call's fields of this name; peer_names: of its connection's
        certificate, `URI:` or `DNS:` before each; origin: its peer's address, without the port, for which alone part
        of the time for unknown tokens is. Raises NotAuthenticated, CredentialUnchecked."""
        identity = self._by_field(authorization, origin) if authorization else self._by_name(peer_names)
        if identity.expires_at is not None and self._now_s() >= identity.expires_at:
            raise NotAuthenticated("the credential has expired")
        # Invariant: no remembered token is revoked (tests/unit/agentring/auth/test_authenticator.py).
        if not isinstance(identity, TokenIdentity) and identity not in self._rules.fixed:
            raise NotAuthenticated("the credential was revoked")
        return identity

    def is_revoked(self, identity: Identity) -> bool:
        """Whether what was valid once is not any more: it was revoked, its key or its table is not in the files, or
        says something else now. Changes when `changes` does, and not else."""
        if not isinstance(identity, TokenIdentity):
            return identity not in self._rules.fixed
        for table, keys in self._rules.issuers.get(identity.table.issuer, ()):
            is_same = table is identity.table or table == identity.table
            if is_same and keys.names.get(identity.key) == identity.thumbprint:
                return self._rules.revocations.has_token(identity)
        return True

    @property
    def rules(self) -> Rules:
        """What the files say now."""
        return self._rules

    async def run(self) -> None:
        """Reads the files again when they change, and fetches keys when it is time, until cancelled."""
        async with asyncio.TaskGroup() as fetches:
            while True:
                for url in list(self._fetched.due()):
                    fetches.create_task(self.fetch(url))
                if self._fetched.drop_stale():
                    self._put(self._rules, self._read)
                await asyncio.sleep(_EVERY_S)
                self._apply(await asyncio.to_thread(self._read_changed))

    def poll(self) -> None:
        """Reads the files again if they have changed."""
        self._apply(self._read_changed())

    async def fetch(self, url: str) -> None:
        """Fetches the keys at a URL. A failure is logged."""
        if await self._fetched.fetch(url):
            self._put(self._rules, self._read)

    def _read_changed(self) -> tuple[Rules, Versions] | AuthFileUnusable | None:
        """None: nothing has changed. Touches nothing."""
        # A file that is missing may be named by a new one alone: so what is unusable is read again each time.
        if not self.why_unusable and versions(self._read) == self._read:
            return None
        try:
            return load_rules(self._path)
        except AuthFileUnusable as error:
            return error
        except Exception as error:  # a library's own: what is in force stays, and this task too
            return AuthFileUnusable(f"{self._path}: it cannot be read ({type(error).__name__})")

    def _apply(self, outcome: tuple[Rules, Versions] | AuthFileUnusable | None) -> None:
        if outcome is None:
            return
        if isinstance(outcome, AuthFileUnusable):
            if str(outcome) != self.why_unusable:
                self.why_unusable = str(outcome)
                _log.error("auth_file_unusable", why=self.why_unusable)
            return
        rules, read = outcome
        self.why_unusable = ""
        self._fetched.keep(rules.urls)
        self._put(rules, read)
        _log.info("auth_file_read", api_keys=len(rules.api_keys), issuers=len(rules.issuers))

    def _put(self, rules: Rules, read: Versions) -> None:
        self._rules, self._read = rules.with_fetched(self._fetched.get), read
        self._unsure.update(self._remembered)
        self._remembered = {}
        self.changes += 1

    def _by_field(self, authorization: Sequence[str], origin: str) -> Identity:
        found = _BEARER.fullmatch(authorization[0]) if len(authorization) == 1 else None
        if found is None or len(authorization[0]) > MAX_TOKEN_BYTES + len("Bearer "):
            raise NotAuthenticated("`authorization` is not `Bearer` and one token or key, once")
        credential = found[1]
        if (key := _API_KEY.fullmatch(credential)) is None:
            return self._by_token(credential, origin)
        known = self._rules.api_keys.get(key[1], _UNKNOWN_KEY)
        if not hmac.compare_digest(sha256(credential.encode()).hexdigest(), known.digest):
            raise NotAuthenticated("the key is not known")
        return known.identity

    def _by_token(self, token: str, origin: str) -> TokenIdentity:
        name = sha256(token.encode("utf-8", "surrogatepass")).digest()
        if (known := self._remembered.get(name)) is not None:
            return known
        identity = self._unsure.pop(name, None)
        if identity is None or self.is_revoked(identity):
            identity = self._verified(token, origin)
        if self.is_revoked(identity):
            raise NotAuthenticated("the credential was revoked")
        if self.remembered >= MAX_REMEMBERED:
            oldest = self._unsure or self._remembered
            del oldest[next(iter(oldest))]
        self._remembered[name] = identity
        return identity

    def _verified(self, token: str, origin: str) -> TokenIdentity:
        if (began_s := self._share.begin(origin)) is None:
            self.unchecked += 1
            raise CredentialUnchecked
        try:
            return verify_token(token, self._rules.issuers)
        except KeyNotHere as error:
            may_come = [self._fetched.ask(url) for url in error.urls]
            if any(may_come):
                raise CredentialUnchecked from None
            raise NotAuthenticated(KEY_UNKNOWN) from None
        finally:
            self._share.end(origin, began_s)

    def _by_name(self, peer_names: Sequence[str]) -> Identity:
        found = {self._rules.names[name] for name in peer_names if name in self._rules.names}
        if len(found) > 1:
            raise NotAuthenticated("the certificate's names are those of several callers")
        if found:
            return found.pop()
        if self._rules.anonymous is None:
            if peer_names:
                raise NotAuthenticated(
                    "no table [[mtls]] names the certificate, and `authorization: Bearer` is missing"
                )
            raise NotAuthenticated("the metadata `authorization: Bearer` is missing")
        return self._rules.anonymous
