"""A keyed chain of lines: each one's HMAC-SHA-256 covers the one before, so none can be changed, left out, repeated or
moved without the key. That the last ones were cut off, the chain itself cannot tell: its head is kept elsewhere.

A line is JSON whose last member is `mac`; the code covers the bytes before that, as they are in the file.
"""

import hashlib
import hmac
import json
import re
from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path

KEY_BYTES = 32
"""The least of a key."""
NOTHING_BEFORE = bytes(32)
"""What stands for the code before the first line."""
_PURPOSE = b"agentring access log 1\0"
_SEALED = re.compile(rb'(\{"n":([1-9][0-9]{0,17}),.*),"mac":"([0-9a-f]{64})"\}', re.DOTALL)

Said = str | int | bool


class BadKey(Exception):
    """The key's file cannot be used; the message says why."""


@dataclass(frozen=True, slots=True)
class Head:
    """How far a chain has come: what is kept elsewhere."""

    chain: str
    """The chain's own name, 32 hexadecimal digits."""
    process: str
    """Whose it is, for people."""
    lines: int
    mac: str
    """Of that line, in hexadecimal digits."""
    ended: bool = False
    """Whether the process has closed it, so that no line follows."""


@dataclass(frozen=True, slots=True)
class SealedLine:
    """A line as it was read."""

    number: int
    body: bytes
    """What the code covers."""
    mac: bytes


class Chain:
    """A chain that is written: its key and where it is."""

    def __init__(self, key: bytes, name: str) -> None:
        """key: the cluster's, of KEY_BYTES at least; name: 32 hexadecimal digits that no other chain has."""
        self._key = chain_key(key, name)
        self.name = name
        self.lines = 0
        self.mac = NOTHING_BEFORE

    def seal(self, said: Mapping[str, Said]) -> bytes:
        """The next line, with its line feed."""
        self.lines += 1
        # ASCII alone: no name of a caller's makes a line of its own, or one that a terminal acts on.
        body = json.dumps({"n": self.lines, **said}, separators=(",", ":"), ensure_ascii=True)[:-1].encode()
        self.mac = code(self._key, self.mac, body)
        return b'%s,"mac":"%s"}\n' % (body, self.mac.hex().encode())


def chain_key(key: bytes, name: str) -> bytes:
    """Each chain has a key of its own, so that no line of one passes in another."""
    return hmac.digest(key, _PURPOSE + name.encode(), hashlib.sha256)


def key_name(key: bytes) -> str:
    """Tells keys apart, and says nothing of them."""
    return hmac.digest(key, _PURPOSE, hashlib.sha256).hex()[:16]


def code(key: bytes, before: bytes, body: bytes) -> bytes:
    """The code of a line. key: of chain_key; before: the code of the line before."""
    return hmac.digest(key, before + body, hashlib.sha256)


def parse(line: bytes) -> SealedLine | None:
    """A line without its line feed; None: it is none of a chain's."""
    found = _SEALED.fullmatch(line)
    return None if found is None else SealedLine(int(found[2]), found[1], bytes.fromhex(found[3].decode()))


def read_key(path: Path) -> bytes:
    """The bytes of the file, all of them. Raises BadKey."""
    try:
        key = path.read_bytes()
    except OSError as error:
        raise BadKey(f"the access log's key {path} cannot be read: {error.strerror}") from None
    if len(key) < KEY_BYTES:
        raise BadKey(
            f"the access log's key {path} has {len(key)} bytes, and must have {KEY_BYTES} or more: make one with "
            f"`openssl rand -out {path} {KEY_BYTES}`"
        )
    return key
