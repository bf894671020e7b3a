"""Runs the demo; exit status 0 only if every claim held."""

import argparse
import asyncio
import sys
import time
from contextlib import AsyncExitStack
from pathlib import Path

import grpc
from grpc import aio
from rich.console import Console

from agentring.rpc.status import read_error
from examples.demo import scenes
from examples.demo.claims import Claims
from examples.demo.cluster import LEASE_TTL_S, running_cluster
from examples.demo.picture import recording, to_svg

NODES = 3
ROUTERS = 2


async def demo(console: Console) -> bool:
    """Starts a cluster and shows it; whether every claim held. Raises RuntimeError where the cluster does not start."""
    claims = Claims(console)
    began_s = time.monotonic()
    claims.scene(
        "A cluster on this machine",
        f"`agentring up` starts etcd, {NODES} nodes with a lease of {LEASE_TTL_S} s, and {ROUTERS} routers.",
    )
    async with running_cluster(NODES, ROUTERS) as cluster, AsyncExitStack() as stack:
        claims.claim(
            f"{NODES} nodes and {ROUTERS} routers are ready after {time.monotonic() - began_s:.1f} s",
            (len(cluster.file.nodes), len(cluster.file.routers)) == (NODES, ROUTERS),
        )
        routers = [await stack.enter_async_context(aio.insecure_channel(one)) for one in cluster.file.router]
        try:
            placed = await scenes.placement(claims, cluster, routers)
            await scenes.memory(claims, routers)
            await scenes.single_flight(claims, cluster, routers)
            await scenes.failover(claims, cluster, routers, placed)
        except grpc.RpcError as error:
            claims.claim("every call was answered", False, read_error(error))
    return claims.close()


def main() -> int:
    """Exit status: 0 if every claim held, 1 if not, 130 after Ctrl-C."""
    parser = argparse.ArgumentParser(prog="scripts/demo", description=__doc__)
    parser.add_argument("--svg", type=Path, metavar="FILE", help="also write what is printed as a picture")
    svg: Path | None = parser.parse_args().svg
    console = Console(highlight=False, markup=False, emoji=False) if svg is None else recording()
    try:
        held = asyncio.run(demo(console))
        if svg is not None:
            svg.write_text(to_svg(console), encoding="utf-8")
        return 0 if held else 1
    except KeyboardInterrupt:
        return 130
    except RuntimeError as error:
        print(f"demo: {error}", file=sys.stderr)
        return 1


if __name__ == "__main__":
    sys.exit(main())
