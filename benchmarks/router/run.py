"""The whole bench: proxy after proxy, again and again, so that what changes on the machine meets all of them.

Guarantees that one proxy runs at a time, in a process that is fresh in each run, and once more for its memory; that
everything but the proxy is on the other core; and that nothing it started is left, however it ends. A load that failed
leaves a Sample that says so, and the bench goes on.
"""

import asyncio
import os
import tempfile
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from pathlib import Path

from benchmarks.router.build import Tools
from benchmarks.router.errors import BenchError, LoadFailed
from benchmarks.router.loads import Load, Unit
from benchmarks.router.measure import Sample, measure
from benchmarks.router.proxies import DIRECT, Proxy, Running, Site
from benchmarks.router.stand import open_stand

_PAUSE_S = 0.3
"""Between two loads: the first one's streams are cleared away."""


@dataclass(frozen=True, slots=True)
class Plan:
    """What to run."""

    proxies: tuple[Proxy, ...]
    loads: tuple[Load, ...]
    runs: int
    seconds: float
    warm_s: float
    proxy_core: int
    load_core: int


async def run(plan: Plan, tools: Tools, progress: Callable[[Sample, int], None]) -> list[Sample]:
    """Every sample, in the order of the runs. `progress` is called with each and with its run's number.

    Raises BenchError, ChildFailed, EtcdUnusable, EtcdError.
    """
    try:
        os.sched_setaffinity(0, {plan.load_core})  # children inherit it
    except OSError as error:
        raise BenchError(f"core {plan.load_core} cannot be used: {error.strerror}") from error
    samples = []
    with_etcd = any(proxy.is_router for proxy in plan.proxies)
    with tempfile.TemporaryDirectory(prefix="routerbench-") as directory:
        async with open_stand(tools, Path(directory), core=plan.proxy_core, with_etcd=with_etcd) as site:
            for number in range(1, plan.runs + 1):
                for proxy in plan.proxies:
                    for sample in await _run_proxy(plan, tools, site, proxy):
                        samples.append(sample)
                        progress(sample, number)
    return samples


async def _run_proxy(plan: Plan, tools: Tools, site: Site, proxy: Proxy) -> list[Sample]:
    timed = [load for load in plan.loads if load.unit is not Unit.STREAM]
    for_memory = [load for load in plan.loads if load.unit is Unit.STREAM and proxy.name != DIRECT]
    samples = []
    for loads in (timed, for_memory):
        if loads:
            samples += await _run_loads(plan, tools, site, proxy, loads)
    return samples


async def _run_loads(plan: Plan, tools: Tools, site: Site, proxy: Proxy, loads: Sequence[Load]) -> list[Sample]:
    samples: list[Sample] = []
    while len(samples) < len(loads):
        running = await proxy.start(site)
        try:
            for load in loads[len(samples) :]:
                sample = await _measured(plan, tools, proxy, running, load)
                samples.append(sample)
                await asyncio.sleep(_PAUSE_S)
                if sample.failure:
                    break  # the next load gets a process that nothing has happened to
        finally:
            if running.child is not None:
                await asyncio.shield(running.child.stop(asyncio.Event()))
    return samples


async def _measured(plan: Plan, tools: Tools, proxy: Proxy, running: Running, load: Load) -> Sample:
    try:
        return await measure(
            tools.client,
            load,
            proxy.name,
            running,
            core=plan.proxy_core,
            seconds=plan.seconds,
            warm_s=plan.warm_s,
        )
    except LoadFailed as error:
        await asyncio.sleep(_PAUSE_S)
        why = str(error)
        if running.child is not None and running.child.has_ended:
            why += f"; {running.child.failure()}"
        return Sample(proxy.name, load.name, failure=why)
