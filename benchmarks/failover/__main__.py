"""`scripts/bench_failover`: a node with many sessions is killed; when do those that are in use answer again?

How to run it:

    scripts/bench_failover                                   # about half a minute
    scripts/bench_failover --runs 5
    scripts/bench_failover --sessions 2000 --attached 50

What it does: starts etcd, a node and a router; makes so many sessions with a turn each; starts the other nodes, to
which no session moves; opens streams to some of the sessions, which take short turns one after the other; kills -9 the
first node, and goes on.

What the numbers mean: for each stream, the time from the kill to the end of the first turn after it, on the same
stream: the client has not opened another. `broken` is how many streams ended.
Where the time goes is told by what happened meanwhile, each from the kill to the last session that it happened to: the
lease was over (etcd had deleted the node's key; it renews the lease every quarter of its TTL, so at the kill up to that
much of it was over already), the session was claimed, activated from the store, its first turn was committed.

Exit status: 0 if none was broken and the slowest took less than the lease's TTL and a second, in every run; else 1.
"""

import asyncio
import json
import os
import signal
import sys
import tempfile
from contextlib import aclosing
from pathlib import Path
from typing import Annotated

import grpc
import typer
from grpc import aio
from rich.console import Console

from agentring.cluster.clock import BootClock
from agentring.cluster.etcd.client import EtcdClient
from agentring.cluster.keys import Keys
from agentring.ids import Revision
from agentring.v1 import session_pb2, session_pb2_grpc
from harness.client import connect, run_turn, turn
from harness.cluster import Cluster, until_sees
from harness.etcd import EtcdProcess

_AT_ONCE = 64
_BETWEEN_TURNS_S = 0.2
_CLOCK = BootClock()
"""The audit log's."""
_STEPS = ("claimed", "activated", "turn_committed")

app = typer.Typer(add_completion=False, pretty_exceptions_enable=False)


class Stream:
    """One attached client: its node, and when its turns ended."""

    def __init__(self, channel: aio.Channel, name: str) -> None:
        self._channel = channel
        self.name = name
        self.node = ""
        self.ended_s: list[float] = []
        self.broken = False
        self.opened = asyncio.Event()

    async def use(self, over: asyncio.Event) -> None:
        """Takes turns on one stream."""
        call = session_pb2_grpc.SessionServiceStub(self._channel).Converse()
        opening = session_pb2.Open(session_id=self.name, agent="echo")
        try:
            await call.write(session_pb2.ConverseRequest(open=opening))
            while not over.is_set():
                await call.write(session_pb2.ConverseRequest(turn=turn("hi")))
                await self._until_ended(call)
                await asyncio.sleep(_BETWEEN_TURNS_S)
        except (grpc.RpcError, EOFError):
            self.broken = True
            self.opened.set()
        finally:
            call.cancel()

    async def _until_ended(self, call: aio.StreamStreamCall) -> None:  # type: ignore[type-arg]
        while isinstance(response := await call.read(), session_pb2.ConverseResponse):
            for event in response.events:
                if event.HasField("opened"):
                    self.node = event.opened.node_id
                elif event.HasField("turn_completed"):
                    self.ended_s.append(_CLOCK.now_s())
                    self.opened.set()
                    return
        raise EOFError


@app.command(help=__doc__)
def bench(
    sessions: Annotated[int, typer.Option(min=2, help="Sessions in all.")] = 10_000,
    attached: Annotated[int, typer.Option(min=1, help="Of them with a stream.")] = 200,
    ttl: Annotated[int, typer.Option(min=2, help="The nodes' lease TTL in seconds.")] = 3,
    heirs: Annotated[int, typer.Option(min=1, help="Nodes that are left.")] = 2,
    runs: Annotated[int, typer.Option(min=1, help="How often, each time with a cluster of its own.")] = 1,
    as_json: Annotated[bool, typer.Option("--json", help="Print JSON.")] = False,
) -> None:
    """Runs it."""
    results = []
    for _ in range(runs):
        found = asyncio.run(_measure(sessions, attached, ttl, heirs))
        results.append(found)
        if not as_json:
            Console(highlight=False, soft_wrap=True).print(
                f"{found['moved']:.0f} of {attached} streams were on the killed node, among {sessions:,} sessions\n"
                f"answered again after p50 {found['p50_s']:.2f} s, p99 {found['p99_s']:.2f} s, "
                f"at most {found['max_s']:.2f} s (TTL {ttl} s); {found['broken']:.0f} broken\n"
                f"lease over {found['lease_over_s']:.2f} s, claimed {found['claimed_s']:.2f} s, "
                f"activated {found['activated_s']:.2f} s, committed {found['turn_committed_s']:.2f} s; "
                f"load average {found['load']:.1f}"
            )
    if as_json:
        print(json.dumps(results, indent=1))
    sys.exit(0 if all(not found["broken"] and found["max_s"] < ttl + 1 for found in results) else 1)


async def _measure(sessions: int, attached: int, ttl: int, heirs: int) -> dict[str, float]:
    with tempfile.TemporaryDirectory(prefix="agentring-failover-") as directory:
        etcd = await asyncio.to_thread(EtcdProcess, Path(directory))
        cluster = Cluster(etcd.url, Path(directory), lease_ttl_s=ttl)
        try:
            await asyncio.to_thread(cluster.start, nodes=1)
            async with connect(cluster.router) as channel:
                await _make(channel, sessions)
                for index in range(heirs):
                    await asyncio.to_thread(cluster.start_node, f"n{index + 2}")
                await asyncio.to_thread(until_sees, cluster.router, 1 + heirs)
                return await _kill_one(cluster, channel, [Stream(channel, f"s{index}") for index in range(attached)])
        finally:
            cluster.stop()
            etcd.stop()


async def _make(channel: aio.Channel, sessions: int) -> None:
    names = iter(f"s{index}" for index in range(sessions))

    async def work() -> None:
        for name in names:
            await run_turn(channel, name, turn("hi"))

    await asyncio.gather(*(work() for _ in range(_AT_ONCE)))


async def _kill_one(cluster: Cluster, channel: aio.Channel, streams: list[Stream]) -> dict[str, float]:
    over = asyncio.Event()
    async with asyncio.TaskGroup() as tasks:
        for stream in streams:
            tasks.create_task(stream.use(over))
        await asyncio.gather(*(stream.opened.wait() for stream in streams))
        lease_over = tasks.create_task(_lease_over_s(cluster, "n1"))
        killed_s = _CLOCK.now_s()
        await asyncio.to_thread(cluster.nodes["n1"].process.stop, signal.SIGKILL)
        await asyncio.sleep(cluster.lease_ttl_s + 5)
        over.set()
    moved = [stream for stream in streams if stream.node == "n1"]
    # A turn that ended in the kill's own moment may still have been the dead node's.
    grace_s = killed_s + 0.5
    took_s = sorted(next((s - killed_s for s in each.ended_s if s > grace_s), float("inf")) for each in moved)
    steps = {step: _first_s(cluster, step, {each.name for each in moved}, grace_s) for step in _STEPS}
    return {
        "moved": len(moved),
        "broken": sum(stream.broken for stream in streams),
        "p50_s": took_s[len(took_s) // 2],
        "p99_s": took_s[int(len(took_s) * 0.99)],
        "max_s": took_s[-1],
        "lease_over_s": lease_over.result() - killed_s,
        **{f"{step}_s": max(found.values(), default=float("inf")) - killed_s for step, found in steps.items()},
        "load": os.getloadavg()[0],
    }


async def _lease_over_s(cluster: Cluster, node: str) -> float:
    """When the node's key is deleted."""
    keys = Keys(cluster.name)
    async with EtcdClient([cluster.etcd_url]) as etcd:
        state = await etcd.range(keys.nodes)
        watch = etcd.watch(keys.nodes, Revision(state.revision + 1))
        async with aclosing(watch):
            async for batch in watch:
                if any(keys.node_id_of(key) == node for key in batch.deletes):
                    return _CLOCK.now_s()
    raise EOFError


def _first_s(cluster: Cluster, event: str, names: set[str], since_s: float) -> dict[str, float]:
    """When each session had its first event of a kind since then."""
    found: dict[str, float] = {}
    for line in cluster.audit(event):
        if line["session"] in names and (at_s := line["t_ns"] / 1e9) > since_s:
            found[line["session"]] = min(at_s, found.get(line["session"], at_s))
    return found


if __name__ == "__main__":
    app()
