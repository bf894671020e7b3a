"""What the assistant keeps of a session: the user's name, notes and todos.

Guarantees that what it keeps is bounded, in number and in length, and that a change that would go beyond is refused
whole (OverBound). Looking changes nothing, so a turn that only asks leaves the session's state as it was. Called by the
assistant, once a turn, with the turn's own copy of the state; that the state is kept is the node's part.
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

    def __init__(self, bound: int, of_what: str) -> None:
        super().__init__(bound, of_what)
        self.bound = bound
        self.of_what = of_what


@dataclass(frozen=True, slots=True)
class Memory:
    """The session's state, read and changed in place under the keys `name`, `notes` and `todos`."""

    state: JsonObject

    @property
    def name(self) -> str | None:
        """The user's name; None: not told yet."""
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
        """Takes one away, by its place from 0, and returns it."""
        items = self.items(kind)
        item = items.pop(index)
        self.state[kind] = items
        return item

    def clear(self, kind: str) -> int:
        """Takes all away and returns how many there were."""
        return len(self.state.pop(kind, ()))

    def find(self, kind: str, reference: str) -> list[int]:
        """The places, from 0, of what is meant by a number as listed (from 1) or by words.

        The words mean the item that they are; else every item that they occur in.
        """
        items = self.items(kind)
        if numbered := _NUMBERED.fullmatch(reference.strip()):
            place = int(numbered["number"]) - 1
            return [place] if 0 <= place < len(items) else []
        wanted = plain(reference)
        if not wanted:
            return []
        kept = [plain(item) for item in items]
        if wanted in kept:
            return [kept.index(wanted)]
        return [place for place, item in enumerate(kept) if wanted in item]
