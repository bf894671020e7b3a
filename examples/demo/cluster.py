"""A cluster of the demo's own: `agentring up` as a child process, in a directory of its own, on free ports."""

import asyncio
import json
import os
import shutil
import signal
import sys
import tempfile
from asyncio.subprocess import DEVNULL, PIPE, STDOUT, Process
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager, suppress
from dataclasses import dataclass
from pathlib import Path

from agentring.cli.local.child import tie_to_parent
from agentring.cli.local.cluster_file import ClusterFile

LEASE_TTL_S = 3
_READY_DEADLINE_S = 90.0
_STOP_DEADLINE_S = 30.0


@dataclass(frozen=True, slots=True)
class DemoCluster:
    """A running cluster."""

    file: ClusterFile
    audit_log: Path

    def audited(self, event: str) -> list[dict[str, object]]:
        """The transitions of this kind that the nodes have recorded."""
        lines = self.audit_log.read_text(encoding="utf-8").splitlines() if self.audit_log.exists() else []
        found = [json.loads(line) for line in lines]
        return [line for line in found if line["event"] == event]

    def kill(self, node_id: str) -> int:
        """Ends a node with kill -9; its pid."""
        (pid,) = (node.pid for node in self.file.nodes if node.id == node_id)
        os.kill(pid, signal.SIGKILL)
        return pid


@asynccontextmanager
async def running_cluster(nodes: int, routers: int) -> AsyncIterator[DemoCluster]:
    """Starts a cluster; stops it and removes its files. Raises RuntimeError where it does not start."""
    directory = Path(tempfile.mkdtemp(prefix="agentring-demo-"))
    audit_log = directory / "audit.jsonl"
    flags = {"nodes": nodes, "routers": routers, "port": 0, "lease-ttl-s": LEASE_TTL_S, "data-dir": directory / "data"}
    try:
        process = await asyncio.create_subprocess_exec(
            *(sys.executable, "-m", "agentring.cli", "up"),
            *(f"--{name}={value}" for name, value in flags.items()),
            stdin=DEVNULL,
            stdout=PIPE,
            stderr=STDOUT,
            env={**os.environ, "AGENTRING_AUDIT_LOG": str(audit_log)},
            start_new_session=True,
            preexec_fn=tie_to_parent(signal.SIGTERM),
        )
        try:
            await _until_ready(process)
            file = ClusterFile.read(directory / "data" / "cluster.json")
            assert file is not None
            yield DemoCluster(file, audit_log)
        finally:
            await _stop(process)
    finally:
        shutil.rmtree(directory)


async def _until_ready(process: Process) -> None:
    assert process.stdout is not None
    lines: list[str] = []
    with suppress(TimeoutError):
        async with asyncio.timeout(_READY_DEADLINE_S):
            while line := (await process.stdout.readline()).decode():
                if line == "ready\n":
                    return
                lines.append(line)
    raise RuntimeError("agentring up did not become ready:\n" + "".join(lines))


async def _stop(process: Process) -> None:
    with suppress(ProcessLookupError):
        process.send_signal(signal.SIGINT)
    try:
        async with asyncio.timeout(_STOP_DEADLINE_S):
            await process.communicate()
    except TimeoutError:
        process.kill()  # and the kernel ends its children
        await process.wait()
