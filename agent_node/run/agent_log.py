"""`ctx.log`: lines of the node's log with the fields of the run, whatever thread writes them.

Guarantees that a line which cannot be written fails nobody.
"""

import logging
from collections.abc import Mapping
from contextlib import suppress
from typing import Any

import structlog

_log = structlog.get_logger()
_TAKEN = frozenset({"event", "level", "timestamp", "exc_info", "stack_info", "exception", "stack"})


class AgentLog:
    """As agentring.agent.output.Log."""

    def __init__(self, run: Mapping[str, str | int]) -> None:
        """run: its fields."""
        self._run = run

    def debug(self, event: str, /, **fields: Any) -> None:
        """As Log."""
        self._say(logging.DEBUG, event, fields)

    def info(self, event: str, /, **fields: Any) -> None:
        """As Log."""
        self._say(logging.INFO, event, fields)

    def warning(self, event: str, /, **fields: Any) -> None:
        """As Log."""
        self._say(logging.WARNING, event, fields)

    def error(self, event: str, /, **fields: Any) -> None:
        """As Log."""
        self._say(logging.ERROR, event, fields)

    def exception(self, event: str, /, **fields: Any) -> None:
        """As Log."""
        self._say(logging.ERROR, event, fields, exc_info=True)

    def _say(self, level: int, event: str, fields: dict[str, Any], **more: Any) -> None:
        own = {f"{name}_" if name in _TAKEN or name in self._run else name: value for name, value in fields.items()}
        with suppress(Exception):
            _log.log(level, event, **own, **self._run, **more)
