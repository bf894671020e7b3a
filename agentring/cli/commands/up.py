"""`agentring up`: a whole cluster on this machine, in the foreground or, once it is ready, in the background.

Guarantees that when it ends, by Ctrl-C, SIGTERM, an error or kill -9, no process of the cluster is left
(cli/local/child.py), and that two never run on one data directory (cli/local/data_dir.py). cluster.json is there
exactly while the cluster is ready, except after a kill -9, whose leftover the next start removes.
"""

import asyncio
import os
from collections.abc import Callable
from pathlib import Path
from typing import Annotated

import typer

from agentring.address import check_etcd_endpoint
from agentring.cli.errors import StoreUnknown, check_option
from agentring.cli.local.cluster_file import ClusterFile
from agentring.cli.local.data_dir import DataDir
from agentring.cli.local.detached import detach as in_background
from agentring.cli.local.env_file import read_env_file
from agentring.cli.local.foreground import run_cluster
from agentring.cli.local.local_cluster import ClusterPlan, LocalCluster
from agentring.cli.local.node_command import Hosting, check_agents
from agentring.cli.local.ports import LOOPBACK, check_listenable
from agentring.cli.options import DEFAULT_DATA_DIR, AgentsOption, DataDirOption, EnvFileOption, for_data_dir

_STORES = ("memory:", "sqlite:///", "postgresql://")


def up(
    nodes: Annotated[int, typer.Option(min=1, max=100, help="How many agent nodes.")] = 3,
    routers: Annotated[int, typer.Option(min=1, max=100, help="How many routers.")] = 1,
    port: Annotated[
        int, typer.Option(min=0, max=65_535, help="The first router's port; the others' follow. 0: any free ones.")
    ] = 7700,
    host: Annotated[str, typer.Option(help="Where the routers listen.")] = LOOPBACK,
    insecure_plaintext: Annotated[
        bool, typer.Option("--insecure-plaintext", help="Routers that other machines can reach may be without TLS.")
    ] = False,
    insecure_anonymous: Annotated[
        bool, typer.Option("--insecure-anonymous", help="Routers that other machines can reach may ask nobody.")
    ] = False,
    data_dir: DataDirOption = DEFAULT_DATA_DIR,
    etcd: Annotated[
        str | None, typer.Option(help="An etcd that runs already, e.g. http://127.0.0.1:2379; several with commas.")
    ] = None,
    store: Annotated[
        str | None,
        typer.Option(
            envvar="AGENTRING_STORE",
            show_envvar=True,
            help="Where sessions are kept: memory:, sqlite:///PATH or postgresql://…; else a file in data-dir.",
        ),
    ] = None,
    lease_ttl_s: Annotated[
        int, typer.Option(min=2, max=600, help="A dead node's sessions may go to others after so many seconds.")
    ] = 10,
    forget_store: Annotated[
        bool,
        typer.Option(
            "--forget-store", help="Take the store that is there, though the cluster knows another, or a later one."
        ),
    ] = False,
    agent: AgentsOption = None,
    env_file: EnvFileOption = None,
    detach: Annotated[
        bool, typer.Option("--detach", help="Go on in the background once it is ready; `agentring down` ends it.")
    ] = False,
) -> None:
    """Run a cluster on this machine: etcd, nodes and routers, until Ctrl-C."""
    if store is not None and not store.startswith(_STORES):
        raise StoreUnknown(store)
    words = {"--insecure-plaintext": insecure_plaintext, "--insecure-anonymous": insecure_anonymous}
    plan = ClusterPlan(
        nodes=nodes,
        routers=routers,
        host=host,
        insecure=tuple(word for word, said in words.items() if said),
        port=port,
        data_dir=DataDir(data_dir),
        etcd=check_option("--etcd", etcd, check_etcd_endpoint) if etcd else (),
        store=store or f"sqlite:///{DataDir(data_dir).store.absolute()}",
        lease_ttl_s=lease_ttl_s,
        forget_store=forget_store,
        hosting=Hosting(check_agents(tuple(agent or ())), read_env_file(env_file, os.environ)),
    )
    on_ready = in_background(plan.data_dir.log("up")) if detach else None
    with plan.data_dir.locked():
        if port:
            for index in range(routers):
                check_listenable(host, plan.router_port(index))
        asyncio.run(_run(plan, on_ready))


async def _run(plan: ClusterPlan, on_ready: Callable[[], None] | None) -> None:
    cluster = LocalCluster(plan)

    async def watch(started: ClusterFile) -> None:
        for line in cluster.notes + summary(started, plan.data_dir.path, detached=on_ready is not None):
            _print_line(line)
        _print_line("ready")
        if on_ready is not None:
            on_ready()
        await cluster.watch(_print_line)

    await run_cluster(plan, cluster, watch)
    _print_line("stopped")


def summary(cluster: ClusterFile, data_dir: Path, *, detached: bool = False) -> list[str]:
    """What runs where, for people."""
    there = for_data_dir(data_dir)
    ending = f"agentring down{there}" if detached else "Ctrl-C"
    return [
        *(f"etcd    {url}" for url in cluster.etcd),
        *(f"node    {node.address}  {node.id}, pid {node.pid}" for node in cluster.nodes),
        *(f"router  {router.address}  pid {router.pid}" for router in cluster.routers),
        f"logs in {data_dir / 'logs'}; {ending} stops everything; speak with an agent: agentring chat ada{there}",
    ]


def _print_line(line: str) -> None:
    print(line, flush=True)
