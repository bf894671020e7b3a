"""Those who ask for a task: one caller after the other at random moments, each until it is told the task's end."""

import asyncio
import random
from dataclasses import dataclass, field

from grpc import aio

from robustness.chaos.traffic.traffic import RETRY_S, TENANT, Traffic
from robustness.chaos.validate.evidence import Call

TRY_WITHIN_S = 60.0
ENDS_WITHIN_S = 120.0
"""A caller who tries for longer was told no end."""


@dataclass(frozen=True, slots=True)
class Plan:
    """What the callers do."""

    tasks: int
    duplicates: int
    """Callers of each task beside the first."""
    spread_s: float
    """All callers of a task come within so long."""
    steps: int
    """Of the longest task, each a call of a tool; 0.1 s apart."""
    left: float
    """The part of the tasks whose callers all leave once they are told that the task is accepted."""


@dataclass(slots=True)
class Outcomes:
    """How their calls ended."""

    waits_s: list[float] = field(default_factory=list)
    """From a caller's coming to the end, its tries together."""
    untold: list[str] = field(default_factory=list)
    """Callers who got no end."""
    left: int = 0
    """Tasks that nobody came back for."""


class Callers:
    """All callers of all tasks."""

    def __init__(self, traffic: Traffic, routers: list[str], plan: Plan, drawn: random.Random) -> None:
        """routers: names of the traffic's."""
        self._traffic = traffic
        self._routers = routers
        self._plan = plan
        self._drawn = drawn
        self.outcomes = Outcomes()

    async def ask_for(self, number: int) -> None:
        """Everybody who asks for one task; returns when all are done."""
        key = f"soak-{number:06}"
        data = {"steps": self._drawn.randint(1, self._plan.steps), "pace_s": 0.1}
        leave = self._drawn.random() < self._plan.left
        self.outcomes.left += leave
        ask = self._leave if leave else self._until_ended
        moments = [self._drawn.uniform(0, self._plan.spread_s) for _ in range(1 + self._plan.duplicates)]
        await asyncio.gather(*(ask(key, data, moment_s) for moment_s in moments))

    async def _until_ended(self, key: str, data: dict[str, float], moment_s: float) -> None:
        await asyncio.sleep(moment_s)
        loop = asyncio.get_running_loop()
        came_s = loop.time()
        while loop.time() < came_s + ENDS_WITHIN_S:
            call = await self._traffic.task("caller", key, data, self._router(), timeout_s=TRY_WITHIN_S)
            if _has_ended(call):
                self.outcomes.waits_s.append(loop.time() - came_s)
                return
            await asyncio.sleep(RETRY_S)
        self.outcomes.untold.append(f"task/{TENANT}/{key}")

    async def _leave(self, key: str, data: dict[str, float], moment_s: float) -> None:
        await asyncio.sleep(moment_s)
        while True:
            try:
                await self._traffic.leave_task(key, data, self._router())
            except aio.AioRpcError:
                await asyncio.sleep(RETRY_S)  # it was not accepted
            else:
                return

    def _router(self) -> str:
        return self._drawn.choice(self._routers)


def _has_ended(call: Call) -> bool:
    return call.ok or call.reason.startswith("turn_")
