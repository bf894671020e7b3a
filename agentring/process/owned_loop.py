"""An event loop on which what somebody else's tasks and callbacks do is known to be theirs.

Guarantees: SystemExit and KeyboardInterrupt, which asyncio lets out of `run_forever` wherever they were raised, end
neither the loop nor the process where the code that raised them has an owner: its owner is called. Whatever else a
callback or a forgotten task raises is logged with its owner's name, and without its text where it has none. Who has an
owner: code that runs in a context in which OWNER is set, and so every task and callback that such code starts. Used for
nodes, which run agents; the cost is 0.3 µs for each time that a task is woken.
"""

import asyncio
import sys
import threading
import traceback
from collections.abc import Callable, Mapping
from contextvars import Context, ContextVar
from types import TracebackType
from typing import Any, Protocol

import structlog
import uvloop

_log = structlog.get_logger()
_ATTRIBUTE = "agentring_owner"
_FRAMES = 8


class Owner(Protocol):
    """Whose code it is."""

    @property
    def log_fields(self) -> Mapping[str, str | int]:
        """Its name, as fields of a log line."""

    def ended_by(self, error: BaseException) -> None:
        """Its code has raised what would end the process."""


OWNER: ContextVar[Owner | None] = ContextVar("agentring_owner", default=None)
"""Whose the code is that runs now; None: ours."""

_call_soon = uvloop.Loop.call_soon
_call_later = uvloop.Loop.call_later
_call_soon_threadsafe = uvloop.Loop.call_soon_threadsafe


class OwnedLoop(uvloop.Loop):
    """A uvloop that knows whose callbacks it calls."""

    def __init__(self) -> None:
        super().__init__()
        self.running: Owner | None = None
        """Whose callback is being called; read by the watchdog's thread too."""
        self.set_exception_handler(_log_error)

    def call_soon(self, callback: Callable[..., Any], *args: Any, context: Context | None = None) -> Any:  # type: ignore[override]
        """As the base class."""
        owner = OWNER.get() if context is None else context.get(OWNER)
        if owner is not None:  # as `_owned`, for what is called most
            callback = _Owned(self, owner, callback)
        return _call_soon(self, callback, *args, context=context)

    def call_later(self, delay: float, callback: Callable[..., Any], *args: Any, context: Context | None = None) -> Any:  # type: ignore[override]
        """As the base class, which has `call_at` come here too."""
        return _call_later(self, delay, self._owned(callback, context), *args, context=context)

    def call_soon_threadsafe(self, callback: Callable[..., Any], *args: Any, context: Context | None = None) -> Any:  # type: ignore[override]
        """As the base class."""
        return _call_soon_threadsafe(self, self._owned(callback, context), *args, context=context)

    def add_reader(self, fd: Any, callback: Callable[..., Any], *args: Any) -> None:  # type: ignore[override]
        """As the base class."""
        super().add_reader(fd, self._owned(callback, None), *args)

    def add_writer(self, fd: Any, callback: Callable[..., Any], *args: Any) -> None:  # type: ignore[override]
        """As the base class."""
        super().add_writer(fd, self._owned(callback, None), *args)

    def create_task(self, coro: Any, *, name: str | None = None, context: Context | None = None) -> "asyncio.Task[Any]":
        """As the base class."""
        task: asyncio.Task[Any] = super().create_task(coro, name=name, context=context)
        if (owner := _owner_in(context)) is not None:
            setattr(task, _ATTRIBUTE, owner)
        return task

    def _owned(self, callback: Callable[..., Any], context: Context | None) -> Callable[..., Any]:
        owner = _owner_in(context)
        return callback if owner is None else _Owned(self, owner, callback)


class _Owned:
    __slots__ = ("_callback", "_loop", "_owner")

    def __init__(self, loop: OwnedLoop, owner: Owner, callback: Callable[..., Any]) -> None:
        self._loop = loop
        self._owner = owner
        self._callback = callback

    def __call__(self, *args: Any) -> None:
        self._loop.running = self._owner
        try:
            self._callback(*args)
        except (SystemExit, KeyboardInterrupt) as error:
            self._owner.ended_by(error)
        finally:
            self._loop.running = None


def code_locations(trace: TracebackType | None) -> str:
    """Where an error came from, innermost first; locations in the code, never values."""
    frames = traceback.extract_tb(trace, -_FRAMES)
    return " < ".join(f"{frame.filename}:{frame.lineno} {frame.name}" for frame in reversed(frames))


def log_errors_without_text() -> None:
    """A thread that dies of an error, and an error that cannot be raised (of a finalizer, say), leave one line each,
    without the error's text: whose it was is not known."""
    threading.excepthook = _log_thread_error
    sys.unraisablehook = _log_unraisable


def _owner_in(context: Context | None) -> Owner | None:
    return OWNER.get() if context is None else context.get(OWNER)


def _log_error(_: asyncio.AbstractEventLoop, context: dict[str, Any]) -> None:
    error: BaseException | None = context.get("exception")
    owner: Owner | None = getattr(context.get("task") or context.get("future"), _ATTRIBUTE, None) or OWNER.get()
    what = str(context.get("message", ""))
    if owner is not None and isinstance(error, SystemExit | KeyboardInterrupt):
        return  # it was logged when it was raised
    if owner is not None:
        _log.error("agent_left_an_error", what=what, exc_info=error, **owner.log_fields)
    else:
        _log.error("loop_error", what=what, **_without_text(error))


def _log_thread_error(args: threading.ExceptHookArgs) -> None:
    if args.exc_type is not SystemExit:
        _log.error("thread_error", thread=args.thread.name if args.thread else "", **_without_text(args.exc_value))


def _log_unraisable(args: "sys.UnraisableHookArgs") -> None:
    _log.error("error_ignored", of=type(args.object).__name__, **_without_text(args.exc_value))


def _without_text(error: BaseException | None) -> dict[str, str]:
    return {} if error is None else {"error": type(error).__name__, "where": code_locations(error.__traceback__)}
