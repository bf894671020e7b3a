"""What is measured: agentring with each store, compiled and interpreted, and the yardstick.

Guarantees that a system runs alone, on loopback and free ports, that all its processes have ended when `running` is
left, and that its nodes share nothing with an earlier run's.
"""

import asyncio
import os
import sys
import tempfile
from collections.abc import AsyncIterator
from contextlib import AsyncExitStack, asynccontextmanager
from dataclasses import dataclass
from pathlib import Path

from agentring.cli.local.child import Child, ChildSpec
from agentring.cli.local.cluster_file import NodeEntry
from agentring.cli.local.data_dir import DataDir
from agentring.cli.local.embedded_etcd import start_etcd
from agentring.cli.local.ports import LOOPBACK, free_ports, join_address
from agentring.cli.local.readiness import until_seen
from agentring.ids import NodeId
from benchmarks.router.build import find_envoy
from harness.postgres import PostgresProcess, find_programs

ROOT = Path(__file__).resolve().parents[2]
YARDSTICK = "envoy+grpc.aio"
STORES = ("memory", "sqlite", "postgres")
NODES = 3
_READY_S = 30.0
_PATIENCE_S = 10.0
_CONF = Path(__file__).resolve().parent / "envoy.yaml"


@dataclass(frozen=True, slots=True)
class Running:
    """A system that serves."""

    port: int
    processes: dict[str, int]
    """Pids, by what each process is; a negative one stands for that process and its children."""


@dataclass(frozen=True, slots=True)
class System:
    """A system that can be started."""

    name: str
    store: str = ""
    compiled: bool = True
    source: Path = ROOT
    """The checkout whose code runs."""

    @asynccontextmanager
    async def running(self, directory: Path, profile: Path | None = None) -> AsyncIterator[Running]:
        """Starts it in an empty directory. profile: where the first node's cProfile goes. Raises ChildFailed."""
        async with AsyncExitStack() as stack:
            if self.name == YARDSTICK:
                yield await _start_yardstick(stack, directory)
            else:
                yield await self._start(stack, directory, profile)

    async def _start(self, stack: AsyncExitStack, directory: Path, profile: Path | None) -> Running:
        stack.enter_context(DataDir(directory).locked())
        etcd_children: list[Child] = []

        async def spawn_etcd(spec: ChildSpec) -> Child:
            etcd_children.append(await _spawn(stack, spec))
            return etcd_children[-1]

        url = (await start_etcd(DataDir(directory), spawn_etcd)).url
        store, processes_of_store = await self._open_store(stack, directory)
        processes = {"etcd": etcd_children[-1].pid} | processes_of_store
        env = {"PYTHONPATH": f"{self.source / '.tools' / 'compiled'}:{self.source}:{ROOT}"}
        if not self.compiled:
            env = {"PYTHONPATH": f"{self.source}:{ROOT}"}
        entries = []
        for number in range(1, NODES + 1):
            profiling = ("-m", "cProfile", "-o", str(profile)) if profile is not None and number == 1 else ()
            node_id = f"n{number}"
            node_command = (
                *(sys.executable, "-P", *profiling, "-m", "agent_node"),
                *("--node-id", node_id, "--listen", f"{LOOPBACK}:0", "--etcd", url),
                f"--data-dir={directory / node_id}",
                *("--agent", "counter=benchmarks.turns.agent:counter"),
                *("--max-running-turns", "1000", "--max-waiting-turns", "10000"),
            )
            spec = ChildSpec(
                node_id, node_command, directory / f"{node_id}.log", _PATIENCE_S, env={**env, "AGENTRING_STORE": store}
            )
            child = await _spawn(stack, spec)
            address = str((await child.ready_line(_READY_S))["address"])
            entries.append(NodeEntry(NodeId(node_id), address, child.pid))
            processes[node_id] = child.pid
        command = (sys.executable, "-P", "-m", "router", "--listen", f"{LOOPBACK}:0", "--etcd", url)
        router = await _spawn(stack, ChildSpec("router", command, directory / "router.log", _PATIENCE_S, env=env))
        address = str((await router.ready_line(_READY_S))["address"])
        await until_seen(address, entries, _READY_S)
        return Running(int(address.rpartition(":")[2]), processes | {"router": router.pid})

    async def _open_store(self, stack: AsyncExitStack, directory: Path) -> tuple[str, dict[str, int]]:
        match self.store:
            case "memory":
                return "memory:", {}
            case "sqlite":
                return f"sqlite:///{directory / 'store.db'}", {}
            case "postgres":
                # Not in the directory, which is ours alone: its server is another user's.
                postgres_dir = stack.enter_context(tempfile.TemporaryDirectory(prefix="turnbench-postgres-"))
                os.chmod(postgres_dir, 0o755)  # noqa: S103
                server = await asyncio.to_thread(PostgresProcess, Path(postgres_dir) / "server", fsync=True)
                stack.push_async_callback(asyncio.to_thread, server.stop)
                return await asyncio.to_thread(server.database), {"postgres": -server.process.pid}
        raise AssertionError(self.store)


def find(name: str, sources: dict[str, Path]) -> System | None:
    """The yardstick, or STORE[-interpreted][@CHECKOUT]; None: what it needs is not installed, or there is none such."""
    if name == YARDSTICK:
        return System(YARDSTICK)
    kind, _, source = name.partition("@")
    store, _, how = kind.partition("-")
    if store not in STORES or how not in ("", "interpreted") or (source and source not in sources):
        return None
    if store == "postgres" and find_programs() is None:
        return None
    return System(name, store, compiled=not how, source=sources.get(source, ROOT))


async def _start_yardstick(stack: AsyncExitStack, directory: Path) -> Running:
    *ports, front = free_ports(NODES + 1)
    processes = {}
    for number, port in enumerate(ports, 1):
        command = (sys.executable, "-P", "-m", "benchmarks.turns.handler", str(port))
        name = f"handler{number}"
        child = await _spawn(
            stack, ChildSpec(name, command, directory / f"{name}.log", _PATIENCE_S, env={"PYTHONPATH": str(ROOT)})
        )
        await child.ready_line(_READY_S)
        processes[name] = child.pid
    endpoints = "".join(_endpoint(port) for port in ports)
    conf = directory / "envoy.yaml"
    conf.write_text(_CONF.read_text().replace("@listen_port@", str(front)).replace("@endpoints@", endpoints))
    envoy_command = (
        *(str(await asyncio.to_thread(find_envoy)), "--config-path", str(conf)),
        *("--concurrency", "1", "--log-level", "error", "--disable-hot-restart"),
    )
    envoy = await _spawn(
        stack, ChildSpec("envoy", envoy_command, directory / "envoy.log", _PATIENCE_S, prints_ready_line=False)
    )
    async with asyncio.timeout(_READY_S):
        while not await _accepts(front):
            if envoy.has_ended:
                raise envoy.failure()
            await asyncio.sleep(0.02)
    return Running(front, processes | {"envoy": envoy.pid})


def _endpoint(port: int) -> str:
    host, number = join_address(LOOPBACK, port).rsplit(":", 1)
    return f"\n              - endpoint: {{address: {{socket_address: {{address: {host}, port_value: {number}}}}}}}"


async def _accepts(port: int) -> bool:
    try:
        _, writer = await asyncio.open_connection(LOOPBACK, port)
    except OSError:
        return False
    writer.close()
    return True


async def _spawn(stack: AsyncExitStack, spec: ChildSpec) -> Child:
    child = await Child.start(spec)
    stack.push_async_callback(child.stop, asyncio.Event())
    return child
