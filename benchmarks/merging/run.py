"""The whole bench: a node that merges and one that does not in turn, so that what changes on the machine meets both.

Guarantees that one node runs at a time, alone on its core, in a process that is fresh in each run; that the client and
etcd are on the other core; that everything is on loopback and free ports, and has ended when `run` is left, however it
is left.
"""

import asyncio
import json
import os
import sys
import tempfile
from asyncio.subprocess import PIPE
from collections.abc import Callable
from contextlib import AsyncExitStack
from dataclasses import asdict, dataclass
from pathlib import Path
from signal import SIGKILL

from agentring.cli.local.child import Child, ChildSpec, tie_to_parent
from agentring.cli.local.data_dir import DataDir
from agentring.cli.local.embedded_etcd import start_etcd
from agentring.cli.local.ports import LOOPBACK
from agentring.ids import NodeId
from benchmarks.merging.errors import BenchError
from benchmarks.merging.loads import Figures, Load, Order
from benchmarks.router.contention import Contention

_READY_DEADLINE_S = 30.0
_PATIENCE_S = 10.0
_GRACE_S = 90.0


@dataclass(frozen=True, slots=True)
class Variant:
    """One way to run the node."""

    name: str
    merge_bytes: int


@dataclass(frozen=True, slots=True)
class Plan:
    """What to run."""

    variants: tuple[Variant, ...]
    loads: tuple[Load, ...]
    runs: int
    seconds: float
    warm_s: float
    node_core: int
    load_core: int


@dataclass(frozen=True, slots=True)
class Sample:
    """One load on one node."""

    variant: str
    load: str
    cpu_us: float
    """The node's, for one event."""
    events_per_s: float
    events_per_response: float
    node_busy: float
    """Of its one core."""
    client_busy: float
    """Of the other."""
    p50_ms: float | None
    """Of the events' latency. None: they have no time at which they are due."""
    p99_ms: float | None
    contention: float
    """What others than the node used of its core."""


async def run(plan: Plan, progress: Callable[[Sample, int], None]) -> list[Sample]:
    """Every sample, in the order of the runs. `progress` is called with each and with its run's number.

    Raises BenchError, ChildFailed, EtcdUnusable. Cancellation: everything is stopped.
    """
    try:
        os.sched_setaffinity(0, {plan.load_core})  # children inherit it
    except OSError as error:
        raise BenchError(f"core {plan.load_core} cannot be used: {error.strerror}") from error
    samples = []
    with tempfile.TemporaryDirectory(prefix="bench-merging-") as directory:
        data_dir = DataDir(Path(directory))
        async with AsyncExitStack() as stack:
            stack.enter_context(data_dir.locked())
            etcd = await start_etcd(data_dir, lambda spec: _spawn(stack, spec))
            for number in range(1, plan.runs + 1):
                for variant in plan.variants:
                    async with AsyncExitStack() as of_node:
                        child, address = await _start_node(of_node, plan, variant, data_dir, etcd.url, number)
                        for load in plan.loads:
                            sample = await _measure(plan, variant, load, child, address, number)
                            samples.append(sample)
                            progress(sample, number)
    return samples


async def _start_node(
    stack: AsyncExitStack, plan: Plan, variant: Variant, data_dir: DataDir, etcd_url: str, number: int
) -> tuple[Child, str]:
    name = NodeId(f"{variant.name}-{number}")
    command = (
        *("taskset", "-c", str(plan.node_core)),
        *(sys.executable, "-P", "-m", "agent_node"),
        *("--node-id", name),
        *("--listen", f"{LOOPBACK}:0"),
        *("--etcd", etcd_url),
        *("--cluster", "bench"),
        *("--data-dir", str(data_dir.node(name))),
        *("--store", "memory:"),
        *("--drain-timeout-s", "0"),
        *("--merge-bytes", str(variant.merge_bytes)),
    )
    child = await _spawn(stack, ChildSpec(name, command, data_dir.log(name), _PATIENCE_S))
    address = (await child.ready_line(_READY_DEADLINE_S)).get("address")
    if not isinstance(address, str):
        raise child.failure("told no address")
    return child, address


async def _measure(plan: Plan, variant: Variant, load: Load, node: Child, address: str, number: int) -> Sample:
    order = Order(
        address=address,
        node_pid=node.pid,
        run=f"{load.name}.{number}",
        sessions=load.sessions,
        rate=load.rate,
        tokens=load.tokens,
        warm_s=plan.warm_s,
        seconds=plan.seconds,
    )
    contention = Contention(plan.node_core, node.pid)
    figures = await _ask_client(order, f"{load.name}, {variant.name}")
    return Sample(
        variant=variant.name,
        load=load.name,
        cpu_us=figures.node_cpu_s * 1e6 / figures.events,
        events_per_s=figures.events / figures.elapsed_s,
        events_per_response=figures.events / figures.responses,
        node_busy=figures.node_cpu_s / figures.elapsed_s,
        client_busy=figures.client_cpu_s / figures.elapsed_s,
        p50_ms=figures.p50_ms,
        p99_ms=figures.p99_ms,
        contention=contention.share(),
    )


async def _ask_client(order: Order, what: str) -> Figures:
    command = (sys.executable, "-P", "-m", "benchmarks.merging.client", json.dumps(asdict(order)))
    process = await asyncio.create_subprocess_exec(
        *command, stdout=PIPE, stderr=PIPE, preexec_fn=tie_to_parent(SIGKILL)
    )
    try:
        async with asyncio.timeout(order.warm_s + order.seconds + _GRACE_S):
            out, errors = await process.communicate()
    except TimeoutError:
        raise BenchError(f"{what}: the client did not end") from None
    finally:
        if process.returncode is None:
            process.kill()
            await process.wait()
    if process.returncode:
        lines = errors.decode("utf-8", "replace").strip().splitlines()
        raise BenchError(f"{what}: {lines[-1] if lines else 'the client ended without a word'}")
    return Figures(**json.loads(out))


async def _spawn(stack: AsyncExitStack, spec: ChildSpec) -> Child:
    child = await Child.start(spec)
    stack.push_async_callback(child.stop, asyncio.Event())
    return child
