"""Faults of tasks: nodes that are killed or frozen at their steps, keys that are asked for everywhere at once, callers
who never come back."""

import asyncio
import signal
from collections import Counter
from contextlib import suppress

from robustness.chaos.failpoints.failpoints import TASK_END_SENT, TASK_STEPS
from robustness.chaos.faults.fault import RECOVERS_S, Fault, Scene
from robustness.chaos.faults.process import REACHES_S, pause_at
from robustness.chaos.traffic.traffic import PACE_S, Traffic
from robustness.chaos.validate import stored

ENDS_S = 5.0
"""How long a task may take once a node has taken it up."""
POLL_S = 0.05
KEYS = 12
"""Tasks of the probe's own in a cycle."""


async def kill_task(scene: Scene) -> None:
    """kill -9 at each step of a task's life, one after the other: every task that was accepted ends all the same."""
    for point in TASK_STEPS:
        name = await scene.world.until_stopped_at(point, *scene.world.nodes, within_s=REACHES_S)
        if name is None:
            scene.complaints.append(f"no node came to {point!r}")
            return
        if not await _kill(scene, name):
            return


async def leave_tasks(scene: Scene) -> None:
    """Tasks whose callers leave at once and never come back, and whose node is killed: they end all the same."""
    routers = sorted(scene.world.routers)
    keys = [f"left-{scene.drawn.getrandbits(32):x}" for _ in range(KEYS)]
    data = {"steps": 50, "pace_s": PACE_S}
    nodes = [await scene.traffic.leave_task(key, data, scene.drawn.choice(routers)) for key in keys]
    ((victim, _),) = Counter(nodes).most_common(1)
    await _kill(scene, victim)


async def _kill(scene: Scene, name: str) -> bool:
    """Kills a node, and starts it again once what it left has ended; whether it has."""
    scene.world.mark("killed", name)
    await scene.world.end_node(name, signal.SIGKILL)
    left = await stored.open_tasks(scene.world.store)
    await scene.expect_recovery(scene.ttl_s + RECOVERS_S)
    if open_still := await _open_still(scene, left):
        scene.never_ended |= open_still
        return False
    await scene.world.start_node(name)
    await scene.expect_recovery()
    return True


async def pause_task(scene: Scene) -> None:
    """Stopped when a task's end is on its way to the store, until somebody else has run the task, and told."""

    async def others_end_it() -> None:
        left = await stored.open_tasks(scene.world.store)
        if await _open_still(scene, left):
            scene.complaints.append("nobody else ended what the node had begun")

    await pause_at(scene, TASK_END_SENT, meanwhile=others_end_it)


async def _open_still(scene: Scene, left: set[str]) -> set[str]:
    """Returns once all of these tasks have ended, or it has taken too long; those that have not."""
    with suppress(TimeoutError):
        async with asyncio.timeout(4 * scene.ttl_s + ENDS_S):
            while left & await stored.open_tasks(scene.world.store):  # noqa: ASYNC110  other processes end them
                await asyncio.sleep(POLL_S)
    return left & await stored.open_tasks(scene.world.store)


async def ask_everywhere(scene: Scene) -> None:
    """Every node is asked for the same keys, at almost the same time and once more after their end: each key has one
    run, and who does not say what came of it says whose it is."""
    nodes = {name: node.link.address for name, node in scene.world.nodes.items()}
    probe = Traffic(nodes, 0, scene.world.credentials)
    try:
        await asyncio.gather(*(_ask_all(scene, probe, sorted(nodes)) for _ in range(KEYS)))
    finally:
        await probe.close()
        scene.traffic.calls += probe.calls
    await scene.expect_recovery()


async def _ask_all(scene: Scene, probe: Traffic, nodes: list[str]) -> None:
    key = f"everywhere-{scene.drawn.getrandbits(32):x}"
    data = {"steps": 6, "pace_s": PACE_S}

    async def ask(node: str, after_s: float) -> bool:
        await asyncio.sleep(after_s)
        # Longer than one try of a client's, which a busy machine and store may outlast; the answer is what counts here.
        call = await probe.task("probe", key, data, node, timeout_s=ENDS_S)
        scene.expect(call.ok or call.reason in ("NOT_OWNER", "SESSION_MOVING"), f"{node} said {call.reason} of {key}")
        return call.ok

    for spread_s in (3 * PACE_S, 0.0):
        known = await asyncio.gather(*(ask(node, scene.drawn.uniform(0, spread_s)) for node in nodes))
        scene.expect(any(known), f"nobody knew what came of {key}")


FAULTS = (
    Fault(19, "kill-task", "I4, I5", kill_task, alter=("in-task",)),
    Fault(19, "pause-task", "SQL rejects", pause_task, "frozen", alter=("in-task",)),
    Fault(19, "leave-tasks", "every task ends", leave_tasks),
    Fault(19, "ask-everywhere", "one run of a key", ask_everywhere),
)
