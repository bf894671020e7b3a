"""What the assistant keeps in a session's state: the user's name, notes and todos.

Guarantees that it is bounded, in number and in length, and that a change beyond the bound is refused whole (OverBound).
Reading changes nothing, so a turn that only asks leaves the state as it was.
"""

import re
from dataclasses import dataclass

from agent_node.agents.assistant.intents import plain
from agentring.agent import JsonObject

MAX_NAME_CHARACTERS = 100
MAX_ITEMS = 100
"""Of notes, and of todos."""
MAX_ITEM_CHARACTERS = 500

_NUMBERED = re.compile(r"(?:the )?(?:todo|to-do|note|item)?\s*(?:number|nr\.?|no\.?|#)?\s*(?P<number>[0-9]{1,9})", re.I)


class OverBound(Exception):
    """There is no room for one more, or it is too long."""

    def __init__(self, bound: int, bounded: str) -> None:
        super().__init__(bound, bounded)
        self.bound = bound
        self.bounded = bounded


@dataclass(frozen=True, slots=True)
class Memory:
    """The session's state, read and changed in place under the keys `name`, `notes` and `todos`."""

    state: JsonObject

    @property
    def name(self) -> str | None:
        """The user's name; None: not known yet."""
        name: str | None = self.state.get("name")
        return name

    def learn_name(self, name: str) -> None:
        """Keeps the name. Raises OverBound."""
        if len(name) > MAX_NAME_CHARACTERS:
            raise OverBound(MAX_NAME_CHARACTERS, "characters of a name")
        self.state["name"] = name

    def forget_name(self) -> bool:
        """Whether there was one."""
        return self.state.pop("name", None) is not None

    def items(self, kind: str) -> list[str]:
        """A copy of the `notes` or the `todos`, oldest first."""
        return list(self.state.get(kind, ()))

    def add(self, kind: str, item: str) -> None:
        """Keeps one more. Raises OverBound."""
        if len(item) > MAX_ITEM_CHARACTERS:
            raise OverBound(MAX_ITEM_CHARACTERS, f"characters for each of the {kind}")
        items = self.items(kind)
        if len(items) >= MAX_ITEMS:
            raise OverBound(MAX_ITEMS, kind)
        self.state[kind] = [*items, item]

    def remove(self, kind: str, index: int) -> str:
        """Removes the item at this index and returns it."""
        items = self.items(kind)
        item = items.pop(index)
        self.state[kind] = items
        return item

    def clear(self, kind: str) -> int:
        """Removes all and returns how many there were."""
        return len(self.state.pop(kind, ()))

    def find(self, kind: str, reference: str) -> list[int]:
        """The indexes of the items that a number as listed (from 1) or a text means.

        A text means the item that it equals; else every item that it occurs in.
        """
        items = self.items(kind)
        if numbered := _NUMBERED.fullmatch(reference.strip()):
            index = int(numbered["number"]) - 1
            return [index] if 0 <= index < len(items) else []
        wanted = plain(reference)
        if not wanted:
            return []
        found = [plain(item) for item in items]
        if wanted in found:
            return [found.index(wanted)]
        return [index for index, item in enumerate(found) if wanted in item]
