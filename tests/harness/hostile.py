"""Objects that do something of their own when they are read, as an agent may hand over."""

import asyncio
from collections.abc import Iterator
from typing import Any

SECRET = "the-objects-own-words-0815"
"""Stands in every exception that is raised here; nobody but the node's log may see it."""


class Lazy(dict[str, Any]):
    """Is not loaded."""

    def __init__(self, error: BaseException) -> None:
        super().__init__(a=1)
        self.error = error

    def items(self) -> Any:
        raise self.error


class Unreadable(list[Any]):
    def __init__(self, error: BaseException) -> None:
        super().__init__([1])
        self.error = error

    def __iter__(self) -> Iterator[Any]:
        raise self.error


class Twice(dict[str, Any]):
    def items(self) -> Any:
        return [("a", 1), ("a", 2)]


class Pairs(dict[str, Any]):
    """Gives something else than pairs."""

    def items(self) -> Any:
        return [1, 2, 3]


class Endless(list[Any]):
    def __iter__(self) -> Iterator[Any]:
        while True:
            yield 1


class Itself(dict[str, Any]):
    """An object that contains itself."""

    def __init__(self) -> None:
        super().__init__()
        self["me"] = self


class Lying(str):
    """Is what it was made of, whatever it says."""

    def __str__(self) -> str:
        raise RuntimeError(SECRET)

    def encode(self, *_: Any, **__: Any) -> bytes:
        return b""

    def __bool__(self) -> bool:
        raise RuntimeError(SECRET)

    def __len__(self) -> int:
        return 0


class Posing:
    """Raises when it is asked what it is."""

    @property
    def __class__(self) -> Any:
        raise SystemExit(SECRET)

    @__class__.setter
    def __class__(self, _: Any) -> None: ...


ERRORS: dict[str, BaseException] = {
    "dict": RuntimeError(SECRET),
    "exit": SystemExit(SECRET),
    "interrupt": KeyboardInterrupt(SECRET),
    "recursion": RecursionError(SECRET),
    "memory": MemoryError(SECRET),
    "cancelled": asyncio.CancelledError(SECRET),
    "generator": GeneratorExit(SECRET),
    "stop": StopIteration(SECRET),
    "key": KeyError(SECRET),
}
HOSTILE: dict[str, Any] = {
    **{name: Lazy(error) for name, error in ERRORS.items()},
    **{f"list, {name}": Unreadable(error) for name, error in ERRORS.items()},
    "twice": Twice(),
    "pairs": Pairs(),
    "itself": Itself(),
    "posing": Posing(),
}


class Unspeakable(Exception):
    """Its own code raises when it is put into words."""

    def __str__(self) -> str:
        raise SystemExit(SECRET)

    __repr__ = __str__


class Unhashable(type):
    """A class of classes that cannot be looked up, and whose name is not to be had."""

    def __hash__(cls) -> int:
        raise RuntimeError(SECRET)

    def __eq__(cls, other: object) -> bool:
        raise RuntimeError(SECRET)

    @property
    def __name__(cls) -> str:  # type: ignore[override]
        raise RuntimeError(SECRET)


class Odd(Exception, metaclass=Unhashable):
    """Of such a class."""
