"""The processes of a local cluster: etcd, nodes, routers; started, watched and stopped together.

Start: etcd, then all nodes and routers at once; it is ready when every router sees every node. Stop is the reverse:
routers, so that nobody sends to a node that goes; nodes, so that they can still release their claims in etcd; etcd. A
node or router that ends by itself is reported and not restarted; without its etcd, everything stops. Called by `up`.
"""

import asyncio
import sys
from collections.abc import Callable
from dataclasses import dataclass, field, replace
from typing import NoReturn

from agentring.cli.errors import ChildFailed
from agentring.cli.etcd import EtcdAccess, forget_store
from agentring.cli.local import import_path
from agentring.cli.local.child import Child, ChildSpec
from agentring.cli.local.cluster_file import ClusterFile, NodeEntry, RouterEntry
from agentring.cli.local.data_dir import DataDir
from agentring.cli.local.embedded_etcd import start_etcd
from agentring.cli.local.node_command import Hosting, node_command
from agentring.cli.local.ports import join_address
from agentring.cli.local.readiness import report_no_nodes, until_seen
from agentring.cluster.keys import Keys
from agentring.ids import NodeId
from agentring.secrets import without_password

READY_DEADLINE_S = 30.0
_NODE_PATIENCE_S = 10.0
_ROUTER_PATIENCE_S = 5.0


@dataclass(frozen=True, slots=True)
class ClusterPlan:
    """What to run."""

    nodes: int
    routers: int
    host: str
    port: int
    """The first router's; the others' follow. 0: any."""
    data_dir: DataDir
    etcd: tuple[str, ...]
    """The endpoints of an etcd that runs already; empty: start one."""
    store: str
    lease_ttl_s: int
    insecure: tuple[str, ...] = ()
    """Flags of the routers, by which they may be open to other machines."""
    forget_store: bool = False
    """The nodes' store is taken, though the cluster knows another one."""
    hosting: Hosting = field(default_factory=Hosting)

    def router_port(self, index: int) -> int:
        """The port of the router with this index, from 0."""
        return self.port + index if self.port else 0


class LocalCluster:
    """The cluster's processes. Who makes one calls `stop`, however `start` and `watch` ended."""

    def __init__(self, plan: ClusterPlan) -> None:
        """Nothing is started yet."""
        self._plan = plan
        self.notes: list[str] = []
        """What somebody should know who used the cluster before."""
        self._etcd: list[Child] = []
        self._nodes: list[Child] = []
        self._routers: list[Child] = []
        self._started: ClusterFile | None = None
        self._etcd_urls: tuple[str, ...] = ()
        self._data_planes: set[str] = set()
        self._watch_node: Callable[[Child], None] = lambda _: None
        """Has a node's end reported, while `watch` runs."""
        self._leaving: set[int] = set()
        """The pids of nodes that are asked to end."""
        self.hosting = plan.hosting
        """Of the nodes that are started from now on."""
        self.agents: tuple[str, ...] = ()
        """What the nodes host, those that were named first."""
        self.left_out: list[str] = []
        """A line for each agent that the nodes could not load as they started."""

    async def start(self) -> ClusterFile:
        """Starts everything and waits until it serves. Raises EtcdUnusable, ChildFailed."""
        self._etcd_urls = urls = self._plan.etcd or (await self._start_etcd(),)
        if self._plan.forget_store:
            await forget_store(EtcdAccess(urls), Keys("default"))
        try:
            async with asyncio.TaskGroup() as tasks:
                starting_nodes = [tasks.create_task(self._start_node(node_id)) for node_id in self.node_ids]
                starting = [tasks.create_task(self._start_router(index, urls)) for index in range(self._plan.routers)]
            nodes = tuple(task.result() for task in starting_nodes)
            routers = tuple(task.result() for task in starting)
            async with asyncio.TaskGroup() as tasks:
                for child in self._routers:
                    tasks.create_task(_until_it_routes(child, routers, nodes))
        except BaseExceptionGroup as group:
            _raise_first(group)
        self.notes += self.left_out
        self._started = ClusterFile(
            router=tuple(router.address for router in routers),
            etcd=urls,
            store=without_password(self._plan.store),
            nodes=nodes,
            routers=routers,
            data_plane=" and ".join(sorted(self._data_planes)),
        )
        return self._started

    @property
    def node_ids(self) -> list[NodeId]:
        """The nodes."""
        return [NodeId(f"n{number}") for number in range(1, self._plan.nodes + 1)]

    async def replace_node(self, node_id: NodeId, successor: Child, serve: Callable[[], None]) -> None:
        """Has a node drain and end, and its successor serve in its place; returns once every router knows. successor:
        belongs to the cluster from now on. Raises ChildFailed, which leaves the cluster without the node."""
        assert self._started is not None
        before = [child for child in self._nodes if child.spec.name == node_id]
        self._nodes.append(successor)
        for child in before:
            self._leaving.add(child.pid)
            await child.stop(asyncio.Event())
            self._nodes.remove(child)
        serve()
        entry = NodeEntry(node_id, await self._address_when_ready(successor), successor.pid)
        self._watch_node(successor)
        nodes = tuple(entry if node.id == node_id else node for node in self._started.nodes)
        self._started = replace(self._started, nodes=nodes)
        self._started.write(self._plan.data_dir.cluster_file)
        for router in self._routers:
            await _until_it_routes(router, self._started.routers, (entry,))

    def standby_spec(self, node_id: NodeId) -> ChildSpec:
        """How a process is started that can follow the node."""
        return replace(self._node_spec(node_id, "agent_node.standby"), continues_log=True)

    async def watch(self, report: Callable[[str], None]) -> NoReturn:
        """Reports each node or router that ends by itself, until cancelled. Raises ChildFailed when etcd ends."""
        try:
            async with asyncio.TaskGroup() as tasks:

                def watch(child: Child) -> None:
                    tasks.create_task(self._report_end(child, report))

                self._watch_node = watch
                for child in self._nodes + self._routers:
                    watch(child)
                for child in self._etcd[-1:]:
                    tasks.create_task(_fail_at_end(child))
                for router in self._started.router[:1] if self._started else ():
                    tasks.create_task(report_no_nodes(router, report))
                await asyncio.Event().wait()
        except BaseExceptionGroup as group:
            _raise_first(group)
        raise AssertionError

    async def stop(self, hasten: asyncio.Event) -> None:
        """Ends every process; returns once all have ended. Raises ChildFailed where one cannot be ended."""
        errors: list[BaseException] = []
        for stage in (self._routers, self._nodes, self._etcd):
            ends = await asyncio.gather(*(child.stop(hasten) for child in stage), return_exceptions=True)
            errors += [end for end in ends if end is not None]
        if errors:
            raise errors[0]

    async def _start_etcd(self) -> str:
        async def spawn(spec: ChildSpec) -> Child:
            return await _start_into(self._etcd, spec)

        etcd = await start_etcd(self._plan.data_dir, spawn)
        if etcd.moved_from is not None:
            self.notes.append(
                f"etcd's port {etcd.moved_from} is taken: it is at {etcd.url} now; "
                "nodes and routers that were started by hand need to be told"
            )
        return etcd.url

    async def _start_node(self, node_id: NodeId) -> NodeEntry:
        child = await _start_into(self._nodes, self._node_spec(node_id, "agent_node"))
        return NodeEntry(node_id, await self._address_when_ready(child), child.pid)

    def _node_spec(self, node_id: NodeId, module: str) -> ChildSpec:
        plan = self._plan
        command, variables = node_command(
            node_id, self.hosting, plan.data_dir.node(node_id), self._etcd_urls, plan.lease_ttl_s, module=module
        )
        variables["AGENTRING_STORE"] = plan.store
        return ChildSpec(node_id, command, plan.data_dir.log(node_id), _NODE_PATIENCE_S, env=variables)

    async def _start_router(self, index: int, etcd_urls: tuple[str, ...]) -> RouterEntry:
        plan = self._plan
        name = f"r{index + 1}"
        python_flags, python_variables = import_path.for_router()
        command = (
            *(sys.executable, *python_flags, "-m", "router"),
            *("--listen", join_address(plan.host, plan.router_port(index))),
            *("--etcd", ",".join(etcd_urls)),
            *("--cluster", "default"),
            *plan.insecure,
        )
        spec = ChildSpec(name, command, plan.data_dir.log(name), _ROUTER_PATIENCE_S, env=python_variables)
        child = await _start_into(self._routers, spec)
        return RouterEntry(await self._address_when_ready(child), child.pid)

    async def _report_end(self, child: Child, report: Callable[[str], None]) -> None:
        await child.ended()
        if child.pid not in self._leaving:
            report(f"{child.spec.name} {child.describe_end()}; log: {child.spec.log_path}")

    async def _address_when_ready(self, child: Child) -> str:
        ready_line = await child.ready_line(READY_DEADLINE_S)
        address, data_plane = ready_line.get("address"), ready_line.get("data_plane")
        if not isinstance(address, str):
            raise child.failure(f"(pid {child.pid}) named no address")
        if isinstance(data_plane, str):
            self._data_planes.add(data_plane)
        agents, left_out = ready_line.get("agents"), ready_line.get("agents_left_out")
        if isinstance(agents, list) and isinstance(left_out, list):  # a node's, which all are alike
            self.agents, self.left_out = tuple(agents), left_out
        return address


async def _start_into(stage: list[Child], spec: ChildSpec) -> Child:
    # No await between the process's making and its entry in the list: a child is never without an owner.
    child = await Child.start(spec)
    stage.append(child)
    return child


async def _until_it_routes(child: Child, routers: tuple[RouterEntry, ...], nodes: tuple[NodeEntry, ...]) -> None:
    (address,) = (router.address for router in routers if router.pid == child.pid)
    try:
        await until_seen(address, nodes, READY_DEADLINE_S)
    except TimeoutError as error:
        raise child.failure(f"(pid {child.pid}) did not see all nodes within {READY_DEADLINE_S:g} s") from error


async def _fail_at_end(child: Child) -> None:
    await child.ended()
    raise child.failure()


def _raise_first(group: BaseExceptionGroup[BaseException]) -> NoReturn:
    # The first child that fails is reported; the others were stopped because of it, or failed for the same reason.
    failures, others = group.split(ChildFailed)
    if failures is None or others is not None:
        raise group
    raise failures.exceptions[0] from None
