"""Text that an agent or its model made, which may have any character in it.

Guarantees: what comes back is what was kept. PostgreSQL's text holds everything but U+0000, so there it is written in
two characters; a turn that said it could otherwise never be committed, and would be run again and again.
"""

import re

from sqlalchemy import Dialect, Text, TypeDecorator

_MARK = "\x01"
_WRITTEN = {"\0": _MARK + "0", _MARK: _MARK * 2}
_READ = {written: character for character, written in _WRITTEN.items()}
_CHARACTER = re.compile("[\0\x01]")
_PAIR = re.compile("\x01[0\x01]")


class NulSafeText(TypeDecorator[str]):
    """A column of such text."""

    impl = Text
    cache_ok = True

    def process_bind_param(self, value: str | None, dialect: Dialect) -> str | None:
        """As it is written."""
        if value is None or dialect.name != "postgresql":
            return value
        return _CHARACTER.sub(lambda found: _WRITTEN[found[0]], value)

    def process_result_value(self, value: str | None, dialect: Dialect) -> str | None:
        """As it was."""
        if value is None or dialect.name != "postgresql":
            return value
        return _PAIR.sub(lambda found: _READ[found[0]], value)
