"""Refused calls, so that somebody who is refused a million times costs a line and not the disk.

The first of its kind is a line at once; those that follow within the window are one more line, with their number, at
its end. A kind is who, what and why, without the target and the port. Beyond so many kinds in a window the others are
counted together, by their reason. Used by the access log's thread alone.
"""

from collections.abc import Iterator

from agentring.audit.entries import Access

WINDOW_NS = 10_000_000_000
MAX_KINDS = 1_000
_OTHERS = "*"
"""Stands for the values of those that are counted together."""

_Kind = tuple[str, ...]


class Refusals:
    """Those of the window."""

    def __init__(self, max_kinds: int = MAX_KINDS) -> None:
        """max_kinds: in one window."""
        self._max_kinds = max_kinds
        self._followers: dict[_Kind, Access | None] = {}
        """By kind, those after the first; None: there was the first alone."""
        self._since_ns = 0

    def add(self, access: Access, now_ns: int) -> Access | None:
        """One more; returned where it is a line of its own. now_ns: of the clock that `due` goes by."""
        if not self._followers:
            self._since_ns = now_ns
        host = access.peer.rpartition(":")[0]
        kind: _Kind = (access.tenant, access.subject, access.credential, access.method, host, access.refused)
        is_known = kind in self._followers
        if not is_known and len(self._followers) < self._max_kinds:
            self._followers[kind] = None
            return access
        if not is_known:
            # One for each reason besides: their number is that of the errors there are.
            kind = (access.refused,)
            access = Access(access.at_ns, *(_OTHERS,) * 7, access.refused)
        if (counted := self._followers.get(kind)) is None:
            access.until_ns = access.at_ns
            self._followers[kind] = access
        else:
            counted.count += 1
            counted.until_ns = access.at_ns
        return None

    def due(self, now_ns: int, *, at_once: bool = False) -> Iterator[Access]:
        """What was counted, once the window is over, or at once."""
        if not self._followers or (now_ns - self._since_ns < WINDOW_NS and not at_once):
            return
        followers, self._followers = self._followers, {}
        for access in followers.values():
            if access is not None:
                yield access
