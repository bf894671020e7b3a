"""The clock's fault: one node's is off by more than every retention, from its start to its end."""

import asyncio
import signal
from glob import glob

from robustness.chaos.faults.fault import Fault, Scene
from robustness.chaos.validate.evidence import Call

CALLERS = 8
OFFSETS = ("+61m", "-61m", "+400d", "-400d")
ENDURES = "--max-clock-skew-s=1000000000"
"""Else it would not join."""


def find_faketime() -> str | None:
    """The library that puts a process's clocks wrong; None: it is not installed."""
    found = [*glob("/usr/lib/*/faketime/libfaketime.so.1"), *glob("/usr/local/lib/faketime/libfaketime.so.1")]
    return found[0] if found else None


async def skewed(scene: Scene) -> None:
    """A node is started with its clocks wrong, the boot clock too or not, and started again with them right: a step
    that must not run twice, and a task, that ended before and meanwhile are told as they ended, by every node."""
    library = find_faketime()
    if library is None:
        scene.complaints.append("libfaketime is not installed")
        return
    victim, by = scene.victim(), scene.drawn.choice(OFFSETS)
    env = {"LD_PRELOAD": library, "FAKETIME": by}
    if scene.drawn.random() < 0.5:
        env["FAKETIME_DONT_FAKE_MONOTONIC"] = "1"
    before = await _asked(scene, key := f"once-{scene.drawn.getrandbits(32):x}", "before")
    await scene.world.end_node(victim.name, signal.SIGTERM)
    scene.world.mark(f"clock {by}", victim.name)
    await scene.world.start_node(victim.name, ENDURES, env=env)
    await scene.expect_recovery()
    _expect_same(scene, key, before + await _asked(scene, key, "during"))
    meanwhile = await _asked(scene, other := f"once-{scene.drawn.getrandbits(32):x}", "during")
    await asyncio.sleep(scene.ttl_s)
    await scene.world.end_node(victim.name, signal.SIGTERM)
    scene.world.mark("clock right", victim.name)
    await scene.world.start_node(victim.name)
    await scene.expect_recovery()
    _expect_same(scene, key, before + await _asked(scene, key, "after"))
    _expect_same(scene, other, meanwhile + await _asked(scene, other, "after"))


async def _asked(scene: Scene, key: str, when: str) -> list[Call]:
    """Tasks on all nodes ask for the step; the last of them is always the same task."""
    data = {"steps": 1, "pace_s": 0.0, "once": key, "once_s": 0.1, "twice": False}
    names = [*(f"{key}-{when}-{number}" for number in range(CALLERS)), f"{key}-again"]
    async with asyncio.TaskGroup() as group:
        asking = [
            group.create_task(scene.traffic.task_until_ended(f"c{number}", name, data, scene.drawn))
            for number, name in enumerate(names)
        ]
    return [call for task in asking if (call := task.result()) is not None]


def _expect_same(scene: Scene, key: str, calls: list[Call]) -> None:
    results = {call.once_result for call in calls if call.ok}
    scene.expect(len(results) == 1, f"of {key} callers were told {sorted(results)}")
    lines = list(scene.world.audit.lines())
    for event, subject in (("once_started", f"/{key}"), ("task_started", f"/{key}-again")):
        runs = sum(line.event == event and line.subject.endswith(subject) for line in lines)
        scene.expect(runs == 1, f"{subject[1:]} was run {runs} times")


FAULTS = (Fault(23, "clock-off", "nothing runs twice", skewed),)
