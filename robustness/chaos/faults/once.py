"""A fault of steps that run once: the node that runs them is killed while others wait for them."""

import asyncio
import signal

from robustness.chaos.faults.fault import RECOVERS_S, Fault, Scene
from robustness.chaos.faults.process import REACHES_S
from robustness.chaos.traffic.agents import UNKNOWN
from robustness.chaos.traffic.traffic import TENANT
from robustness.chaos.validate.audit_files import until
from robustness.chaos.validate.evidence import Call, Line

CALLERS = 8
"""Tasks of a cycle that ask for the same step."""


async def kill_once(scene: Scene) -> None:
    """kill -9 of the node that runs a step while tasks on all nodes wait for it: all of them are told the same, a
    result where the step may run again, and UNKNOWN where it must not."""
    for twice in (True, False):
        key = f"once-{scene.drawn.getrandbits(32):x}"
        data = {"steps": 1, "pace_s": 0.0, "once": key, "once_s": 1.0, "twice": twice}
        async with asyncio.TaskGroup() as group:
            asking = [
                group.create_task(scene.traffic.task_until_ended(f"o{number}", f"{key}-{number}", data, scene.drawn))
                for number in range(CALLERS)
            ]
            victim = await _runner(scene, key)
            if victim is not None:
                scene.world.mark("killed", victim)
                await scene.world.end_node(victim, signal.SIGKILL)
        if victim is None:
            scene.complaints.append(f"nobody ran the step {key}")
            return
        _judge(scene, key, [call for task in asking if (call := task.result()) is not None], twice=twice)
        await scene.world.start_node(victim)
        await scene.expect_recovery(scene.ttl_s + RECOVERS_S)


async def _runner(scene: Scene, key: str) -> str | None:
    """Which node runs the step, once one does."""

    def started() -> Line | None:
        lines = scene.world.audit.lines()
        return next((each for each in lines if each.event == "once_started" and each.subject.endswith(f"/{key}")), None)

    try:
        async with asyncio.timeout(REACHES_S):
            await until(lambda: started() is not None)
    except TimeoutError:
        return None
    line = started()
    return line.node if line is not None else None


def _judge(scene: Scene, key: str, calls: list[Call], *, twice: bool) -> None:
    results = {call.once_result for call in calls if call.ok}
    scene.expect(len(calls) == CALLERS and all(call.ok for call in calls), f"not all were told an end of {key}")
    scene.expect(len(results) == 1, f"of {key} callers were told {sorted(results)}")
    runs = sum(
        line.event == "once_started" and line.subject == f"once/{TENANT}/{key}" for line in scene.world.audit.lines()
    )
    if twice:
        scene.expect(UNKNOWN not in results, f"{key} may run again, and nobody did run it")
        scene.expect(runs == 2, f"{key} was run {runs} times")
    else:
        scene.expect(results == {UNKNOWN}, f"{key} was cut off, and callers were told {sorted(results)}")
        scene.expect(runs == 1, f"{key} must not run twice, and was run {runs} times")


FAULTS = (Fault(19, "kill-once", "one run, or UNKNOWN", kill_once),)
