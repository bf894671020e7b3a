"""What a client was sent of what a turn or a task's run says, and what it has of it by the protocol's rules. Pure.

Guarantees: a client's words and events are put together as docs/client.md tells clients to, and everything on the way
that they would stumble over is named: an order that goes back, words that do not follow those before, an event that is
left out or comes twice, a promise to keep what the client does not have.
"""

from collections.abc import Iterable, Iterator, Sequence
from dataclasses import dataclass, field
from enum import StrEnum


class Kind(StrEnum):
    """Of an event that says something."""

    WORDS = "words"
    EMITTED = "emitted"
    RESTARTED = "restarted"
    GAP = "gap"


@dataclass(frozen=True, slots=True)
class Said:
    """One event."""

    kind: Kind
    seq: int
    place: int = 0
    """Of words: their offset; of what was emitted: its number in the run; of a restart: how many bytes stay valid."""
    text: str = ""
    """Words."""
    valid_seq: int = 0
    """Of a restart."""


@dataclass(slots=True)
class Assembled:
    """What a client has."""

    seq: int = 0
    words: bytes = b""
    emitted: list[int] = field(default_factory=list)
    """The seq of each event that the agent emitted."""
    is_whole: bool = True
    """Nothing was said to be kept no more."""
    _cuts: list[tuple[int, int]] = field(default_factory=list)
    """After the words of which seq they had how many bytes."""

    def take(self, said: Said) -> Iterator[str]:
        """An event; what is wrong with it."""
        if said.seq <= self.seq:
            yield f"{said.kind} {said.seq} after {self.seq}"
        self.seq = said.seq
        match said.kind:
            case Kind.WORDS:
                if self.is_whole and said.place != len(self.words):
                    yield f"words {said.seq} begin at {said.place}, those before end at {len(self.words)}"
                self.words += said.text.encode()
                self._cuts.append((said.seq, len(self.words)))
            case Kind.EMITTED:
                if self.is_whole and said.place != len(self.emitted):
                    yield f"event {said.seq} is number {said.place}, after {len(self.emitted)}"
                self.emitted.append(said.seq)
            case Kind.RESTARTED:
                yield from self._restart(said)
            case Kind.GAP:
                self.is_whole = False

    def _restart(self, said: Said) -> Iterator[str]:
        self._cuts = [cut for cut in self._cuts if cut[0] <= said.valid_seq]
        kept = self._cuts[-1][1] if self._cuts else 0
        if self.is_whole and kept != said.place:
            yield f"{said.place} bytes are valid up to {said.valid_seq}, where there were {kept}"
        self.words = self.words[:kept]
        self.emitted = [seq for seq in self.emitted if seq <= said.valid_seq]


def assembled(said: Iterable[Said], through_seq: int | None = None) -> Assembled:
    """What a client has after these events, or those of them up to a seq."""
    found = Assembled()
    for each in said:
        if through_seq is not None and each.seq > through_seq:
            break
        for _ in found.take(each):
            pass
    return found


def faults(said: Sequence[Said]) -> list[str]:
    """What is wrong with the events of one stream, each for itself."""
    found = Assembled()
    return [fault for each in said for fault in found.take(each)]
