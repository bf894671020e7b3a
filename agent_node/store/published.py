"""How far a run had told what it says when a step of it was committed: what stays valid where it runs again."""

import struct
from collections.abc import Iterable
from dataclasses import dataclass
from typing import ClassVar


@dataclass(frozen=True, slots=True)
class Published:
    """How far a run had told what it says, when a step was committed: what stays valid where it runs again."""

    seq: int
    """Of the last event; 0: nothing stays valid."""
    text_bytes: int
    """Of the words."""
    events: int
    """How many events its agent had emitted beside the words."""
    digest: bytes
    """Of the words, 16 bytes."""
    events_digest: int = 0
    """Of those events, in whatever order (run/emitted.py)."""
    numbers: int = 0
    """How many numbers what is valid has, from the turn's acceptance on."""

    _FORM: ClassVar = struct.Struct("<QQQ16sQQ")

    def packed(self) -> bytes:
        """As it is stored."""
        return self._FORM.pack(self.seq, self.text_bytes, self.events, self.digest, self.events_digest, self.numbers)

    @classmethod
    def unpacked(cls, packed: bytes) -> "Published":
        """As it was stored."""
        return cls(*cls._FORM.unpack(packed))


NOTHING_PUBLISHED = Published(0, 0, 0, b"")


def still_valid(published: Iterable[Published]) -> tuple[Published, ...]:
    """Of what the commits of a run kept, in their order: those whose events nothing has voided since."""
    valid: list[Published] = []
    for each in published:
        while valid and valid[-1].seq >= each.seq:
            valid.pop()
        if each.seq:
            valid.append(each)
    return tuple(valid)
