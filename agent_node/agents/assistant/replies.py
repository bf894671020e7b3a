"""The assistant's answers about what it remembers: the user's name, notes and todos.

Guarantees that every request about them gets its words and its result, also where there is nothing to find, no room or
more than one thing meant. Called by the assistant.
"""

import re
from collections.abc import Awaitable, Callable
from typing import NamedTuple

from agent_node.agents.assistant.intents import Ask, Request, plain, tidy
from agent_node.agents.assistant.memory import Memory, OverBound
from agentring.agent import JsonObject

_EVERYTHING = re.compile(r"everything|all|it all|all of it|everything (?:you know|i (?:said|told you))(?: about me)?")
_NAME = re.compile(r"(?:my )?name|me|who i am")
_ALL_OF = {
    "notes": re.compile(r"(?:all )?(?:of )?(?:my |the |your )?notes"),
    "todos": re.compile(r"(?:all )?(?:of )?(?:my |the |your )?(?:todos|to dos|(?:todo|to do) list)"),
}
_KIND = re.compile(r"(?:the |my )?(?P<kind>note|todo|to-do)\b\s*[:,]?\s*(?P<reference>.+)", re.IGNORECASE)


class Answer(NamedTuple):
    """What the assistant says, and what it returns to scripts."""

    words: str
    result: JsonObject


def answer(request: Request, memory: Memory) -> Answer:
    """Does what a request about the memory asks for."""
    match request.ask:
        case Ask.TELL_NAME:
            return _learn_name(request.about, memory)
        case Ask.SAY_NAME:
            return Answer(f"Your name is {memory.name}." if memory.name else _NO_NAME, _name_result(memory))
        case Ask.ADD_NOTE:
            return _add("notes", request.about, memory)
        case Ask.ADD_TODO:
            return _add("todos", request.about, memory)
        case Ask.LIST_NOTES:
            return Answer(_all_words(memory), _items_result("notes", memory))
        case Ask.LIST_TODOS:
            words = _listed("Your todos", memory.items("todos")) or "You have nothing to do."
            return Answer(words, _items_result("todos", memory))
        case Ask.FINISH_TODO:
            return _finish(request.about, memory)
        case _:
            return _forget(request.about, memory)


_NO_NAME = 'I do not know your name yet. Say "my name is ..." and I will.'


def _learn_name(name: str, memory: Memory) -> Answer:
    if not name:
        return Answer(_NO_NAME, _name_result(memory))
    try:
        memory.learn_name(name)
    except OverBound as over:
        return Answer(_over_bound_words(over), {**_name_result(memory), "refused": True})
    return Answer(f"Nice to meet you, {name}.", _name_result(memory))


async def interview(ask: Callable[[str], Awaitable[str]], memory: Memory) -> Answer:
    """Asks for what it does not know yet: the name, and then whatever is worth a note. ask: answers one question."""
    if not memory.name:
        learned = _learn_name(tidy(await ask("What is your name?")), memory)
        if not memory.name:
            return learned
    note = tidy(await ask(f"What shall I remember, {memory.name}?"))
    return _add("notes", note, memory)


def _add(kind: str, item: str, memory: Memory) -> Answer:
    if not item:
        example = "note: buy milk" if kind == "notes" else "todo: call Bob"
        return Answer(f'Tell me what, as in "{example}".', {**_items_result(kind, memory), "refused": True})
    try:
        memory.add(kind, item)
    except OverBound as over:
        return Answer(_over_bound_words(over), {**_items_result(kind, memory), "refused": True})
    number = len(memory.items(kind))
    words = f"Noted: {item} (note {number})." if kind == "notes" else f"Todo {number}: {item}."
    return Answer(words, _items_result(kind, memory))


def _finish(reference: str, memory: Memory) -> Answer:
    places = memory.find("todos", reference)
    if len(places) != 1:
        words = _which_words("todos", reference, places, memory)
        return Answer(words, {**_items_result("todos", memory), "refused": True})
    done = memory.remove("todos", places[0])
    left = len(memory.items("todos"))
    return Answer(f"Done: {done}. {_count(left, 'todo')} left.", _items_result("todos", memory))


def _forget(about: str, memory: Memory) -> Answer:
    meant = plain(about)
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
    return _forget_one(about, memory)


def _forget_one(about: str, memory: Memory) -> Answer:
    if named := _KIND.fullmatch(about):
        kinds = ["notes" if named["kind"].casefold() == "note" else "todos"]
        about = named["reference"]
    else:
        # A number alone means a note. Words may mean either, a note first.
        kinds = ["notes"] if plain(about).isdecimal() else ["notes", "todos"]
    found = {kind: places for kind in kinds if (places := memory.find(kind, about))}
    kind, places = next(iter(found.items()), (kinds[0], []))
    if len(places) != 1:
        return _forgotten(_which_words(kind, about, places, memory), 0)
    return _forgotten(f"I have forgotten: {memory.remove(kind, places[0])}.", 1)


def _forgotten(words: str, forgotten: int) -> Answer:
    return Answer(words, {"intent": "forget", "forgotten": forgotten})


def _which_words(kind: str, reference: str, places: list[int], memory: Memory) -> str:
    one = kind[:-1]
    if places:
        numbers = ", ".join(str(place + 1) for place in places)
        return f"Which one? It could be {one} {numbers}. Tell me the number."
    if not reference:
        return f'Which one? Tell me its number; "list {kind}" shows them.'
    return f"I found no such {one}. I have {_count(len(memory.items(kind)), one)}."


def _all_words(memory: Memory) -> str:
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


def _over_bound_words(over: OverBound) -> str:
    return f"That is more than I can keep: at most {over.bound} {over.of_what}."


def _name_result(memory: Memory) -> JsonObject:
    return {"intent": "name", "name": memory.name}


def _items_result(kind: str, memory: Memory) -> JsonObject:
    return {"intent": kind, kind: memory.items(kind)}
