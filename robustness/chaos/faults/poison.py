"""Runs that end or block their nodes: each may cost one node, and others nothing but that they are run again."""

import asyncio

from harness.ending import ENDS
from robustness.chaos.faults.fault import RECOVERS_S, Fault, Scene
from robustness.chaos.traffic.traffic import Traffic
from robustness.chaos.validate.poison_rules import ENDED_ITSELF, MOST_ENDS

REASONS = ("turn_failed AGENT_ENDED_NODE", "turn_failed AGENT_BLOCKED")
_LOOK_S = 0.05
_FORMS = ("exits", "aborts", "is killed", "reads nowhere", "blocks")


async def poison(scene: Scene) -> None:
    """A turn or a task that ends or blocks its node, in a form that is drawn, while whatever ends is started again, as
    a supervisor would: its client is told so after one node's end, and nobody else's turn fails."""
    end, as_task = scene.drawn.choice(_FORMS), scene.drawn.random() < 0.5
    assert end in ENDS
    name, router = f"poison-{scene.drawn.getrandbits(32):x}", sorted(scene.world.routers)[0]
    probe = Traffic({router: scene.world.routers[router].address}, 0, scene.world.credentials)
    ends: list[str] = []
    supervising = asyncio.create_task(_supervise(scene, ends))
    try:
        async with asyncio.timeout(8 * scene.ttl_s + RECOVERS_S):
            if as_task:
                await probe.task_until_ended("poison", name, {"poison": end}, scene.drawn)
            else:
                await probe.turn_until_ended("poison", name, "t", {"poison": end}, scene.drawn)
    except TimeoutError:
        scene.complaints.append(f"nobody was told what became of one that {end}")
    finally:
        supervising.cancel()
        await asyncio.wait([supervising])
        await probe.close()
        scene.traffic.calls += probe.calls
    reason = probe.calls[-1].reason
    scene.expect(reason in REASONS, f"the client of one that {end} was told {reason!r}")
    scene.expect(len(ends) == 1, f"{len(ends)} nodes ended under one that {end}: {', '.join(ends)}")
    for node in sorted(scene.world.nodes):
        await scene.world.restart_if_ended(node)
    await scene.expect_recovery()
    failed = [call.reason for call in scene.traffic.calls if call.client != "poison" and "turn_failed" in call.reason]
    scene.expect(not failed, f"others failed: {failed}")


async def _supervise(scene: Scene, ends: list[str]) -> None:
    """Starts again whatever has ended, and remembers it; not beyond what would be too many anyway."""
    while len(ends) <= MOST_ENDS:
        await asyncio.sleep(_LOOK_S)
        for name, node in scene.world.nodes.items():
            if node.running.returncode is not None:
                ends.append(name)
                scene.world.mark(ENDED_ITSELF, name)
                scene.world.mark("killed", name)
                await asyncio.shield(asyncio.ensure_future(scene.world.restart_if_ended(name)))


FAULTS = (Fault(22, "poison", "one node's end at most, then the run has failed", poison, "killed"),)
