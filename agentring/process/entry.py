"""What the `__main__` of every process does: settings, log, event loop, signals, and one line on stdout once ready
(ready_line.py); all else that is printed goes to stderr.

SIGTERM and SIGINT ask for a graceful stop, exit status 0. What makes a start impossible is one line on stderr and exit
status 1; wrong settings are status 2; a process that does not serve any more ends with 87 (self_check.py). The process
ends although a task does not (an agent may swallow its cancellation): the event loop's own end would wait for it for
ever.

SystemExit and KeyboardInterrupt that no signal caused do not end the process: asyncio lets them out of the event loop
wherever they were raised, in whatever callback, and the loop is entered again. Whose they were is known where the loop
is an OwnedLoop (owned_loop.py); what is left for here has no owner.
"""

import asyncio
import os
import signal
import sys
import traceback
from collections.abc import Awaitable, Callable, Coroutine
from typing import Any

import structlog
import uvloop

from agentring import log
from agentring.cluster.etcd.errors import EtcdError
from agentring.process import forks
from agentring.process.data_plane import data_plane
from agentring.process.owned_loop import code_locations
from agentring.process.ready_line import ReadyLine
from agentring.process.self_check import EXIT_NOT_SERVING, CannotServe

_LAST_TASKS_S = 1.0
"""How long tasks may take to end once the process has come to its end."""

_log = structlog.get_logger()

Ready = Callable[..., None]
"""Called with the address, and with further fields of the ready line by name."""
Main = Callable[[asyncio.Event, Ready], Awaitable[None]]


def run(
    main: Main,
    *,
    program: str,
    log_level: str,
    cannot_start: tuple[type[Exception], ...],
    new_loop: Callable[[], asyncio.AbstractEventLoop] = uvloop.new_event_loop,
    **ready_fields: str,
) -> None:
    """Runs a process to its end. cannot_start: errors that are printed as one line; ready_fields: further fields of the
    ready line."""
    expected: tuple[type[Exception], ...] = (CannotServe, EtcdError, OSError, *cannot_start)
    ready_line = ReadyLine()
    log.configure(log_level)
    try:
        with asyncio.Runner(loop_factory=new_loop) as runner:
            drive(runner.get_loop(), _main(main, ready_line, ready_fields))
        return
    except* expected as group:
        errors = _leaves(group)
    for error in errors:
        print(f"{program}: {error}", file=sys.stderr)
    raise SystemExit(EXIT_NOT_SERVING if any(isinstance(error, CannotServe) for error in errors) else 1)


def drive(loop: asyncio.AbstractEventLoop, main: Coroutine[Any, Any, None]) -> None:
    """Runs `main` on the loop until it ends, whatever SystemExit or KeyboardInterrupt something else raises there.
    Raises what `main` does."""
    task = loop.create_task(main)
    task.add_done_callback(_stop_loop_of)
    while not task.done():
        try:
            loop.run_forever()
        except (SystemExit, KeyboardInterrupt) as error:
            if isinstance(error, KeyboardInterrupt) and signal.getsignal(signal.SIGINT) is signal.default_int_handler:
                raise  # a signal's, before `_main` took them over
            if not task.done():
                _log.error("exit_ignored", error=type(error).__name__, where=code_locations(error.__traceback__))
    task.result()


def _stop_loop_of(task: "asyncio.Task[None]") -> None:
    if task.cancelled() or not isinstance(task.exception(), (SystemExit, KeyboardInterrupt)):
        task.get_loop().stop()  # else `run_forever` has ended by itself


async def _main(main: Main, ready_line: ReadyLine, ready_fields: dict[str, str]) -> None:
    stop = asyncio.Event()
    loop = asyncio.get_running_loop()
    forks.end_children_in(loop)
    for number in (signal.SIGTERM, signal.SIGINT):
        loop.add_signal_handler(number, stop.set)

    def ready(address: str, **more: object) -> None:
        _log.info("ready", address=address, data_plane=data_plane())
        ready_line.write(**ready_fields, **more, data_plane=data_plane(), address=address, pid=os.getpid())

    status = 1
    try:
        await main(stop, ready)
        status = 0
    except CannotServe:
        status = EXIT_NOT_SERVING
        raise
    finally:
        if left := await _tasks_left():
            if status:
                traceback.print_exc()
            _log.error("tasks_left", count=left)
            sys.stderr.flush()
            os._exit(status)


async def _tasks_left() -> int:
    """Cancels every task but this one; how many of them do not end."""
    tasks = asyncio.all_tasks() - {asyncio.current_task()}
    for task in tasks:
        task.cancel()
    if tasks:
        _, tasks = await asyncio.wait(tasks, timeout=_LAST_TASKS_S)
    return len(tasks)


def _leaves(group: BaseExceptionGroup[BaseException]) -> list[BaseException]:
    leaves: list[BaseException] = []
    for error in group.exceptions:
        leaves += _leaves(error) if isinstance(error, BaseExceptionGroup) else [error]
    return leaves
