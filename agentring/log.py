"""How a process logs: one line an event on stderr, as key=value where a person looks, as JSON where a program does."""

import logging
import sys
from collections.abc import Mapping, MutableMapping
from contextlib import suppress
from contextvars import ContextVar
from typing import Any, Protocol, TextIO, cast

import structlog


class Subject(Protocol):
    """What is being dealt with."""

    @property
    def log_fields(self) -> Mapping[str, str | int]:
        """Its name, as fields of a log line."""


SUBJECT: ContextVar[Subject | None] = ContextVar("agentring_subject", default=None)
"""Whose fields each line of the context has: asked for them only when there is a line."""


def with_subject(_logger: Any, _method: str, line: MutableMapping[str, Any]) -> MutableMapping[str, Any]:
    """A processor of structlog's: adds the subject's fields that the line does not have itself."""
    if (subject := SUBJECT.get()) is not None:
        for name, value in subject.log_fields.items():
            line.setdefault(name, value)
    return line


class _Unfailing:
    """A stream that loses what it cannot write: a full disk must not fail whoever would tell of it. A line is written
    in one piece: children of the process may write on it, too."""

    def __init__(self, stream: TextIO) -> None:
        self._stream = stream
        self._line = ""

    def write(self, text: str) -> None:
        """Writes, if it can, once the line is whole. Its caller sees to it that lines come one after the other."""
        self._line += text
        if self._line.endswith("\n"):
            line, self._line = self._line, ""
            with suppress(OSError):
                self._stream.write(line)

    def flush(self) -> None:
        """Flushes, if it can."""
        with suppress(OSError):
            self._stream.flush()


def configure(level: str) -> None:
    """Called once, by a process's __main__."""
    renderer: structlog.typing.Processor = (
        structlog.dev.ConsoleRenderer() if sys.stderr.isatty() else structlog.processors.JSONRenderer()
    )
    structlog.configure(
        processors=[
            with_subject,
            structlog.contextvars.merge_contextvars,
            structlog.processors.add_log_level,
            structlog.processors.TimeStamper(fmt="iso", utc=True),
            structlog.processors.StackInfoRenderer(),
            structlog.processors.format_exc_info,
            renderer,
        ],
        wrapper_class=structlog.make_filtering_bound_logger(logging.getLevelNamesMapping()[level.upper()]),
        logger_factory=structlog.PrintLoggerFactory(cast(TextIO, _Unfailing(sys.stderr))),
        cache_logger_on_first_use=True,
    )
