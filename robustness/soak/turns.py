"""Many sessions speak while their cluster is disturbed: what every client was told, and what the store then has."""

import asyncio
import random
from contextlib import AsyncExitStack, suppress
from pathlib import Path
from typing import Any

from agentring.client import connect
from agentring.errors import SessionNotFound
from harness import client as harness
from harness.cluster import Cluster
from robustness.soak import judge
from robustness.soak.client import ClientRecord, Script, Talk, raw, with_client
from robustness.soak.cluster import disturbed_cluster
from robustness.soak.disturbance import DISTURBANCES, Disturbances

CHANNELS = 8
FAULTS = ("lost", "told_wrongly", "twice", "broken", "complaints")


async def soak(
    script: Script,
    sessions: int,
    disturb: str,
    every_s: float,
    clients: str,
    store: str,
    ttl: int,
    seed: int,
    directory: Path,
) -> dict[str, Any]:
    """What came of it, FAULTS among it. Parameters as scripts/soak's."""
    names = [f"soak-{number}" for number in range(sessions)]
    async with disturbed_cluster(store, ttl, directory) as (cluster, node_flags):
        how = Disturbances(every_s, node_flags, random.Random(seed))
        begun_s = asyncio.get_running_loop().time()
        async with AsyncExitStack() as stack:
            talk = await _talk(stack, cluster, clients, script, random.Random(seed))
            async with asyncio.TaskGroup() as tasks:
                tasks.create_task(DISTURBANCES[disturb](cluster, how))
                records = await asyncio.gather(*(talk(name) for name in names))
                how.over.set()
        took_s = asyncio.get_running_loop().time() - begun_s
        counted = await _counted(cluster, names)
        twice = judge.twice(cluster.audit("turn_committed"))
    return _found(script, records, counted, twice, how, took_s)


def _found(
    script: Script,
    records: list[ClientRecord],
    counted: dict[str, int],
    twice: list[str],
    how: Disturbances,
    took_s: float,
) -> dict[str, Any]:
    waits_s = sorted(wait_s for each in records for wait_s in each.waits_s) or [float("nan")]
    return {
        "sessions": len(records),
        "turns": sum(len(each.events.completed) for each in records),
        "took_s": took_s,
        "disturbed": how.done,
        "restarted": sum(each.events.restarts for each in records),
        "p50_s": waits_s[len(waits_s) // 2],
        "p99_s": waits_s[int(len(waits_s) * 0.99)],
        "max_s": waits_s[-1],
        "lost": judge.lost(script, records, counted),
        "told_wrongly": [f"{each.session_id}: {fault}" for each in records for fault in each.events.faults],
        "twice": twice,
        "broken": [f"{each.session_id}: {each.broken}" for each in records if each.broken],
        "complaints": how.complaints,
    }


async def _talk(stack: AsyncExitStack, cluster: Cluster, clients: str, script: Script, drawn: random.Random) -> Talk:
    routers = [member.address for member in cluster.routers.values()]
    if clients == "sdk":
        return with_client(await stack.enter_async_context(connect(",".join(routers))), script, drawn)
    addresses = [routers[number % len(routers)] for number in range(CHANNELS)]
    return raw([await stack.enter_async_context(harness.connect(address)) for address in addresses], script, drawn)


async def _counted(cluster: Cluster, names: list[str]) -> dict[str, int]:
    """How many completed turns each session has."""
    counted = dict.fromkeys(names, 0)
    async with connect(cluster.router) as ring:
        for name in names:
            with suppress(SessionNotFound):
                counted[name] = (await ring.session(name).get()).turns_completed
    return counted
