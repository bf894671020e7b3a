"""The cluster under test: etcd, nodes and routers as processes, every way between them a link that can fail.

Guarantees that everything has ended after `stop`. A node is reached by routers through a link, and reaches each member
of etcd through a link; so does a router. Starting and stopping block and are done on threads, because the links live on
the event loop.
"""

import asyncio
import os
import signal
import sys
import uuid
from contextlib import suppress
from dataclasses import dataclass
from pathlib import Path

from agentring.certificates.names import Holder
from harness.certificates import Certificates
from harness.cluster import until_sees
from harness.guarded_postgres import NODES
from harness.processes import Process
from robustness.chaos.cluster.etcd import Etcd
from robustness.chaos.cluster.host import LOOPBACK, Host
from robustness.chaos.cluster.links import Link
from robustness.chaos.cluster.namespaces import Namespace
from robustness.chaos.cluster.ports import own_port
from robustness.chaos.cluster.users import EtcdUsers
from robustness.chaos.validate.audit_files import AuditFiles, until
from robustness.chaos.validate.evidence import Mark, now_ns

ROOT = Path(__file__).resolve().parents[3]
AGENT = "counting"
NEWCOMER = "newcomer"
"""The name of a node that is added later, as etcd's users know it."""
_REACHED_S = 0.1
"""Whoever has looked whether it is armed has stopped by then."""


@dataclass(frozen=True, slots=True)
class Plan:
    """What a world is made of."""

    etcd: Path
    """The binary."""
    ttl_s: int = 3
    nodes: int = 3
    routers: int = 2
    members: int = 1
    quota_bytes: int | None = None
    alter: tuple[str, ...] = ()
    """Names of chaos/failpoints/failpoints.py and chaos/failpoints/mutations.py, for every node."""
    alter_routers: tuple[str, ...] = ()
    """The same, for every router."""
    namespaces: bool = False
    """Each node in a network namespace of its own; else its links are cut instead of its wires."""
    store: str = ""
    """The nodes' store, as they take it; empty: an SQLite file of the world's own."""
    tls: bool = False
    """All know one another by certificates: nodes, routers and clients."""
    users: bool = False
    """etcd serves TLS and checks who calls, and every process is a user that may do no more than it must."""
    owner_store: str = ""
    """The store, as its owner opens it, where the nodes' role may not change its tables; needs users."""
    node_flags: tuple[str, ...] = ()
    router_flags: tuple[str, ...] = ()


class World:
    """Resource handling: `start`, `stop`."""

    def __init__(self, plan: Plan, directory: Path) -> None:
        """directory: of data and logs."""
        self.plan = plan
        self.directory = directory
        self.cluster = f"chaos-{uuid.uuid4().hex[:8]}"
        self.certificates = Certificates(directory / "certificates", self.cluster) if plan.tls else None
        self.credentials = self.certificates.credentials("clients") if self.certificates is not None else None
        """The clients'; None: in plaintext."""
        self._users = EtcdUsers(directory / "etcd-users", self.cluster) if plan.users else None
        self.etcd = Etcd(plan.etcd, directory, plan.members, quota_bytes=plan.quota_bytes, users=self._users)
        self.audit = AuditFiles(directory)
        self.nodes: dict[str, Host] = {}
        self.routers: dict[str, Host] = {}
        self.marks: list[Mark] = []
        self._extra: list[Process] = []

    @property
    def store_file(self) -> Path:
        """The world's own store."""
        return self.directory / "store.db"

    @property
    def store(self) -> str:
        """The nodes' --store."""
        return self.plan.store or f"sqlite:///{self.store_file}"

    async def start(self) -> None:
        """Starts everything, and returns when every router sees every node."""
        await asyncio.to_thread(self.etcd.start)
        if self._users is not None:
            nodes = [*(f"n{number + 1}" for number in range(self.plan.nodes)), NEWCOMER]
            owners, grant = self.plan.owner_store or self.store, NODES if self.plan.owner_store else ""
            await asyncio.to_thread(self._users.init, self.etcd.urls, nodes, owners, grant)
        for number in range(self.plan.nodes):
            self.nodes[f"n{number + 1}"] = await self._host(f"n{number + 1}", apart=self.plan.namespaces)
        await asyncio.gather(*(self.start_node(name) for name in self.nodes))
        for number in range(self.plan.routers):
            self.routers[f"r{number + 1}"] = await self._host(f"r{number + 1}")
        await asyncio.gather(*(self._start_router(router) for router in self.routers.values()))

    async def stop(self) -> None:
        """Ends everything; nodes drain first, so that their logs tell why they ended."""
        hosts = [*self.nodes.values(), *self.routers.values()]
        for host in hosts:
            host.mend()
            if host.process is not None:
                host.signal(signal.SIGTERM)
                host.signal(signal.SIGCONT)
        processes = [*(host.process for host in hosts if host.process is not None), *self._extra]
        await asyncio.gather(*(asyncio.to_thread(process.stop) for process in processes))
        for host in hosts:
            await host.close()
        await asyncio.to_thread(self.etcd.stop)

    def mark(self, what: str, node: str = "") -> int:
        """Notes that something is being done; when."""
        mark = Mark(now_ns(), what, node)
        self.marks.append(mark)
        return mark.t_ns

    async def start_node(self, name: str, *flags: str, env: dict[str, str] | None = None) -> None:
        """Starts a node, also one that has ended, and returns when it has joined. env: on top of its environment."""
        node = self.nodes[name]
        node.process = self.spawn_node(name, *flags, env=env)
        await asyncio.to_thread(node.process.ready_line)

    async def restart_router(self, name: str) -> int:
        """Ends a router with SIGTERM and starts it again under its address, once it has ended; its exit status."""
        router = self.routers[name]
        status = await asyncio.to_thread(router.running.stop, signal.SIGTERM)
        await self._start_router(router)
        return status

    async def add_node(self, name: str) -> None:
        """As start_node, for one that is not there yet."""
        self.nodes[name] = await self._host(name, apart=self.plan.namespaces)
        await self.start_node(name)

    async def end_node(self, name: str, number: signal.Signals) -> int:
        """Ends a node with a signal; its exit status, once it has."""
        return await asyncio.to_thread(self.nodes[name].running.stop, number)

    async def until_fenced_or_ended(self, name: str, after_ns: int, within_s: float) -> bool:
        """Returns when the node has fenced itself, or its process has ended, which is marked; False: not in time."""
        process = self.nodes[name].running
        try:
            async with asyncio.timeout(within_s):
                await until(lambda: bool(process.returncode is not None or self.audit.find("fenced", name, after_ns)))
        except TimeoutError:
            return False
        if process.returncode is not None:
            self.mark("killed", name)
        return True

    async def absent(self, within_s: float) -> list[str]:
        """Waits until every node that runs has joined; those that have not in time."""

        def missing() -> list[str]:
            running = {name for name, node in self.nodes.items() if node.running.returncode is None}
            last = {line.node: line.event for line in self.audit.lines() if line.event in ("joined", "fenced")}
            return sorted(name for name in running if last.get(name) != "joined")

        with suppress(TimeoutError):
            async with asyncio.timeout(within_s):
                await until(lambda: not missing())
        return missing()

    async def restart_if_ended(self, name: str) -> None:
        """Starts a node that has ended itself."""
        if self.nodes[name].running.returncode is not None:
            await self.end_node(name, signal.SIGKILL)
            await self.start_node(name)

    async def freeze(self, name: str, duration_s: float) -> int:
        """Stops a node's process for so long; when it was let go on."""
        node = self.nodes[name]
        self.mark("frozen", name)
        await asyncio.to_thread(node.running.freeze)
        await asyncio.sleep(duration_s)
        thawed_ns = self.mark("thawed", name)
        node.signal(signal.SIGCONT)
        return thawed_ns

    async def until_stopped_at(self, point: str, *names: str, within_s: float) -> str | None:
        """Arms nodes' failpoints, and returns which one has stopped there first; None: none did. The others are
        disarmed, and go on where they have stopped there, too."""
        for name in names:
            self.trigger_file(name).write_text(point)
        with suppress(TimeoutError):
            async with asyncio.timeout(within_s):
                await until(lambda: any(self.is_stopped(name) for name in names))
        for name in names:
            self.trigger_file(name).unlink(missing_ok=True)
        first = next((name for name in names if self.is_stopped(name)), None)
        await asyncio.sleep(_REACHED_S)
        for name in names:
            if name != first and self.is_stopped(name):
                self.nodes[name].signal(signal.SIGCONT)
        return first

    def trigger_file(self, name: str) -> Path:
        """What arms the node's failpoint, as chaos/failpoints/altered.py looks for it."""
        return self.directory / f"{name}.trigger"

    def is_stopped(self, name: str) -> bool:
        """Whether the node's process stands still."""
        stat = Path(f"/proc/{self.nodes[name].running.pid}/stat").read_text()
        return stat.rpartition(")")[2].split()[0] == "T"

    def spawn_node(self, name: str, *flags: str, env: dict[str, str] | None = None) -> Process:
        """Starts a process that is to be the node, without waiting for it."""
        node = self.nodes[name]
        command = [
            *(node.namespace.enter if node.namespace is not None else ()),
            *_python("agent_node", self.plan.alter),
            f"--node-id={name}",
            f"--cluster={self.cluster}",
            f"--listen={node.address}",
            f"--advertise={node.link.address}",
            f"--data-dir={self.directory / name}",
            f"--lease-ttl-s={self.plan.ttl_s}",
            f"--audit-log={self.audit.path(name)}",
            f"--agent={AGENT}=robustness.chaos.traffic.agents:counting",
            f"--etcd={self._endpoints(node)}",
            f"--store={self.store}",
            *self._tls(name, Holder.node),
            *(self._users.of_node(name) if self._users is not None else ()),
            # A namespace's addresses are no loopback, and lead no further than this machine.
            *(("--insecure-plaintext", "--insecure-anonymous") if node.namespace is not None else ()),
            *self.plan.node_flags,
            *flags,
        ]
        return Process(command, self.directory / f"{name}.log", self._env(name, self.plan.alter) | (env or {}))

    def rival(self, name: str, *flags: str) -> Process:
        """A second process under a node's name. It is ended with the world at the latest."""
        process = self.spawn_node(name, f"--listen={LOOPBACK}:0", *flags)
        self._extra.append(process)
        return process

    async def _start_router(self, router: Host) -> None:
        command = [
            *_python("router", self.plan.alter_routers),
            f"--listen={router.address}",
            f"--cluster={self.cluster}",
            f"--etcd={self._endpoints(router)}",
            *self._tls(router.name, Holder.router),
            *(self._users.of_router() if self._users is not None else ()),
            *self.plan.router_flags,
        ]
        env = self._env(router.name, self.plan.alter_routers)
        router.process = Process(command, self.directory / f"{router.name}.log", env)
        await asyncio.to_thread(router.process.ready_line)
        await asyncio.to_thread(until_sees, router.address, self.plan.nodes, self.credentials)

    def _endpoints(self, host: Host) -> str:
        scheme = "https" if self._users is not None else "http"
        return ",".join(f"{scheme}://{link.address}" for link in host.etcd_links)

    def _tls(self, name: str, holder: Holder) -> tuple[str, ...]:
        return self.certificates.everywhere(name, holder) if self.certificates is not None else ()

    def _env(self, name: str, alter: tuple[str, ...]) -> dict[str, str]:
        return {
            "PYTHONPATH": f"{ROOT}{os.pathsep}{ROOT / 'tests'}",
            "CHAOS_ALTER": ",".join(alter),
            "CHAOS_TRIGGER": str(self.trigger_file(name)),
        }

    async def _host(self, name: str, *, apart: bool = False) -> Host:
        """apart: in a namespace of its own."""
        namespace = Namespace() if apart else None
        if namespace is not None:
            await asyncio.to_thread(namespace.open)
        host = Host(name, own_port(), [Link(url.rpartition("://")[2]) for url in self.etcd.urls], namespace)
        host.link = Link(host.address)
        try:
            for link in host.etcd_links:
                await link.start(namespace.to_etcd.our_address if namespace is not None else LOOPBACK)
            await host.link.start(LOOPBACK)
        except BaseException:
            await host.close()
            raise
        return host


def _python(module: str, alter: tuple[str, ...]) -> tuple[str, ...]:
    words = ("robustness.chaos.failpoints.altered", module) if alter else (module,)
    return (sys.executable, "-P", "-m", *words)
