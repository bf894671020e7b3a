"""Errors that come again as themselves: what a tool or a step of `ctx.once` raised in an earlier attempt.

Guarantees: an agent that catches an error by its class, reads its text or its arguments, does in a later attempt what
it did in the first. The class is looked up among the modules that are loaded; nothing is imported, and nothing but the
class is called. One that cannot be made of its arguments anew is a subclass that no code of the class has made, and one
whose class is not to be found is a plain error of the same text.
"""

import asyncio
import sys
from typing import Any, cast

from agent_node.agent_errors import text_of
from agentring import plain_json
from agentring.plain_json import type_name

_MOST_CHARS = 64 << 10
_MOST_ARGS_BYTES = 64 << 10


def recorded(error: BaseException) -> list[Any]:
    """What is kept of it: its type's name, its text, its class and module, its arguments, as JSON."""
    kind = type(error)
    args: list[Any] | None = None
    try:
        made_by, made_of, *_ = tuple(error.__reduce__())  # as it would be copied
        plain = plain_json.to_plain(list(made_of), max_bytes=_MOST_ARGS_BYTES) if made_by is kind else None
        args = plain if isinstance(plain, list) else None
    except Exception:  # they may be anything
        args = None
    module = kind.__module__ if isinstance(kind.__module__, str) else ""
    name = kind.__qualname__ if isinstance(kind.__qualname__, str) else type_name(kind)
    return [type_name(kind), text_of(error)[:_MOST_CHARS], name, module, args]


def again(record: list[Any]) -> BaseException:
    """The error of a record."""
    _, text, name, module, args = record
    kind = _kind(module, name)
    if kind is None:
        return _stand_in(Exception, name, text)
    if args is not None:
        try:
            made = kind(*args)
        except Exception:
            return _stand_in(kind, name, text)
        if type(made) is kind and text_of(made)[:_MOST_CHARS] == text:
            return made
    return _stand_in(kind, name, text)


def _kind(module: str, name: str) -> type[Exception] | type[asyncio.CancelledError] | None:
    found: Any = sys.modules.get(module)
    for part in name.split("."):
        found = getattr(found, part, None)
    if isinstance(found, type) and issubclass(found, Exception | asyncio.CancelledError):
        return found
    return None


def _stand_in(kind: type[BaseException], name: str, text: str) -> BaseException:
    """Of the class, with the text."""
    body = {"__str__": lambda _: text, "__module__": kind.__module__, "__qualname__": name}
    builtin = next(each for each in kind.__mro__ if each.__module__ == "builtins")
    try:
        made: Any = builtin.__new__(type(name.rpartition(".")[2], (kind,), body), text)
    except Exception:  # the class may refuse to have one
        return _stand_in(Exception, name, text)
    made.args = (text,)
    return cast(BaseException, made)
