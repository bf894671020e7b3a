"""What agents print, log and warn of, as lines of the node's log.

Guarantees: each line has the fields of the run that it is of, as the node's own lines do; no more than MOST_CHARACTERS
of a line without an end are held; an agent that prints is not failed by a log that cannot be written. What is written
past Python's `sys.stdout` comes as it stands. Installed once by a process that runs agents.
"""

import io
import logging
import sys
from typing import Any
from weakref import WeakKeyDictionary

import structlog

from agentring.plain_json import type_name
from agentring.process.owned_loop import OWNER, Owner

MOST_CHARACTERS = 8_192
_LIBRARIES = ("aetcd", "alembic", "asyncio", "grpc", "sqlalchemy")
"""What the node itself uses: of these, warnings alone."""

_log = structlog.get_logger()


def install(log_level: str) -> None:
    """From here on `print`, `logging` and `warnings` are lines of the log. log_level: the least level."""
    if sys.stdout is not None:
        sys.stdout = _Printed(sys.stdout)
    root = logging.getLogger()
    root.addHandler(_Logged())
    root.setLevel(log_level.upper())
    for name in _LIBRARIES:
        logging.getLogger(name).setLevel(logging.WARNING)
    logging.captureWarnings(True)


def end_line(owner: Owner) -> None:
    """The run is over: what it has printed without an end of line is a line."""
    if isinstance(sys.stdout, _Printed):
        sys.stdout.end_line(owner)


class _Logged(logging.Handler):
    """Hands records on."""

    def emit(self, record: logging.LogRecord) -> None:
        """As the base class."""
        try:
            text = record.getMessage()
        except Exception as error:  # arguments that do not fit
            text = f"{record.msg} ({type_name(type(error))})"
        try:
            level = max(logging.DEBUG, min(record.levelno // 10 * 10, logging.CRITICAL))
            _log.log(level, "logged", logger=record.name, text=text.rstrip("\n"), exc_info=record.exc_info or None)
        except Exception:
            self.handleError(record)


class _Printed(io.TextIOBase):
    """A sys.stdout whose lines are lines of the log. All else is asked of the one before."""

    def __init__(self, before: Any) -> None:
        self._before = before
        self._by_owner: WeakKeyDictionary[Owner, str] = WeakKeyDictionary()
        self._nobodys = ""

    def __getattr__(self, name: str) -> Any:
        return getattr(self._before, name)

    @property
    def encoding(self) -> str:  # type: ignore[override]
        """As the base class."""
        return "utf-8"

    def fileno(self) -> int:
        """Of the log, for what writes there itself."""
        number: int = self._before.fileno()
        return number

    def writable(self) -> bool:
        """As the base class."""
        return True

    def write(self, text: str) -> int:
        """As the base class: each whole line is logged."""
        owner = OWNER.get()
        *lines, rest = (self._rest(owner) + text).split("\n")
        if len(rest) > MOST_CHARACTERS:
            lines, rest = [*lines, rest], ""
        if owner is None:
            self._nobodys = rest
        else:
            self._by_owner[owner] = rest
        for line in lines:
            _say(line)
        return len(text)

    def end_line(self, owner: Owner) -> None:
        """Logs what is left of an owner's line."""
        if self._by_owner:
            _say(self._by_owner.pop(owner, ""))

    def _rest(self, owner: Owner | None) -> str:
        return self._nobodys if owner is None else self._by_owner.get(owner, "")


def _say(line: str) -> None:
    if line.strip():
        _log.info("printed", text=line.rstrip("\r").encode(errors="replace").decode())
