"""What would end the process ends its owner's work instead, wherever on the event loop it was raised."""

import asyncio
import os
import signal
import socket
import sys
import threading
from collections.abc import Callable, Mapping
from typing import Any

import pytest
import structlog

from agentring.process.entry import drive
from agentring.process.owned_loop import OWNER, OwnedLoop, log_errors_without_text

PATIENCE_S = 20.0
SECRET = "not for the log"


class Owning:
    """An owner that remembers what it was told."""

    def __init__(self) -> None:
        self.log_fields: Mapping[str, str | int] = {"session": "s", "agent": "a"}
        self.errors: list[BaseException] = []
        self.heard = asyncio.Event()

    def ended_by(self, error: BaseException) -> None:
        self.errors.append(error)
        self.heard.set()


def raising(error: BaseException) -> Callable[..., None]:
    def raises(*_: object) -> None:
        raise error

    return raises


async def _in_a_task(error: BaseException) -> None:
    async def child() -> None:
        await asyncio.sleep(0)
        raise error

    Kept.tasks.add(asyncio.create_task(child()))


async def _in_a_grandchild(error: BaseException) -> None:
    async def child() -> None:
        await _in_a_task(error)

    Kept.tasks.add(asyncio.create_task(child()))


async def _called_soon(error: BaseException) -> None:
    asyncio.get_running_loop().call_soon(raising(error))


async def _called_later(error: BaseException) -> None:
    asyncio.get_running_loop().call_later(0.001, raising(error))


async def _called_at(error: BaseException) -> None:
    loop = asyncio.get_running_loop()
    loop.call_at(loop.time() + 0.001, raising(error))


async def _called_from_a_thread(error: BaseException) -> None:
    loop = asyncio.get_running_loop()
    await asyncio.to_thread(lambda: loop.call_soon_threadsafe(raising(error)))


async def _at_a_futures_end(error: BaseException) -> None:
    future: asyncio.Future[None] = asyncio.get_running_loop().create_future()
    future.add_done_callback(raising(error))
    future.set_result(None)


async def _by_a_reader(error: BaseException) -> None:
    loop = asyncio.get_running_loop()
    here, there = socket.socketpair()
    Kept.sockets += [here, there]

    def read() -> None:
        loop.remove_reader(here)
        raise error

    loop.add_reader(here, read)
    there.send(b"x")


class Kept:
    """What must not be collected meanwhile."""

    tasks: set["asyncio.Task[None]"] = set()  # noqa: RUF012
    sockets: list[socket.socket] = []  # noqa: RUF012


WAYS = [
    _in_a_task,
    _in_a_grandchild,
    _called_soon,
    _called_later,
    _called_at,
    _called_from_a_thread,
    _at_a_futures_end,
    _by_a_reader,
]


def run(main: Callable[[], Any]) -> None:
    loop = OwnedLoop()
    try:
        drive(loop, main())
    finally:
        for task in asyncio.all_tasks(loop):
            task.cancel()
        loop.run_until_complete(asyncio.sleep(0))
        loop.close()
        for each in Kept.sockets:
            each.close()
        Kept.sockets.clear()
        Kept.tasks.clear()


@pytest.mark.parametrize("error", [SystemExit(3), KeyboardInterrupt()], ids=repr)
@pytest.mark.parametrize("way", WAYS)
def test_whoever_owns_the_code_is_told_and_the_loop_goes_on(way: Any, error: BaseException) -> None:
    async def main() -> None:
        owner, other = Owning(), Owning()

        async def of_the_other() -> None:
            OWNER.set(other)
            await owner.heard.wait()
            await asyncio.sleep(0.001)

        async def of_the_owner() -> None:
            OWNER.set(owner)
            await way(error)

        async with asyncio.timeout(PATIENCE_S), asyncio.TaskGroup() as group:
            group.create_task(of_the_other())
            group.create_task(of_the_owner())
        assert (owner.errors, other.errors) == ([error], [])

    run(main)


@pytest.mark.parametrize("error", [SystemExit(3), KeyboardInterrupt()], ids=repr)
def test_nobodys_is_a_line_in_the_log_and_the_loop_goes_on(
    error: BaseException, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(signal, "getsignal", lambda _: None)  # as where the signals are taken over

    async def main() -> None:
        asyncio.get_running_loop().call_soon(raising(error))
        await asyncio.sleep(0.01)

    with structlog.testing.capture_logs() as logged:
        run(main)
    assert [(line["event"], line["error"]) for line in logged] == [("exit_ignored", type(error).__name__)]


def test_a_signals_keyboard_interrupt_is_not_ignored() -> None:
    async def main() -> None:
        asyncio.get_running_loop().call_later(0.01, lambda: os.kill(os.getpid(), signal.SIGINT))
        await asyncio.sleep(PATIENCE_S)

    with pytest.raises(KeyboardInterrupt):
        run(main)


def test_what_the_main_code_itself_raises_is_raised() -> None:
    async def main() -> None:
        raise SystemExit(5)

    with pytest.raises(SystemExit):
        run(main)


def test_an_error_that_nobody_waited_for_is_told_with_its_owner() -> None:
    async def main() -> None:
        async def failing() -> None:
            raise ValueError(SECRET)

        async def begin() -> None:
            OWNER.set(Owning())
            asyncio.create_task(failing())  # noqa: RUF006  nobody does
            await asyncio.sleep(0)

        await asyncio.create_task(begin())
        await asyncio.sleep(0.01)

    with structlog.testing.capture_logs() as logged:
        run(main)
    (line,) = (line for line in logged if line["event"] == "agent_left_an_error")
    assert (line["session"], line["agent"]) == ("s", "a")
    assert str(line["exc_info"]) == SECRET


def test_nobodys_error_is_told_without_its_text() -> None:
    async def main() -> None:
        asyncio.get_running_loop().call_soon(raising(ValueError(SECRET)))
        await asyncio.sleep(0.01)

    with structlog.testing.capture_logs() as logged:
        run(main)
    assert (logged[0]["event"], logged[0]["error"]) == ("loop_error", "ValueError")
    assert SECRET not in str(logged)


def test_a_threads_error_is_told_without_its_text(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(threading, "excepthook", threading.excepthook)
    log_errors_without_text()
    with structlog.testing.capture_logs() as logged:
        thread = threading.Thread(target=raising(ValueError(SECRET)))
        thread.start()
        thread.join(PATIENCE_S)
    assert (logged[0]["event"], logged[0]["error"]) == ("thread_error", "ValueError")
    assert SECRET not in str(logged)


def test_an_error_that_cannot_be_raised_is_told_without_its_text(monkeypatch: pytest.MonkeyPatch) -> None:
    class Failing:
        def __del__(self) -> None:
            raise ValueError(SECRET)

    monkeypatch.setattr(sys, "unraisablehook", sys.unraisablehook)
    monkeypatch.setattr(threading, "excepthook", threading.excepthook)
    log_errors_without_text()
    with structlog.testing.capture_logs() as logged:
        Failing()
    assert (logged[0]["event"], logged[0]["error"]) == ("error_ignored", "ValueError")
    assert SECRET not in str(logged)
