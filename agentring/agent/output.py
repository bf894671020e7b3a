"""What an agent says beside its text: events for the user interface, and lines of the log.

docs/agents.md, "Events of your own" and "Logging", is the guide.
"""

from typing import Any, Protocol


class Log(Protocol):
    """Writes lines of the node's log, each with the run's tenant, session or task, agent, turn, attempt and trace.

    event: what happened, as a fixed name; fields: of the line, JSON or what `repr` shows; one that has the name of a
    field of the run's gets a `_` behind it. May be called from any thread. Never raises: what cannot be written is
    lost. Log no user's text.
    """

    def debug(self, event: str, /, **fields: Any) -> None:
        """A line for who looks for a fault: shown with `--log-level debug` alone."""

    def info(self, event: str, /, **fields: Any) -> None:
        """A line about what goes as it should.

        ctx.log.info("looked_up", city="Oslo", took_s=0.2)
        """

    def warning(self, event: str, /, **fields: Any) -> None:
        """A line about what goes on although something is wrong."""

    def error(self, event: str, /, **fields: Any) -> None:
        """A line about what failed."""

    def exception(self, event: str, /, **fields: Any) -> None:
        """As `error`, with the traceback of the exception that is being handled."""


class Output(Protocol):
    """The part of Context that speaks to others than the model."""

    def emit(self, name: str, data: Any = None) -> None:
        """Sends an event of the agent's own to all streams of the session or task: progress, a card, a citation.

            ctx.emit("progress", {"done": 3, "of": 10})

        Comes in order with the text and is kept as all events are. Provisional until the turn completes: a turn that
        is run again emits again. name: 1 to 128 printable characters. data: JSON, of 64 KiB at most; numbers are
        doubles. Raises ValueError and TypeError for the name; what fails the turn with EVENT_INVALID for the data;
        NodeFenced, and RuntimeError after the run's end. Nothing is sent then.
        """

    @property
    def log(self) -> Log:
        """The log, with the run's fields.

        ctx.log.warning("stock_low", sku="tea", left=2)
        """
