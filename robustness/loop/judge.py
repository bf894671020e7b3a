"""What must hold of a loop, whenever its nodes were killed."""

import json
from collections import Counter
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from typing import Any

from robustness.loop.agent import result_of
from robustness.loop.model import arguments_of, text_of

MOST_STORED = 2.0
"""Times the unique bytes."""


@dataclass
class Loop:
    """One loop, as it was seen."""

    name: str
    calls: int
    file: str = ""
    """Of the tool's effects, which it is called with."""
    restarts: int = 0
    """How often its client was told that it runs again."""
    kills: int = 0
    """Of nodes, from its start to its end."""
    text: str = ""
    """Its client's, at the end."""
    received_bytes: int = 0
    """Of text, all in all."""
    stored: Mapping[str, int] = field(default_factory=dict)
    """By table, before its last answer."""
    failure: str = ""
    """Why it has not completed."""

    @property
    def unique_bytes(self) -> int:
        """Of texts, results and what the tool is called with, each once."""
        called = range(1, self.calls)
        results = sum(len(result_of(self.name, number)) for number in called)
        arguments = sum(len(json.dumps(arguments_of(self.name, number, self.file))) for number in called)
        return results + arguments + len(self.said) + len(self.name)

    @property
    def said(self) -> str:
        """All that the model says."""
        return "".join(text_of(self.name, number) for number in range(1, self.calls + 1))

    @property
    def stored_times(self) -> float:
        """The stored bytes by the unique ones."""
        return sum(self.stored.values()) / self.unique_bytes


def faults(loop: Loop, asked: Sequence[tuple[int, int]], effects: Sequence[Mapping[str, Any]]) -> list[str]:
    """Everything that must not be, of one loop. asked: its model calls, effects: its tool's, each with its time."""
    if loop.failure:
        return [f"{loop.name} did not complete: {loop.failure}"]
    found = []
    first_asked: dict[int, int] = {}
    for number, at_ns in asked:
        first_asked.setdefault(number, at_ns)
    # The next call shows the outcome of this one, and of its tool: they were finished, and must not begin any more.
    for what, begun in (("model call", asked), ("tool call", [(each["number"], each["at_ns"]) for each in effects])):
        late = [number for number, at_ns in begun if at_ns > first_asked.get(number + 1, at_ns)]
        found += [f"{loop.name}: the {what} {number} ran again after it was finished" for number in late]
    if len(asked) > loop.calls + loop.kills:
        found.append(f"{loop.name}: {len(asked)} model calls were paid, {loop.calls} of {loop.kills} kills")
    missing = set(range(1, loop.calls)) - {each["number"] for each in effects}
    if missing:
        found.append(f"{loop.name}: the tool calls {sorted(missing)} were never made")
    if loop.stored_times > MOST_STORED:
        found.append(f"{loop.name}: {loop.stored_times:.2f} times the unique bytes are stored: {dict(loop.stored)}")
    if loop.text != loop.said:
        found.append(f"{loop.name}: its text is not what the model said")
    return found


def heard_again(loop: Loop) -> str:
    """Why its text was not heard once; empty: it was. Of each kill, the answer that was under way may come anew."""
    longest = max(len(text_of(loop.name, number)) for number in range(1, loop.calls + 1))
    more = loop.received_bytes - len(loop.said)
    return f"{loop.name}: {more} bytes of text came again" if more > longest * loop.kills else ""


def paid(asked: Sequence[tuple[int, int]]) -> int:
    """How many calls were made more than once."""
    return sum(count - 1 for count in Counter(number for number, _ in asked).values())
