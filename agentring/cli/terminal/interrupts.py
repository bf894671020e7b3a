"""Ctrl-C ends a command, and soon.

Guarantees that a command which runs on an event loop has ended _END_S after it was interrupted, whatever its tasks, its
connections or the libraries beneath do meanwhile: a process that no longer answers to Ctrl-C is worse than a connection
that was not closed. A second Ctrl-C ends it at once. Called by `chat` and `questions`.
"""

import asyncio
import os
import signal
import threading
from collections.abc import Coroutine
from typing import Any, TypeVar

import typer

INTERRUPTED = 130
_END_S = 5.0

T = TypeVar("T")


def run_interruptible(work: Coroutine[Any, Any, T], end_s: float = _END_S) -> T:
    """Runs it on a loop of its own. Raises typer.Exit(130) once it was interrupted and has ended; end_s after the
    interrupt, the process ends all the same."""
    interrupted = False

    async def main() -> T:
        loop, task = asyncio.get_running_loop(), asyncio.current_task()
        assert task is not None

        def interrupt() -> None:
            nonlocal interrupted
            interrupted = True
            loop.remove_signal_handler(signal.SIGINT)
            signal.signal(signal.SIGINT, signal.SIG_DFL)  # else another one would be a traceback, after the loop's end
            guard = threading.Timer(end_s, os._exit, (INTERRUPTED,))
            guard.daemon = True
            guard.start()
            task.cancel()

        loop.add_signal_handler(signal.SIGINT, interrupt)
        return await work

    try:
        return asyncio.run(main())
    except asyncio.CancelledError:
        if not interrupted:
            raise
        raise typer.Exit(INTERRUPTED) from None
