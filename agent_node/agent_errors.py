"""What an agent's code raised, for the log.

Guarantees that telling of an error fails nobody: an exception's own code runs when it is put into words, and may raise
whatever it likes. Called by turns and steps.
"""

from typing import Any

import structlog

from agentring.plain_json import type_name

_log = structlog.get_logger()


def log_failure(event: str, error: BaseException | None, **fields: Any) -> None:
    """A line of the log, with the error's traceback; None: without one."""
    try:
        _log.warning(event, exc_info=error, **fields)
    except BaseException:
        # The run that it is of has failed, and says so.
        _log.warning(event, error=type_name(type(error)), **fields)


def text_of(error: BaseException) -> str:
    """What an error says, as every store and every message takes it; empty: it cannot say it."""
    try:
        text = str.__str__(str(error))
    except BaseException:
        return ""
    return text.encode(errors="replace").decode().replace("\0", "\N{REPLACEMENT CHARACTER}")
