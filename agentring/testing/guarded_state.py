"""A session's state that says so where it is changed inside a step.

The state belongs to the turn and is stored at its end: a step that was recorded does not run again in the next attempt,
so what it changed in the state would be missing there.
"""

from collections.abc import Callable
from typing import Any

_DICT = ("__setitem__", "__delitem__", "__ior__", "clear", "pop", "popitem", "setdefault", "update")
_LIST = (
    *("__setitem__", "__delitem__", "__iadd__", "__imul__"),
    *("append", "clear", "extend", "insert", "pop", "remove", "reverse", "sort"),
)


def guarded(value: Any, check: Callable[[], None]) -> Any:
    """The same value; check: called before it, or what is in it, is changed; raises where that is wrong."""
    found: Any
    if type(value) is dict:
        found = _GuardedDict((name, guarded(item, check)) for name, item in value.items())
    elif type(value) is list:
        found = _GuardedList(guarded(item, check) for item in value)
    else:
        return value
    found._check = check
    return found


class _GuardedDict(dict[str, Any]):
    _check: Callable[[], None]


class _GuardedList(list[Any]):
    _check: Callable[[], None]


def _checked(base: Any, name: str) -> Any:
    change = getattr(base, name)

    def checked(self: Any, *args: Any, **kwargs: Any) -> Any:
        self._check()
        return change(self, *args, **kwargs)

    checked.__name__ = name
    return checked


for _name in _DICT:
    setattr(_GuardedDict, _name, _checked(dict, _name))
for _name in _LIST:
    setattr(_GuardedList, _name, _checked(list, _name))
