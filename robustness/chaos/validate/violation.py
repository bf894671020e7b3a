"""What the checker finds, and what finds it."""

from collections.abc import Callable, Iterator
from dataclasses import dataclass

from robustness.chaos.validate.evidence import Evidence


@dataclass(frozen=True, slots=True)
class Violation:
    """Something that must not be."""

    rule: str
    subject: str
    what: str

    def __str__(self) -> str:
        return f"{self.rule}: {self.subject}: {self.what}"


Rule = Callable[[Evidence], Iterator[Violation]]
