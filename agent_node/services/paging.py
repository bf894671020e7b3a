"""The pages of a list: how large they are, and the token with which the next one is asked for.

A token holds the last id of the page before, and a code over that, the list, the tenant and what was asked for. The
code's key is the cluster's (page_key.py), so any of its nodes takes a token that another one made, also after both were
restarted. Whatever else is in the place of one is refused in one way: a token that was changed, made up, or made for
another tenant, question, list or cluster.
"""

import base64
import binascii
import hashlib
import hmac
import json
from collections.abc import Awaitable, Callable, Sequence
from dataclasses import dataclass
from typing import TypeVar

from agentring.errors import InvalidArgument, InvalidPageToken, MalformedRequest
from agentring.ids import TenantId

DEFAULT_SIZE, LARGEST_SIZE = 100, 1_000
_MOST_CHARS = 2_048
_CODE_BYTES = 32

K = TypeVar("K", bound=str)
R = TypeVar("R")


@dataclass(frozen=True, slots=True, repr=False)
class Listing:
    """A list that is asked for: whose, and by what question."""

    key: bytes
    name: str
    """Which list it is."""
    tenant: TenantId
    asked: Sequence[str | int]
    """What narrows it."""

    def token(self, last: str) -> str:
        """Says that the next page begins after this id."""
        return base64.urlsafe_b64encode(self._code(last) + last.encode()).decode()

    def begins_after(self, token: str, parse: Callable[[str], K]) -> K | None:
        """What a page begins after; None: it is the first. parse: as read_page's. Raises InvalidPageToken."""
        if not token:
            return None
        try:
            raw = base64.b64decode(token, altchars=b"-_", validate=True) if len(token) <= _MOST_CHARS else b""
            last = raw[_CODE_BYTES:].decode()
            # A token has one spelling: base64 has several for the same bytes.
            if hmac.compare_digest(token.encode(), self.token(last).encode()):
                return parse(last)
        except (binascii.Error, ValueError, InvalidArgument):
            pass
        raise InvalidPageToken

    def _code(self, last: str) -> bytes:
        covered = json.dumps([self.name, self.tenant, *self.asked, last]).encode()
        return hmac.digest(self.key, covered, hashlib.sha256)


def page_size(asked: int) -> int:
    """How many a page has at most; 0: by default. Raises MalformedRequest."""
    if asked < 0:
        raise MalformedRequest
    return min(asked or DEFAULT_SIZE, LARGEST_SIZE)


async def read_page(
    listing: Listing,
    token: str,
    size: int,
    parse: Callable[[str], K],
    read: Callable[[K | None, int], Awaitable[Sequence[R]]],
    id_of: Callable[[R], str],
) -> tuple[Sequence[R], str]:
    """The page that the token names, and the token of the next one, empty if there is none.

    parse: reads an id, and raises InvalidArgument; read: so many after an id, from the first where it is None. Raises
    InvalidPageToken, and what `read` raises.
    """
    listed = await read(listing.begins_after(token, parse), size + 1)
    return listed[:size], listing.token(id_of(listed[size - 1])) if len(listed) > size else ""
