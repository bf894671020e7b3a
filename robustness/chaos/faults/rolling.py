"""A deploy: every node, and then every router, is ended with SIGTERM and started again, one by one, under load."""

import signal

from robustness.chaos.faults.fault import Fault, Scene
from robustness.chaos.validate.evidence import Call, now_ns

_OWN = frozenset({"DEADLINE"})
"""A client's own deadline says nothing of a stream."""
_RETRYABLE = frozenset({"ROUTER_STOPPING", "UNAVAILABLE"})
"""What a router's end may tell a client that has no library of ours: `UNAVAILABLE` where nothing of ours answers."""


async def roll(scene: Scene) -> None:
    """Nodes' restarts break no stream; routers' ones end those that go through them, with what may be tried again."""
    begun_ns = now_ns()
    for name in sorted(scene.world.nodes):
        scene.world.mark("stopped", name)
        status = await scene.world.end_node(name, signal.SIGTERM)
        scene.expect(status == 0, f"{name} ended with status {status}")
        await scene.world.start_node(name)
        await scene.expect_recovery()
    broken = {call.reason for call in _ended(scene, begun_ns) if not call.ok} - _OWN
    scene.expect(not broken, f"nodes' restarts broke streams: {', '.join(sorted(broken))}")
    begun_ns = now_ns()
    for name in sorted(scene.world.routers):
        scene.world.mark("restarted", name)
        status = await scene.world.restart_router(name)
        scene.expect(status == 0, f"{name} ended with status {status}")
        await scene.expect_recovery()
    wrong = {call.reason for call in _ended(scene, begun_ns) if not call.ok} - _RETRYABLE - _OWN
    scene.expect(not wrong, f"routers' restarts told {', '.join(sorted(wrong))}")


def _ended(scene: Scene, since_ns: int) -> list[Call]:
    return [call for call in scene.traffic.calls if call.ended_ns > since_ns]


FAULTS = (Fault(20, "roll", "nodes' restarts break no stream; no turn lost", roll),)
