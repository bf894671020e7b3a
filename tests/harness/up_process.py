"""`agentring up` as a process of a test's own: its lines, its children, and that it is gone in the end."""

import asyncio
import json
import os
import signal
import sys
from asyncio.subprocess import DEVNULL, PIPE, STDOUT, Process
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager, suppress
from pathlib import Path
from typing import Any

DEADLINE_S = 60.0
OURS = (sys.executable, "-m", "agentring.cli")


class UpProcess:
    """A running `agentring up`. Made by `running_up`."""

    def __init__(self, process: Process, data_dir: Path) -> None:
        """For `running_up` alone."""
        self.data_dir = data_dir
        self.lines: list[str] = []
        self._process = process

    @property
    def pid(self) -> int:
        """The pid of `up` itself."""
        return self._process.pid

    @property
    def cluster(self) -> dict[str, Any]:
        """cluster.json."""
        found: dict[str, Any] = json.loads((self.data_dir / "cluster.json").read_text())
        return found

    async def until_line(self, part: str) -> str:
        """The next line that contains this."""
        assert self._process.stdout is not None
        try:
            async with asyncio.timeout(DEADLINE_S):
                while line := (await self._process.stdout.readline()).decode():
                    self.lines.append(line.rstrip("\n"))
                    if part in line:
                        return self.lines[-1]
        except TimeoutError:
            raise AssertionError(f"no line with {part!r} within {DEADLINE_S} s after {self.lines}") from None
        raise AssertionError(f"no line with {part!r} in {self.lines}")

    def send(self, number: signal.Signals) -> None:
        """Sends `up` a signal."""
        self._process.send_signal(number)

    async def ended(self) -> int:
        """Its exit status, once it has ended."""
        assert self._process.stdout is not None
        async with asyncio.timeout(DEADLINE_S):
            self.lines += (await self._process.stdout.read()).decode().splitlines()
            return await self._process.wait()

    def ignored(self) -> set[signal.Signals]:
        """The signals that it ignores."""
        fields = dict(line.split(":\t") for line in Path(f"/proc/{self.pid}/status").read_text().splitlines())
        return {one for one in signal.Signals if int(fields["SigIgn"], 16) & 1 << (one - 1)}

    def children(self) -> dict[int, str]:
        """The pids of the processes that it has started and that live, with their command lines."""
        found = {}
        for entry in Path("/proc").iterdir():
            if entry.name.isdecimal() and _parent_of(int(entry.name)) == self.pid:
                command = (entry / "cmdline").read_bytes().replace(b"\0", b" ").decode().strip()
                if command:  # a zombie has none
                    found[int(entry.name)] = command
        return found


@asynccontextmanager
async def running_up(
    data_dir: Path, *flags: str, env: dict[str, str] | None = None, within: Path | None = None
) -> AsyncIterator[UpProcess]:
    """Starts `agentring up` on free ports; stops it, if it still runs. within: the directory of somebody who has it
    installed, and starts it under nohup."""
    program = ("nohup", str(Path(sys.executable).with_name("agentring"))) if within else OURS
    process = await asyncio.create_subprocess_exec(
        *(*program, "up", "--port", "0", f"--data-dir={data_dir}", *flags),
        cwd=within,
        stdin=DEVNULL,
        stdout=PIPE,
        stderr=STDOUT,
        env={**os.environ, **(env or {})},
    )
    up = UpProcess(process, data_dir)
    try:
        yield up
    finally:
        if process.returncode is None:
            up.send(signal.SIGINT)
            try:
                await up.ended()
            finally:
                if process.returncode is None:
                    up.send(signal.SIGKILL)
                    await up.ended()


class Watched:
    """Processes whose end is awaited. Made while they live, so that their pids are not mistaken for later ones."""

    def __init__(self, *pids: int) -> None:
        """Takes hold of the processes."""
        self._fds: dict[int, int] = {}
        for pid in pids:
            with suppress(ProcessLookupError):  # it has ended already, as `etcd --version` does
                self._fds[pid] = os.pidfd_open(pid)

    async def all_gone(self) -> None:
        """Waits until every one has ended."""
        loop = asyncio.get_running_loop()
        try:
            for pid, fd in self._fds.items():
                ended = asyncio.Event()
                loop.add_reader(fd, ended.set)
                try:
                    async with asyncio.timeout(DEADLINE_S):
                        await ended.wait()
                except TimeoutError:
                    raise AssertionError(f"process {pid} lives on") from None
                finally:
                    loop.remove_reader(fd)
        finally:
            for fd in self._fds.values():
                os.close(fd)

    def living(self) -> list[int]:
        """Those that have not ended, at this moment."""
        return [pid for pid in self._fds if _parent_of(pid) is not None]


async def agentring(*arguments: str, stdin: str = "", within: Path | None = None) -> tuple[int, str, str]:
    """Runs another command; its exit status, stdout and stderr. within: the directory of who runs it."""
    process = await asyncio.create_subprocess_exec(
        *(*OURS, *arguments), stdin=PIPE, stdout=PIPE, stderr=PIPE, cwd=within
    )
    try:
        async with asyncio.timeout(DEADLINE_S):
            out, err = await process.communicate(stdin.encode())
    finally:
        if process.returncode is None:
            process.kill()
            await process.wait()
    assert process.returncode is not None
    return process.returncode, out.decode(), err.decode()


def _parent_of(pid: int) -> int | None:
    """The parent of a process that lives; None: there is none, or it is a zombie."""
    try:
        fields = Path(f"/proc/{pid}/stat").read_text().rpartition(")")[2].split()
    except (FileNotFoundError, ProcessLookupError):
        return None
    return None if fields[0] == "Z" else int(fields[1])


class Chat:
    """`agentring chat` with somebody at its input."""

    def __init__(self, process: Process) -> None:
        """For `chatting` alone."""
        self._process = process

    def say(self, words: str) -> None:
        """Sends a line."""
        assert self._process.stdin is not None
        self._process.stdin.write(f"{words}\n".encode())

    async def hears(self) -> str:
        """The next line that it prints."""
        assert self._process.stdout is not None
        async with asyncio.timeout(DEADLINE_S):
            return (await self._process.stdout.readline()).decode().rstrip("\n")

    async def ended_by(self, number: signal.Signals) -> tuple[int, str]:
        """Its exit status after the signal, and what it still said."""
        self._process.send_signal(number)
        async with asyncio.timeout(DEADLINE_S):
            rest, _ = await self._process.communicate()
        assert self._process.returncode is not None
        return self._process.returncode, rest.decode()


@asynccontextmanager
async def chatting(*arguments: str) -> AsyncIterator[Chat]:
    """Starts `agentring chat`; ends it, if it still runs."""
    process = await asyncio.create_subprocess_exec(
        *(sys.executable, "-m", "agentring.cli", "chat", *arguments), stdin=PIPE, stdout=PIPE, stderr=STDOUT
    )
    try:
        yield Chat(process)
    finally:
        if process.returncode is None:
            process.kill()
            await process.communicate()
