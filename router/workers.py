"""Several router processes on one port (`--workers`), and the process that starts and stops them.

Each worker is a whole router; the kernel gives each new connection to one of them (SO_REUSEPORT). Guarantees: the port
is held from the start on, so port 0 is the same for all; a worker that ends is started again after RESTART_S; on stop
every worker is asked to end and, where it does not, killed; if this process is killed, its workers end by themselves.
"""

import asyncio
import ctypes
import signal
import sys
from asyncio.subprocess import DEVNULL, Process
from collections.abc import Callable

import structlog

from agentring.http2.listener import bind
from agentring.process.ready_line import ReadyPipe
from router.settings import RouterSettings

_log = structlog.get_logger()

RESTART_S = 1.0
_READY_S = 60.0
_EXTRA_S = 10.0
"""How long a worker may take to stop beyond its grace."""
_PR_SET_PDEATHSIG = 1
_WORDS = ("insecure_plaintext", "insecure_anonymous")
"""Settings whose flag stands alone."""


class WorkerFailed(Exception):
    """A worker did not come up."""

    def __str__(self) -> str:
        """For people."""
        return "a worker did not come up; its own message stands above"


async def run_workers(settings: RouterSettings, stop: asyncio.Event, ready: Callable[[str], None]) -> None:
    """Runs until `stop` is set. Raises CannotListen, WorkerFailed."""
    held, address = bind(settings.listen, shared=True)
    with held:
        commands = [_command(settings, address, number) for number in range(settings.workers)]
        workers = await asyncio.gather(*(_start(command) for command in commands))
        try:
            async with asyncio.TaskGroup() as group:
                supervisors = [group.create_task(_supervise(command, workers, i)) for i, command in enumerate(commands)]
                ready(address)
                await stop.wait()
                for supervisor in supervisors:
                    supervisor.cancel()
        finally:
            await asyncio.gather(*(_stop(worker, settings.stop_grace_s + _EXTRA_S) for worker in workers))


async def _start(command: list[str]) -> Process:
    pipe = ReadyPipe()
    try:
        worker = await asyncio.create_subprocess_exec(
            *command, stdin=DEVNULL, stdout=pipe.write_end, preexec_fn=_end_with_parent
        )
        pipe.handed_over()
        try:
            async with asyncio.timeout(_READY_S):
                if await pipe.line(worker.wait()) is None:
                    raise WorkerFailed
        except (TimeoutError, WorkerFailed):
            await _stop(worker, 0)
            raise WorkerFailed from None
        except asyncio.CancelledError:
            worker.kill()
            raise
        return worker
    finally:
        pipe.close()


async def _supervise(command: list[str], workers: list[Process], index: int) -> None:
    """Starts the worker of this index again whenever it has ended."""
    while True:
        status = await workers[index].wait()
        _log.error("worker_ended", pid=workers[index].pid, status=status)
        await asyncio.sleep(RESTART_S)
        try:
            workers[index] = await _start(command)
        except WorkerFailed:
            _log.exception("worker_not_restarted")


async def _stop(worker: Process, timeout_s: float) -> None:
    if worker.returncode is not None:
        return
    worker.send_signal(signal.SIGTERM)
    try:
        async with asyncio.timeout(timeout_s):
            await worker.wait()
    except TimeoutError:
        worker.kill()
        await worker.wait()


def _command(settings: RouterSettings, address: str, number: int) -> list[str]:
    """The worker's command: the same settings, but for what is its own."""
    values = settings.model_dump(mode="json")
    values |= {"workers": 1, "shared_port": True, "listen": address}
    if settings.metrics_listen is not None:
        host, _, port = settings.metrics_listen.rpartition(":")
        values["metrics_listen"] = f"{host}:{int(port) + number if int(port) else 0}"
    # As ours does, or does not, a worker looks in the working directory for its own code.
    command = [sys.executable, *(("-P",) if sys.flags.safe_path else ()), "-m", "router"]
    for name, value in values.items():
        if name in _WORDS:
            command += [f"--{name.replace('_', '-')}"] if value else []
        elif value is not None:
            text = ",".join(value) if isinstance(value, list) else str(value)
            command += [f"--{name.replace('_', '-')}", text.lower() if isinstance(value, bool) else text]
    return command


def _end_with_parent() -> None:
    ctypes.CDLL(None).prctl(_PR_SET_PDEATHSIG, signal.SIGTERM)
