"""The assistant's replies about its memory: the user's name, notes and todos.

Guarantees that every request about them gets a text and a result, also where nothing is found, there is no room, or
more than one item may be meant.
"""

import re
from collections.abc import Awaitable, Callable
from typing import NamedTuple

from agent_node.agents.assistant.intents import Intent, Request, plain, tidy
from agent_node.agents.assistant.memory import Memory, OverBound
from agentring.agent import JsonObject

_EVERYTHING = re.compile(r"everything|all|it all|all of it|everything (?:you know|i (?:said|told you))(?: about me)?")
_NAME = re.compile(r"(?:my )?name|me|who i am")
_ALL_OF = {
    "notes": re.compile(r"(?:all )?(?:of )?(?:my |the |your )?notes"),
    "todos": re.compile(r"(?:all )?(?:of )?(?:my |the |your )?(?:todos|to dos|(?:todo|to do) list)"),
}
_KIND = re.compile(r"(?:the |my )?(?P<kind>note|todo|to-do)\b\s*[:,]?\s*(?P<reference>.+)", re.IGNORECASE)


class Reply(NamedTuple):
    """What the assistant says, and what it returns to scripts."""

    text: str
    result: JsonObject


def reply_from_memory(request: Request, memory: Memory) -> Reply:
    """Does what a request about the memory asks for."""
    match request.intent:
        case Intent.TELL_NAME:
            return _learn_name(request.subject, memory)
        case Intent.SAY_NAME:
            return Reply(f"Your name is {memory.name}." if memory.name else _NO_NAME, _name_result(memory))
        case Intent.ADD_NOTE:
            return _add("notes", request.subject, memory)
        case Intent.ADD_TODO:
            return _add("todos", request.subject, memory)
        case Intent.LIST_NOTES:
            return Reply(_all_text(memory), _items_result("notes", memory))
        case Intent.LIST_TODOS:
            text = _listed("Your todos", memory.items("todos")) or "You have nothing to do."
            return Reply(text, _items_result("todos", memory))
        case Intent.FINISH_TODO:
            return _finish(request.subject, memory)
        case _:
            return _forget(request.subject, memory)


_NO_NAME = 'I do not know your name yet. Say "my name is ..." and I will.'


def _learn_name(name: str, memory: Memory) -> Reply:
    if not name:
        return Reply(_NO_NAME, _name_result(memory))
    try:
        memory.learn_name(name)
    except OverBound as over:
        return Reply(_over_bound_text(over), {**_name_result(memory), "refused": True})
    return Reply(f"Nice to meet you, {name}.", _name_result(memory))


async def interview(ask: Callable[[str], Awaitable[str]], memory: Memory) -> Reply:
    """Asks for what it does not know yet: the name, and then something to note. ask: asks one question."""
    if not memory.name:
        reply = _learn_name(tidy(await ask("What is your name?")), memory)
        if not memory.name:
            return reply
    note = tidy(await ask(f"What shall I remember, {memory.name}?"))
    return _add("notes", note, memory)


def _add(kind: str, item: str, memory: Memory) -> Reply:
    if not item:
        example = "note: buy milk" if kind == "notes" else "todo: call Bob"
        return Reply(f'Tell me what, as in "{example}".', {**_items_result(kind, memory), "refused": True})
    try:
        memory.add(kind, item)
    except OverBound as over:
        return Reply(_over_bound_text(over), {**_items_result(kind, memory), "refused": True})
    number = len(memory.items(kind))
    text = f"Noted: {item} (note {number})." if kind == "notes" else f"Todo {number}: {item}."
    return Reply(text, _items_result(kind, memory))


def _finish(reference: str, memory: Memory) -> Reply:
    indexes = memory.find("todos", reference)
    if len(indexes) != 1:
        text = _which_text("todos", reference, indexes, memory)
        return Reply(text, {**_items_result("todos", memory), "refused": True})
    done = memory.remove("todos", indexes[0])
    left = len(memory.items("todos"))
    return Reply(f"Done: {done}. {_count(left, 'todo')} left.", _items_result("todos", memory))


def _forget(subject: str, memory: Memory) -> Reply:
    meant = plain(subject)
    if _EVERYTHING.fullmatch(meant):
        forgotten = memory.forget_name() + memory.clear("notes") + memory.clear("todos")
        return _forgotten("I have forgotten everything." if forgotten else "There was nothing to forget.", forgotten)
    if _NAME.fullmatch(meant):
        known = memory.forget_name()
        return _forgotten("I have forgotten your name." if known else "I do not know your name.", int(known))
    for kind, phrase in _ALL_OF.items():
        if phrase.fullmatch(meant):
            forgotten = memory.clear(kind)
            return _forgotten(f"I have forgotten {_count(forgotten, kind[:-1])}.", forgotten)
    return _forget_one(subject, memory)


def _forget_one(subject: str, memory: Memory) -> Reply:
    if named := _KIND.fullmatch(subject):
        kinds = ["notes" if named["kind"].casefold() == "note" else "todos"]
        subject = named["reference"]
    else:
        # A number alone means a note. A text may mean either, a note first.
        kinds = ["notes"] if plain(subject).isdecimal() else ["notes", "todos"]
    found = {kind: indexes for kind in kinds if (indexes := memory.find(kind, subject))}
    kind, indexes = next(iter(found.items()), (kinds[0], []))
    if len(indexes) != 1:
        return _forgotten(_which_text(kind, subject, indexes, memory), 0)
    return _forgotten(f"I have forgotten: {memory.remove(kind, indexes[0])}.", 1)


def _forgotten(text: str, forgotten: int) -> Reply:
    return Reply(text, {"intent": "forget", "forgotten": forgotten})


def _which_text(kind: str, reference: str, indexes: list[int], memory: Memory) -> str:
    one = kind[:-1]
    if indexes:
        numbers = ", ".join(str(index + 1) for index in indexes)
        return f"Which one? It could be {one} {numbers}. Tell me the number."
    if not reference:
        return f'Which one? Tell me its number; "list {kind}" shows them.'
    return f"I found no such {one}. I have {_count(len(memory.items(kind)), one)}."


def _all_text(memory: Memory) -> str:
    parts = [
        f"Your name is {memory.name}." if memory.name else "",
        _listed("Your notes", memory.items("notes")),
        _listed("Your todos", memory.items("todos")),
    ]
    return "\n".join(part for part in parts if part) or "You have not told me anything yet."


def _listed(title: str, items: list[str]) -> str:
    return "\n".join([f"{title}:", *(f"{number}. {item}" for number, item in enumerate(items, 1))]) if items else ""


def _count(number: int, one: str) -> str:
    return f"{number} {one}" if number == 1 else f"{number or 'no'} {one}s"


def _over_bound_text(over: OverBound) -> str:
    return f"That is more than I can keep: at most {over.bound} {over.bounded}."


def _name_result(memory: Memory) -> JsonObject:
    return {"intent": "name", "name": memory.name}


def _items_result(kind: str, memory: Memory) -> JsonObject:
    return {"intent": kind, kind: memory.items(kind)}
