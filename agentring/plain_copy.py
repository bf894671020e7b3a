"""A quick copy of what is plain JSON already: dicts, lists, strings and numbers of exactly these classes.

Guarantees: no code of the value's own runs, and the copy is what plain_json would read; whatever is in any way unusual
(a subclass, a tuple, a large number, half a character, many levels, too many bytes) is not copied, but left to
plain_json, which says what is wrong with it. Called there: nearly all that agents hand over is plain.
"""

from typing import Any, Final

MOST_WHOLE: Final = 1 << 53
_MOST_LEVELS: Final = 16
"""Below every limit of plain_json's."""


class NotPlain(Exception):
    """It is left to plain_json."""


class PlainCopy:
    """One copy."""

    def __init__(self, max_bytes: int) -> None:
        """max_bytes: counted as plain_json does."""
        self._left_bytes: int = max_bytes

    def copy(self, value: Any) -> Any:
        """Raises NotPlain, and UnicodeEncodeError or RuntimeError where it changes meanwhile or has half a
        character."""
        copied = self._copy(value, _MOST_LEVELS)
        if self._left_bytes < 0:
            raise NotPlain
        return copied

    def _copy(self, value: Any, levels: int) -> Any:
        kind = type(value)
        if kind is str:
            self._left_bytes -= 1 + (len(value) if value.isascii() else len(value.encode()))
        elif kind is int:
            if not -MOST_WHOLE <= value <= MOST_WHOLE:
                raise NotPlain
            self._left_bytes -= 1
        elif value is None or kind is bool:
            self._left_bytes -= 1
        elif kind is float:
            if value - value != 0.0:  # infinite, or not a number
                raise NotPlain
            self._left_bytes -= 1
        elif levels and self._left_bytes >= 0 and kind is dict:
            return self._copy_dict(value, levels - 1)
        elif levels and self._left_bytes >= 0 and kind is list:
            return self._copy_list(value, levels - 1)
        else:
            raise NotPlain
        return value

    def _copy_dict(self, value: dict[Any, Any], levels: int) -> dict[str, Any]:
        copied: dict[str, Any] = {}
        self._left_bytes -= 1
        for key, item in value.items():
            if type(key) is not str:
                raise NotPlain
            self._left_bytes -= len(key) if key.isascii() else len(key.encode())
            copied[key] = self._copy(item, levels)
        return copied

    def _copy_list(self, value: list[Any], levels: int) -> list[Any]:
        copied: list[Any] = []
        self._left_bytes -= 1
        for item in value:
            if type(item) is str and item.isascii():
                self._left_bytes -= 1 + len(item)
                copied.append(item)
            else:
                copied.append(self._copy(item, levels))
        return copied
