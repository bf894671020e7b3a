"""`agentring dev` as a process of a test's own, with somebody at its input."""

import asyncio
import os
import sys
from asyncio.subprocess import PIPE, STDOUT, Process
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from pathlib import Path

from harness.up_process import DEADLINE_S

OURS = (sys.executable, "-m", "agentring.cli")


class DevProcess:
    """Made by `running_dev`."""

    def __init__(self, process: Process) -> None:
        """For `running_dev` alone."""
        self.process = process
        self.lines: list[str] = []

    async def until(self, part: str) -> str:
        """The next line that contains this."""
        assert self.process.stdout is not None
        try:
            async with asyncio.timeout(DEADLINE_S):
                while line := (await self.process.stdout.readline()).decode():
                    self.lines.append(line.rstrip("\n"))
                    if part in line:
                        return self.lines[-1]
        except TimeoutError:
            raise AssertionError(f"no line with {part!r} within {DEADLINE_S} s after {self.lines}") from None
        raise AssertionError(f"no line with {part!r} in {self.lines}")

    async def until_all(self, *parts: str) -> None:
        """Until each of these stands in a line, in whatever order they come."""
        left = set(parts)
        while left:
            line = await self.until("")
            left = {part for part in left if part not in line}

    def say(self, words: str) -> None:
        """Types a line."""
        assert self.process.stdin is not None
        self.process.stdin.write(f"{words}\n".encode())

    async def ended(self) -> int:
        """Its exit status, after the input's end."""
        assert self.process.stdin is not None
        assert self.process.stdout is not None
        self.process.stdin.close()
        async with asyncio.timeout(DEADLINE_S):
            self.lines += (await self.process.stdout.read()).decode().splitlines()
            return await self.process.wait()


@asynccontextmanager
async def running_dev(within: Path, *arguments: str, program: tuple[str, ...] = ()) -> AsyncIterator[DevProcess]:
    """Starts it in a directory; ends it, if it still runs, and with it all that it has started. program: what a reader
    types before `dev`, who names no port."""
    env = {name: value for name, value in os.environ.items() if name != "AGENTRING_AGENT"}
    command = (*program, "dev", *arguments) if program else (*OURS, "dev", "--port=0", *arguments)
    process = await asyncio.create_subprocess_exec(
        *command, cwd=within, env=env, stdin=PIPE, stdout=PIPE, stderr=STDOUT
    )
    dev = DevProcess(process)
    try:
        yield dev
    finally:
        if process.returncode is None:
            try:
                await dev.ended()
            finally:
                if process.returncode is None:
                    process.kill()
                    await process.wait()


def save(path: Path, text: str) -> None:
    """As an editor does: all at once."""
    beside = path.with_suffix(".saving")
    beside.write_text(text)
    os.replace(beside, path)
