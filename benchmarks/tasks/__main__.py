"""`scripts/bench_tasks`: many callers of one key, many keys in flight, and what deduplication costs a task.

How to run it:

    scripts/bench_tasks                                   # about a minute
    scripts/bench_tasks --callers 10000 --keys 100000     # the full size; some minutes

What it does: starts etcd, two nodes and two routers on a store of SQLite. (1) So many callers ask for one key,
--arrivals a second, through both routers, and all stay to its end: a word in five seconds. (2) Short tasks with keys of
their own, and as many turns of sessions: their first, another one, and one with a step under a key; --workers at a
time. (3) So many keys are in flight on the nodes at the same time, nearly all of them waiting for a place to run, and
are then listed.

What the numbers mean: a join is the time from the call to its first answer, which says what the call was to the task,
as callers in a process of their own find it who come by each router all the while; the crowd's joins are those of the
callers who stay, whose process is sent every word as often as it has callers and is late itself. `same`: whether every
caller was told the same events; memory is the nodes' resident memory before and with the keys in flight, by key. What
deduplication costs is what a task takes beyond a turn of a session that is active, which has no key to claim; a new
session's turn claims, too, and a turn with a step (`ctx.once`) has a key for that.

Exit status: 0 if there was one run of the key, everyone was told the same, and the joins' p99 was below --join-s.
"""

import asyncio
import json
import sys
import tempfile
import time
from collections import Counter
from collections.abc import Awaitable, Callable
from pathlib import Path
from typing import Annotated, Any

import typer
from grpc import aio
from rich.console import Console

from agentring.v1 import task_pb2, task_pb2_grpc
from harness.client import connect, run_turn, turn
from harness.cluster import Cluster
from harness.etcd import EtcdProcess

_CHANNELS = 16
"""A connection carries so many streams at once, and no more."""
_TIMEOUT_S = 600.0
_WORDS_PER_S = 0.2
"""Every caller is sent each: faster, and the sending is what is measured."""

_AGENT = "counting"
_NOTHING: dict[str, Any] = {"steps": 0, "pace_s": 0}
"""What that agent is given to do."""
_KINDS = {
    "task": "a task with its key",
    "first": "a new session's turn",
    "turn": "another turn of the session",
    "step": "one with a step under a key",
}

app = typer.Typer(add_completion=False, pretty_exceptions_enable=False)


@app.command(help=__doc__)
def bench(
    callers: Annotated[int, typer.Option(min=1, help="Of the one key.")] = 2_000,
    arrivals: Annotated[float, typer.Option(min=1, help="Of them a second; all stay to the end.")] = 200.0,
    keys: Annotated[int, typer.Option(min=1, help="In flight at the same time.")] = 5_000,
    tasks: Annotated[int, typer.Option(min=1, help="Short tasks, and as many turns.")] = 2_000,
    workers: Annotated[int, typer.Option(min=1, help="So many of them at a time.")] = 32,
    join_s: Annotated[float, typer.Option(help="The most that the joins' p99 may be.")] = 1.0,
    as_json: Annotated[bool, typer.Option("--json", help="Print JSON.")] = False,
) -> None:
    """Runs it."""
    found = asyncio.run(_measure(callers, arrivals, keys, tasks, workers))
    if as_json:
        print(json.dumps(found, indent=1))
    else:
        Console(highlight=False).print(_page(found))
    hot = found["hot"]
    sys.exit(0 if hot["runs"] == 1 and hot["same"] and hot["join_p99_s"] < join_s else 1)


def _page(found: dict[str, Any]) -> str:
    hot, many, cost = found["hot"], found["many"], found["cost"]
    return (
        f"one key, {hot['callers']:,} callers: {hot['runs']} run, all told the same: {hot['same']}; "
        f"{hot['joins']:,} joins p50 {hot['join_p50_s']:.3f} s, p99 {hot['join_p99_s']:.3f} s, "
        f"max {hot['join_max_s']:.3f} s (the crowd's own p50 {hot['crowd_p50_s']:.3f} s, "
        f"p99 {hot['crowd_p99_s']:.3f} s); "
        f"{hot['kib_per_caller']:.1f} KiB of the nodes' memory a caller\n"
        f"{many['keys']:,} keys in flight: accepted at {many['accepted_per_s']:,.0f}/s, "
        f"{many['kib_per_key']:.1f} KiB a key, {many['listed']:,} listed"
        + "".join(
            f"\n{name}: p50 {cost[f'{kind}_p50_ms']:.1f} ms, p99 {cost[f'{kind}_p99_ms']:.1f} ms, "
            f"{cost[f'{kind}_per_s']:,.0f}/s; {cost[f'{kind}_p50_ms'] / cost['turn_p50_ms']:.2f} times a turn's p50"
            for kind, name in _KINDS.items()
        )
    )


async def _measure(callers: int, arrivals: float, keys: int, tasks: int, workers: int) -> dict[str, Any]:
    return {
        "hot": await _on_a_cluster(lambda cluster: _one_key(cluster, callers, arrivals)),
        "cost": await _on_a_cluster(lambda cluster: _cost(cluster, tasks, workers)),
        "many": await _on_a_cluster(lambda cluster: _many_keys(cluster, keys)),
    }


async def _on_a_cluster(measure: Callable[[Cluster], Awaitable[dict[str, Any]]]) -> dict[str, Any]:
    """Each on its own: memory that one has used is not given back."""
    with tempfile.TemporaryDirectory(prefix="agentring-tasking-") as directory:
        etcd = await asyncio.to_thread(EtcdProcess, Path(directory))
        cluster = Cluster(etcd.url, Path(directory), lease_ttl_s=10)
        try:
            flags = (
                "--agent=holding=harness.agents:holding",
                f"--agent={_AGENT}=robustness.chaos.traffic.agents:counting",
                "--max-tasks=200000",
                "--max-tenant-tasks=200000",
                "--drain-timeout-s=0",
            )
            await asyncio.to_thread(lambda: cluster.start(nodes=2, routers=2, flags=flags))
            return await measure(cluster)
        finally:
            cluster.stop()
            etcd.stop()


class _Channels:
    """Connections to all routers. Resource handling: `async with`."""

    def __init__(self, cluster: Cluster) -> None:
        addresses = [router.address for router in cluster.routers.values()]
        self._open = [connect(addresses[number % len(addresses)]) for number in range(_CHANNELS)]
        self._channels: list[aio.Channel] = []

    async def __aenter__(self) -> "_Channels":
        self._channels = [await each.__aenter__() for each in self._open]
        return self

    async def __aexit__(self, *error: Any) -> None:
        for each in self._open:
            await each.__aexit__(*error)

    def stub(self, number: int) -> Any:
        return task_pb2_grpc.TaskServiceStub(self._channels[number % len(self._channels)])

    def channel(self, number: int) -> aio.Channel:
        return self._channels[number % len(self._channels)]


async def _one_key(cluster: Cluster, callers: int, arrivals: float) -> dict[str, Any]:
    request = task_pb2.RunTaskRequest(task_key="hot", agent="echo")
    request.input.data.update({"tokens": int((1.5 * callers / arrivals + 5) * _WORDS_PER_S) + 2, "rate": _WORDS_PER_S})
    crowd_s: list[float] = []
    endings: Counter[bytes] = Counter()
    all_joined = asyncio.Event()

    async def call(channels: _Channels, number: int) -> None:
        began_s, joined = time.perf_counter(), False
        text, last = "", b""
        async for response in channels.stub(number).RunTask(request, timeout=_TIMEOUT_S):
            if not joined:
                crowd_s.append(time.perf_counter() - began_s)
                joined = True
                if len(crowd_s) == callers:
                    all_joined.set()
            for event in response.events:
                text += event.text_delta.text
                last = event.SerializeToString()
        endings[text.encode() + last] += 1

    before = _resident_kib(cluster)
    async with _Channels(cluster) as channels:
        joiners = [await _joiner(router.address, request) for router in cluster.routers.values()]
        began_s, calls = time.perf_counter(), []
        for number in range(callers):
            await asyncio.sleep(began_s + number / arrivals - time.perf_counter())
            calls.append(asyncio.ensure_future(call(channels, number)))
        await asyncio.wait_for(all_joined.wait(), _TIMEOUT_S)
        said = await asyncio.gather(*(joiner.communicate(b"\n") for joiner in joiners))
        joins_s = [took_s for out, _ in said for took_s in json.loads(out)]
        with_all = _resident_kib(cluster)
        await asyncio.gather(*calls)
    return {
        "callers": callers,
        "runs": sum(line["task"] == "hot" for line in cluster.audit("task_started")),
        "same": len(endings) == 1,
        "kib_per_caller": (with_all - before) / callers,
        "joins": len(joins_s),
        **_times("join", joins_s, "s", 1.0),
        **_times("crowd", crowd_s, "s", 1.0),
    }


async def _joiner(router: str, request: task_pb2.RunTaskRequest) -> asyncio.subprocess.Process:
    command = (sys.executable, "-P", "-m", "benchmarks.tasks.joiner", router, request.SerializeToString().hex())
    pipe = asyncio.subprocess.PIPE
    return await asyncio.create_subprocess_exec(*command, stdin=pipe, stdout=pipe)


async def _many_keys(cluster: Cluster, keys: int) -> dict[str, Any]:
    before = _resident_kib(cluster)
    numbers = iter(range(keys))

    async def begin(channels: _Channels) -> None:
        for number in numbers:
            request = task_pb2.RunTaskRequest(task_key=f"many-{number:06}", agent="holding")
            call = channels.stub(number).RunTask(request, timeout=_TIMEOUT_S)
            await call.read()
            call.cancel()  # who leaves cancels nothing

    began_s = time.perf_counter()
    async with _Channels(cluster) as channels:
        await asyncio.gather(*(begin(channels) for _ in range(256)))
        accepted_s = time.perf_counter() - began_s
        with_keys = _resident_kib(cluster)
        listed, token = 0, ""
        while listed == 0 or token:
            page = await channels.stub(0).ListTasks(
                task_pb2.ListTasksRequest(task_key_prefix="many-", page_size=1_000, page_token=token)
            )
            listed, token = listed + len(page.tasks), page.next_page_token
    return {
        "keys": keys,
        "accepted_per_s": keys / accepted_s,
        "kib_per_key": (with_keys - before) / keys,
        "listed": listed,
    }


async def _cost(cluster: Cluster, count: int, workers: int) -> dict[str, Any]:
    async def task(channels: _Channels, number: int) -> None:
        request = task_pb2.RunTaskRequest(task_key=f"cost-{number}", agent=_AGENT)
        request.input.data.update(_NOTHING)
        async for _ in channels.stub(number).RunTask(request, timeout=_TIMEOUT_S):
            pass

    async def a_turn(channels: _Channels, number: int, **data: Any) -> None:
        await run_turn(channels.channel(number), f"cost-{number}", turn(**_NOTHING, **data), agent=_AGENT)

    async def a_step(channels: _Channels, number: int) -> None:
        await a_turn(channels, number, once=f"step-{number}", once_s=0)

    found: dict[str, Any] = {}
    async with _Channels(cluster) as channels:
        for kind, work in (("task", task), ("first", a_turn), ("turn", a_turn), ("step", a_step)):
            numbers = iter(range(count))
            took_s: list[float] = []

            async def one_line(work: Any = work, numbers: Any = numbers, took_s: list[float] = took_s) -> None:
                for number in numbers:
                    began_s = time.perf_counter()
                    await work(channels, number)
                    took_s.append(time.perf_counter() - began_s)

            began_s = time.perf_counter()
            await asyncio.gather(*(one_line() for _ in range(workers)))
            found |= _times(kind, took_s, "ms", 1e3)
            found[f"{kind}_per_s"] = count / (time.perf_counter() - began_s)
    return found


def _times(name: str, took_s: list[float], unit: str, scale: float) -> dict[str, float]:
    ordered = sorted(took_s)
    return {
        f"{name}_p50_{unit}": ordered[len(ordered) // 2] * scale,
        f"{name}_p99_{unit}": ordered[int(len(ordered) * 0.99)] * scale,
        f"{name}_max_{unit}": ordered[-1] * scale,
    }


def _resident_kib(cluster: Cluster) -> float:
    """The nodes' memory together."""
    found = 0.0
    for node in cluster.nodes.values():
        lines = Path(f"/proc/{node.process.pid}/status").read_text().splitlines()
        found += next(float(line.split()[1]) for line in lines if line.startswith("VmRSS:"))
    return found


if __name__ == "__main__":
    app()
