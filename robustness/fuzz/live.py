"""Mangled connections to the ports of a live cluster, thousands at a time, and whether everything still serves.

A round breaks recordings of real clients (harness/mangling.py) and sends each on a connection of its own to one port,
a router's or a node's, beside neighbours whose turns go on all the while through the router. A finding is: a process
that has ended, a neighbour's turn that failed, a node that is no longer ACTIVE or does not run a task that is asked of
its own port, a router that does not run a turn, or a line in a log that says a fault of ours. Called by __main__.py.
"""

import tempfile
import time
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from dataclasses import dataclass
from pathlib import Path

from grpc import aio

from harness.mangled_connections import check_serves, faults_in, send_all
from harness.mangling import Frame, parse
from harness.recordings import record
from robustness.abuse.partner import Partner, partner
from robustness.abuse.stand import AttackedRouter, Stand, open_router, open_stand, share_cores
from robustness.fuzz.targets import Round

PORTS = ("router-port", "node-port")
_CHECK_EVERY = 1_000


@dataclass(frozen=True, slots=True)
class LiveCluster:
    """Where the rounds are played."""

    stand: Stand
    router: AttackedRouter
    neighbour: Partner
    recordings: dict[str, list[list[Frame]]]
    """By port."""

    def address(self, port: str) -> str:
        """Of the port that is attacked."""
        return self.router.address if port == "router-port" else self.stand.nodes[0].address


@asynccontextmanager
async def live_cluster(flags: tuple[str, ...] = ()) -> AsyncIterator[LiveCluster]:
    """Starts etcd, two nodes, a router and the neighbours, and records the clients. Raises ChildFailed, EtcdUnusable,
    PartnerFailed."""
    core, _ = share_cores()
    with tempfile.TemporaryDirectory(prefix="agentring-fuzz-") as directory:
        async with (
            open_stand(Path(directory)) as stand,
            open_router(stand, core, flags) as router,
            partner("robustness.abuse.neighbour", router.address) as neighbour,
        ):
            made = {
                "router-port": await record(router.address, is_router=True),
                "node-port": await record(stand.nodes[0].address, is_router=False),
            }
            recordings = {port: [parse(each.sent) for each in of_port] for port, of_port in made.items()}
            await neighbour.ask("warm")
            yield LiveCluster(stand, router, neighbour, recordings)


async def play_live(cluster: LiveCluster, port: str, seed: int, connections: int) -> Round:
    """Sends so many connections, made of the seed; ends at the first finding."""
    began_s = time.monotonic()
    sent, finding = 0, ""
    while sent < connections and not finding:
        batch = range(sent, min(connections, sent + _CHECK_EVERY))
        try:
            await send_all(cluster.address(port), cluster.recordings[port], seed, batch)
        except* OSError as failed:
            finding = f"nobody listens any more: {failed.exceptions!r}"
        sent = batch.stop
        finding = finding or await _finding(cluster)
        if finding:
            finding = f"after connections {batch.start} to {batch.stop} of seed {seed}: {finding}"
    return Round(port, seed, sent, time.monotonic() - began_s, finding)


async def _finding(cluster: LiveCluster) -> str:
    """What is not as it should be; empty: all is well."""
    during = await cluster.neighbour.ask("during")
    if during["failed"]:
        return f"{during['failed']} of the neighbours' turns failed ({during['first_failure']})"
    if not during["turns"]:
        return "no turn of the neighbours ended meanwhile"
    if cluster.router.child.has_ended:
        return "the router has ended"
    silent = ""
    try:
        await check_serves(cluster.router.address, [node.address for node in cluster.stand.nodes])
    except* (aio.AioRpcError, TimeoutError, AssertionError) as failed:
        silent = f"not everything serves any more: {failed.exceptions!r}"
    return silent or next(iter(faults_in(sorted(cluster.stand.directory.rglob("*.log")))), "")
