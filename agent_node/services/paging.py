"""The pages of a list: how large they are, and the token with which the next one is asked for.

A token holds the last id of the page before and what was asked for. It is no secret and gives nothing away: whose list
it is, the call says, not the token. One that was made for another question is refused, as is whatever no node made.
"""

import base64
import binascii
import json
from collections.abc import Awaitable, Callable, Sequence
from typing import TypeVar

from agentring.errors import InvalidArgument, InvalidPageToken, MalformedRequest

DEFAULT_SIZE, LARGEST_SIZE = 100, 1_000

Asked = Sequence[str | int]
"""What a list was asked for, the tenant left out."""
K = TypeVar("K", bound=str)
R = TypeVar("R")


def page_size(asked: int) -> int:
    """How many a page has at most; 0: by default. Raises MalformedRequest."""
    if asked < 0:
        raise MalformedRequest
    return min(asked or DEFAULT_SIZE, LARGEST_SIZE)


async def read_page(
    asked: Asked,
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
    listed = await read(begins_after(asked, token, parse), size + 1)
    return listed[:size], page_token(asked, id_of(listed[size - 1])) if len(listed) > size else ""


def page_token(asked: Asked, last: str) -> str:
    """Says where the next page begins."""
    return base64.urlsafe_b64encode(json.dumps([*asked, last]).encode()).decode()


def begins_after(asked: Asked, token: str, parse: Callable[[str], K]) -> K | None:
    """What a page begins after; None: it is the first. parse: as read_page's. Raises InvalidPageToken."""
    if not token:
        return None
    try:
        *said, last = json.loads(base64.b64decode(token, altchars=b"-_", validate=True))
        if said == [*asked]:
            return parse(last)
    except (binascii.Error, ValueError, TypeError, RecursionError, InvalidArgument):
        pass
    raise InvalidPageToken
