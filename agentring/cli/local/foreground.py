"""A local cluster for as long as a command runs.

Guarantees: when it returns or raises, whatever ended it, every process of the cluster has ended; cluster.json is there
exactly while the cluster is ready. The first stop signal ends it in order, a second one at once. Called by `up` and
`dev`.
"""

import asyncio
import signal
from collections.abc import Awaitable, Callable, Iterator
from contextlib import contextmanager

from agentring.cli.local.cluster_file import ClusterFile
from agentring.cli.local.local_cluster import ClusterPlan, LocalCluster

_STOP_SIGNALS = (signal.SIGINT, signal.SIGTERM, signal.SIGHUP)
_UNDER_NOHUP = (signal.SIGHUP, signal.SIG_IGN)


async def run_cluster(plan: ClusterPlan, cluster: LocalCluster, body: Callable[[ClusterFile], Awaitable[None]]) -> None:
    """Runs the cluster until the body ends or a stop signal comes. body: called once it is ready. Raises EtcdUnusable,
    ChildFailed, and what the body does."""
    cluster_file = plan.data_dir.cluster_file
    cluster_file.unlink(missing_ok=True)
    stop, hasten = asyncio.Event(), asyncio.Event()
    with _signals_set(stop, hasten):
        try:
            async with asyncio.TaskGroup() as tasks:
                work = tasks.create_task(_work(plan, cluster, body))
                stopping = tasks.create_task(stop.wait())
                await asyncio.wait([work, stopping], return_when=asyncio.FIRST_COMPLETED)
                work.cancel()
                stopping.cancel()
        except BaseExceptionGroup as group:
            # There is one task that may fail, so one error.
            raise group.exceptions[0] from None
        finally:
            stop.set()
            cluster_file.unlink(missing_ok=True)
            await cluster.stop(hasten)


async def _work(plan: ClusterPlan, cluster: LocalCluster, body: Callable[[ClusterFile], Awaitable[None]]) -> None:
    started = await cluster.start()
    started.write(plan.data_dir.cluster_file)
    await body(started)


@contextmanager
def _signals_set(stop: asyncio.Event, hasten: asyncio.Event) -> Iterator[None]:
    """The first signal sets `stop`, every later one `hasten`."""
    loop = asyncio.get_running_loop()
    # Under nohup a terminal's end is not ours.
    handled = [number for number in _STOP_SIGNALS if (number, signal.getsignal(number)) != _UNDER_NOHUP]
    for number in handled:
        loop.add_signal_handler(number, lambda: (hasten if stop.is_set() else stop).set())
    try:
        yield
    finally:
        for number in handled:
            loop.remove_signal_handler(number)
