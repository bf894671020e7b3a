"""Runs loops side by side while nodes are killed, until there were enough kills, and judges them."""

import asyncio
import os
import random
import signal
from collections.abc import Callable, Mapping
from dataclasses import dataclass, field
from itertools import count
from pathlib import Path
from typing import Any

from agentring.client import AttemptRestarted, ClientError, RunFailed, TextDelta, connect
from agentring.errors import AgentringError
from harness.cluster import Cluster
from harness.fake_endpoint import FakeEndpoint
from robustness.loop import judge
from robustness.loop.agent import read_effects
from robustness.loop.judge import Loop
from robustness.loop.model import LoopModel

FLAGS = ("--agent=loop=robustness.loop.agent:loop", "--turn-timeout-s=3600")
ROUTER_FLAGS = ("--reattach-timeout-s=120",)


@dataclass(frozen=True, slots=True)
class Plan:
    """What is run."""

    calls: int
    kills: int
    beside: int
    """Loops at a time."""
    slowest_s: float
    """Of the model."""
    longest_s: float
    """From one kill to the next, at most."""
    seed: int = 1


@dataclass
class _Run:
    cluster: Cluster
    flags: tuple[str, ...]
    plan: Plan
    stored: Callable[[str], Mapping[str, int]]
    model: LoopModel
    drawn: random.Random
    names: Any = field(default_factory=lambda: count(1))
    loops: list[Loop] = field(default_factory=list)
    running: dict[str, Loop] = field(default_factory=dict)
    kills: int = 0

    async def keep_looping(self) -> None:
        """One loop after the other, until there were enough kills."""
        while self.kills < self.plan.kills or not self.loops:
            await self.loop(f"loop-{next(self.names)}")

    async def loop(self, name: str) -> None:
        """One, to its end."""
        found = self.running[name] = Loop(name, self.plan.calls, str(self.model.effects))
        self.loops.append(found)
        try:
            async with connect(self.cluster.router) as ring:
                turn = ring.session(name, agent="loop").send(name)
                async for event in turn:
                    if isinstance(event, TextDelta):
                        found.received_bytes += len(event.text)
                    elif isinstance(event, AttemptRestarted):
                        found.restarts += 1
                found.text = (await turn.outcome()).text
        except (AgentringError, ClientError) as error:
            found.failure = f"{type(error).__name__}: {error} {self._logged(error)}"
        finally:
            del self.running[name]

    def _logged(self, error: Exception) -> str:
        """What a node has logged of it."""
        if not isinstance(error, RunFailed) or not error.error_id:
            return ""
        logs = [file.read_text(errors="replace") for file in self.cluster.directory.glob("n*.log")]
        return " ".join(line for log in logs for line in log.splitlines() if error.error_id in line)

    async def kill(self) -> None:
        """Kills a node that is drawn, at an instant that is drawn, again and again."""
        while self.kills < self.plan.kills:
            self.model.changed.clear()
            await self.model.changed.wait()
            await asyncio.sleep(self.drawn.random() * self.plan.longest_s)
            name = self.drawn.choice(sorted(self.cluster.nodes))
            self.kills += 1
            for each in self.running.values():
                each.kills += 1
            await asyncio.to_thread(self.cluster.nodes[name].process.stop, signal.SIGKILL)
            await asyncio.to_thread(self.cluster.start_node, name, *self.flags)

    async def before_last(self, name: str) -> None:
        """Looks what is stored while nothing of the loop has been removed."""
        if (found := self.running.get(name)) is not None:
            found.stored = await asyncio.to_thread(self.stored, name)


async def run(
    start: Callable[[], Cluster],
    flags: tuple[str, ...],
    plan: Plan,
    stored: Callable[[str], Mapping[str, int]],
    directory: Path,
) -> dict[str, Any]:
    """Everything that was found. start: starts the cluster, whose nodes find the model by their environment; flags: its
    nodes'; stored: the bytes of a session by table."""
    model = LoopModel(plan.calls, directory / "effects", random.Random(plan.seed), plan.slowest_s, _nothing)
    async with FakeEndpoint(otherwise=model.answer) as endpoint:
        os.environ["OPENAI_BASE_URL"] = endpoint.base_url
        cluster = await asyncio.to_thread(start)
        running = _Run(cluster, flags, plan, stored, model, random.Random(plan.seed))
        model.before_last = running.before_last
        async with asyncio.TaskGroup() as group:
            killing = group.create_task(running.kill())
            for _ in range(plan.beside):
                group.create_task(running.keep_looping())
        await killing
    effects = read_effects(model.effects)
    found, again = [], []
    for loop in running.loops:
        found += judge.faults(loop, model.asked[loop.name], [each for each in effects if each["loop"] == loop.name])
        again += [line] if (line := judge.heard_again(loop)) else []
    return {
        "loops": len(running.loops),
        "kills": running.kills,
        "kills_of_loops": sum(loop.kills for loop in running.loops),
        "restarts": sum(loop.restarts for loop in running.loops),
        "calls": plan.calls * len(running.loops),
        "paid": sum(len(model.asked[loop.name]) for loop in running.loops),
        "tool_calls": (plan.calls - 1) * len(running.loops),
        "tools_run": len(effects),
        "context_bytes": model.context_bytes,
        "stored_times": max((loop.stored_times for loop in running.loops), default=0.0),
        "stored": dict(max(running.loops, key=lambda loop: loop.stored_times).stored),
        "unique_bytes": max(loop.unique_bytes for loop in running.loops),
        "text_bytes": sum(len(loop.said) for loop in running.loops),
        "received_bytes": sum(loop.received_bytes for loop in running.loops),
        "faults": found,
        "heard_again": again,
    }


async def _nothing(_: str) -> None:
    """Until there is somebody to look."""
