"""Calls among routers and nodes of one machine, signed with the cluster's secret.

A signature covers the method, the path, all metadata that routes or begins with `x-agentring-`, the incarnation of the
node that is called, who calls, the time, and a nonce. Guarantees: a call that is changed, sent a second time, sent to
another incarnation or held back for MAX_AGE_S is refused. It is no protection from who can read the process's memory or
the secret's file, and hides nothing: off loopback peers use certificates instead. Made by the relay, the router's own
services and nodes; checked by nodes.
"""

import hmac
import secrets
import time
from collections.abc import Callable, Iterable, Mapping
from pathlib import Path
from typing import Final

from agentring import metadata
from agentring.auth.caller_fields import Pairs
from agentring.errors import NodeFenced, NodeOverloaded, NotAuthenticated

MAX_AGE_S: Final = 30.0
MAX_AHEAD_S: Final = 5.0
"""Of a clock that is set while calls are under way."""
MIN_SECRET_BYTES: Final = 32
_SHA256: Final = "sha256"
_MAX_NONCES: Final = 1_000_000
_OTHERS: Final = 0o077


class SecretUnusable(Exception):
    """The cluster secret's file is not what it must be."""


class ClusterSecret:
    """The keys made of the secret's file: the first line's signs, every line's is believed, so that a secret can be
    replaced one process at a time."""

    __slots__ = ("keys",)

    def __init__(self, lines: Iterable[bytes], cluster: str) -> None:
        """cluster: its name; another cluster's calls are not believed, whatever secret it has."""
        self.keys = [hmac.digest(line, b"agentring peer 1\0" + cluster.encode(), _SHA256) for line in lines]

    @classmethod
    def read(cls, path: Path, cluster: str) -> "ClusterSecret":
        """Raises SecretUnusable."""
        try:
            mode, text = path.stat().st_mode, path.read_bytes()
        except OSError as error:
            raise SecretUnusable(f"{path}: {error.strerror}") from None
        if mode & _OTHERS:
            raise SecretUnusable(f"{path}: others than its owner may use it: chmod 600 it")
        lines = [line.strip() for line in text.splitlines() if line.strip()]
        if not lines or min(map(len, lines)) < MIN_SECRET_BYTES:
            raise SecretUnusable(
                f"{path}: a line must have {MIN_SECRET_BYTES} characters at least, as of `openssl rand -hex 32`"
            )
        return cls(lines, cluster)

    def __repr__(self) -> str:
        """Without the keys."""
        return f"<ClusterSecret of {len(self.keys)}>"


class Signer:
    """Signs the calls of one process."""

    def __init__(self, secret: ClusterSecret, name: str, now_s: Callable[[], float] = time.time) -> None:
        """name: whose calls they are, `router/<id>` or `node/<id>`; now_s: Unix time."""
        self._key = secret.keys[0]
        self._name = name
        self._now_s = now_s
        self._prefix = secrets.token_hex(8)
        self._count = 0

    def pairs(self, path: str, signed: Iterable[tuple[str, str]], incarnation: int) -> Pairs:
        """The metadata that prove a call. path: the RPC's full name; signed: its metadata that route or begin with
        `x-agentring-`, each name once; incarnation: of the node."""
        self._count += 1
        stamp = f"{self._now_s():.3f} {self._prefix}{self._count:x} {incarnation}"
        mac = hmac.digest(self._key, _canonical(path, self._name, stamp, signed), _SHA256).hex()
        return ((metadata.PEER, self._name), (metadata.SIGNATURE, f"{stamp} {mac}"))


class SignatureCheck:
    """Checks the calls that come to one node."""

    def __init__(
        self, secret: ClusterSecret, incarnation: Callable[[], int], now_s: Callable[[], float] = time.time
    ) -> None:
        """incarnation: under which the node is registered now; 0: it is not."""
        self._keys = secret.keys
        self._incarnation = incarnation
        self._now_s = now_s
        self._seen: set[str] = set()
        self._seen_before: set[str] = set()
        self._turned_s = now_s()

    def peer_of(self, path: str, fields: Mapping[str, str]) -> str:
        """The name of the peer that has signed the call. fields: those that it must have signed, and the signature's.
        Raises NotAuthenticated, NodeFenced where it was meant for another incarnation, NodeOverloaded."""
        name, value = fields.get(metadata.PEER, ""), fields.get(metadata.SIGNATURE, "")
        stamp, _, mac = value.rpartition(" ")
        signed = [pair for pair in fields.items() if pair[0] not in (metadata.PEER, metadata.SIGNATURE)]
        canonical = _canonical(path, name, stamp, signed)
        # Invariant: nothing of the stamp is read before it was proved (tests/unit/agentring/auth/test_signatures.py).
        given = mac.encode("latin-1")
        if not any(
            hmac.compare_digest(hmac.digest(key, canonical, _SHA256).hex().encode(), given) for key in self._keys
        ):
            raise NotAuthenticated("the peer's signature is not the cluster's")
        said_s, nonce, incarnation = stamp.split(" ")
        now_s = self._now_s()
        if not -MAX_AHEAD_S <= now_s - float(said_s) <= MAX_AGE_S:
            raise NotAuthenticated("the peer's signature is too old, or of a clock that is ahead")
        self._use(nonce, now_s)
        if int(incarnation) != self._incarnation():
            raise NodeFenced
        return name

    def _use(self, nonce: str, now_s: float) -> None:
        if now_s - self._turned_s > MAX_AGE_S + MAX_AHEAD_S:
            self._seen, self._seen_before, self._turned_s = set(), self._seen, now_s
        elif now_s < self._turned_s:  # the clock was set back, and what is remembered is needed for longer
            self._turned_s = now_s
        if nonce in self._seen or nonce in self._seen_before:
            raise NotAuthenticated("the peer's signature was used before")
        if len(self._seen) >= _MAX_NONCES:
            raise NodeOverloaded
        self._seen.add(nonce)


def _canonical(path: str, name: str, stamp: str, signed: Iterable[tuple[str, str]]) -> bytes:
    """What is signed. No field of HTTP/2 has a line's end in it."""
    lines = [f"{field}:{value}" for field, value in sorted(signed)]
    return "\n".join(("POST", path, name, stamp, *lines)).encode("latin-1", "replace")
