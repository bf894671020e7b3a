"""What is done to the cluster while clients speak, again and again, until they are done.

A node or router that was ended comes again, so that all are there before the next one goes.
"""

import asyncio
import random
import signal
from collections.abc import Callable, Coroutine, Iterator
from contextlib import suppress
from dataclasses import dataclass, field
from itertools import count, cycle

from harness.cluster import Cluster, Member
from harness.processes import Process
from robustness.chaos.validate.evidence import Mark, now_ns

Disturb = Callable[[Cluster, "Disturbances"], Coroutine[None, None, None]]


@dataclass(slots=True)
class Disturbances:
    """How, and how often by now."""

    every_s: float
    """From one to the next."""
    node_flags: tuple[str, ...]
    drawn: random.Random
    """Of what is drawn."""
    over: asyncio.Event = field(default_factory=asyncio.Event)
    """Set when the clients are done."""
    done: int = 0
    complaints: list[str] = field(default_factory=list)
    marks: list[Mark] = field(default_factory=list)
    """Which nodes were killed, and when."""

    async def until(self, due_s: float) -> None:
        """Returns at that time of the event loop's, or once it is over."""
        with suppress(TimeoutError):
            async with asyncio.timeout_at(due_s):
                await self.over.wait()


async def kill_any(cluster: Cluster, how: Disturbances) -> None:
    """kill -9 of a node that is drawn, again and again."""
    names = sorted(cluster.nodes)
    await _kill(cluster, how, (how.drawn.choice(names) for _ in count()))


async def kill_in_turn(cluster: Cluster, how: Disturbances) -> None:
    """kill -9 of one node after the other: many sessions are taken over by the very node that is the next."""
    await _kill(cluster, how, cycle(sorted(cluster.nodes)))


async def _kill(cluster: Cluster, how: Disturbances, names: Iterator[str]) -> None:
    """A node comes again when its lease is over: sooner, it would end that itself and hand its sessions on at once."""
    loop = asyncio.get_running_loop()
    for name in names:
        if how.over.is_set():
            return
        due_s = loop.time() + how.every_s
        how.marks.append(Mark(now_ns(), "killed", name))
        await asyncio.to_thread(cluster.nodes[name].process.stop, signal.SIGKILL)
        how.done += 1
        await asyncio.sleep(cluster.lease_ttl_s + 1)
        await asyncio.to_thread(cluster.start_node, name, *how.node_flags)
        await how.until(due_s)


async def roll(cluster: Cluster, how: Disturbances) -> None:
    """SIGTERM to one node and router after the other, each started again when it has ended."""
    loop = asyncio.get_running_loop()
    for name in cycle([*sorted(cluster.nodes), *sorted(cluster.routers)]):
        if how.over.is_set():
            return
        due_s = loop.time() + how.every_s
        await _restart(cluster, name, how)
        how.done += 1
        await how.until(due_s)


async def _restart(cluster: Cluster, name: str, how: Disturbances) -> None:
    is_node = name in cluster.nodes
    member: Member = cluster.nodes[name] if is_node else cluster.routers[name]
    status = await asyncio.to_thread(_end, member.process)
    if status:
        how.complaints.append(f"{name} ended with status {status}")
    if is_node:
        await asyncio.to_thread(cluster.start_node, name, *how.node_flags)
    else:
        await asyncio.to_thread(cluster.start_router, name, f"--listen={member.address}")


def _end(process: Process) -> int:
    return process.stop(signal.SIGTERM)


DISTURBANCES: dict[str, Disturb] = {"kill": kill_any, "kill-in-turn": kill_in_turn, "roll": roll}
