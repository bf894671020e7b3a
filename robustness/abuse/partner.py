"""A process beside this one that is told words on stdin, and answers each with a line of JSON on stdout.

`serve` is the process's side, `Partner` the other. The process ends with its stdin.
"""

import asyncio
import json
import os
import signal
import sys
from asyncio.subprocess import PIPE, Process
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from typing import Any

from agentring.cli.local.child import tie_to_parent

_DEADLINE_S = 120.0
_END_S = 5.0


class PartnerFailed(Exception):
    """It has ended, or says nothing."""


class Partner:
    """One such process."""

    def __init__(self, name: str, process: Process) -> None:
        """For `partner`."""
        self._name = name
        self._process = process

    async def receive(self, deadline_s: float = _DEADLINE_S) -> dict[str, Any]:
        """Its next line. Raises PartnerFailed."""
        assert self._process.stdout is not None
        try:
            async with asyncio.timeout(deadline_s):
                line = await self._process.stdout.readline()
        except TimeoutError:
            raise PartnerFailed(f"{self._name} says nothing for {deadline_s:g} s") from None
        if not line:
            raise PartnerFailed(f"{self._name} has ended")
        fields: dict[str, Any] = json.loads(line)
        return fields

    async def ask(self, word: str, deadline_s: float = _DEADLINE_S) -> dict[str, Any]:
        """Sends it a word, and returns what it answers. Raises PartnerFailed."""
        self.send(word)
        return await self.receive(deadline_s)

    def send(self, word: str) -> None:
        """Sends it a word."""
        assert self._process.stdin is not None
        self._process.stdin.write(word.encode() + b"\n")


@asynccontextmanager
async def partner(module: str, *words: str) -> AsyncIterator[Partner]:
    """Starts `python -m module words...`; ends it."""
    process = await asyncio.create_subprocess_exec(
        *(sys.executable, "-P", "-m", module, *words),
        stdin=PIPE,
        stdout=PIPE,
        start_new_session=True,
        preexec_fn=tie_to_parent(signal.SIGKILL),
    )
    try:
        yield Partner(module, process)
    finally:
        assert process.stdin is not None
        process.stdin.close()
        try:
            async with asyncio.timeout(_END_S):
                await process.wait()
        except TimeoutError:
            process.kill()
            await process.wait()


def send(fields: dict[str, Any]) -> None:
    """In the process: a line for the other side."""
    os.write(sys.stdout.fileno(), json.dumps(fields).encode() + b"\n")
