"""Conversations of `agentring chat`, one after the other, each in a fork of one process that has imported the command:
what a page's chats take is mostly the import."""

import asyncio
import json
import os
import sys
from asyncio.subprocess import PIPE
from collections.abc import Mapping, Sequence
from pathlib import Path

_DEADLINE_S = 100.0
_FORKING = """
import json, os, sys
from agentring.cli.main import main
for words, typed, place in json.load(sys.stdin):
    reads, writes = os.pipe()
    os.write(writes, typed.encode())
    os.close(writes)
    if child := os.fork():
        os.close(reads)
        os.waitpid(child, 0)
        continue
    os.dup2(reads, 0)
    for number, name in ((1, "out"), (2, "err")):
        os.dup2(os.open(f"{place}.{name}", os.O_CREAT | os.O_WRONLY), number)
    sys.argv = ["agentring", *words]
    main()
    raise SystemExit
"""
"""What is typed must fit into a pipe."""


async def chats(data_dir: Path, typed: Mapping[str, Sequence[str]]) -> dict[str, tuple[str, str]]:
    """What each agent's chat prints, on stdout and on stderr. data_dir: of a cluster that is up; typed: the lines for
    an agent, whose session is `on-AGENT`."""
    asked = []
    for agent, lines in typed.items():
        words = ["chat", f"on-{agent}", "--agent", agent, "--data-dir", str(data_dir)]
        asked.append((words, "\n".join(lines), str(data_dir / f"chat-{agent}")))
    process = await asyncio.create_subprocess_exec(
        *(sys.executable, "-c", _FORKING), stdin=PIPE, env={**os.environ, "GRPC_ENABLE_FORK_SUPPORT": "0"}
    )
    try:
        async with asyncio.timeout(_DEADLINE_S):
            await process.communicate(json.dumps(asked).encode())
    finally:
        if process.returncode is None:
            process.kill()
            await process.wait()
    return {
        agent: (_read(f"{place}.out"), _read(f"{place}.err")) for agent, (_, _, place) in zip(typed, asked, strict=True)
    }


def _read(path: str) -> str:
    return Path(path).read_text(encoding="utf-8")
