"""Everything is halted by an operator, while one node is cut off or etcd takes nothing; then it is resumed."""

import asyncio

from agentring.v1 import halt_pb2, halt_pb2_grpc
from harness.client import connect
from robustness.chaos.faults.fault import Fault, Scene
from robustness.chaos.validate.halt_rules import HALTED, RESUMED, STOPS_WITHIN_NS

_WAIT_S = 0.5
"""For nodes that cannot answer."""
_CALL_S = 10.0
EVERYTHING = halt_pb2.HaltScope(kind=halt_pb2.HALT_KIND_ALL)


async def halt(scene: Scene) -> None:
    """Every node confirms, and what runs is cancelled or held."""
    await _halt(scene, cut_off="")
    await _resume(scene)


async def halt_cut_off(scene: Scene) -> None:
    """A node that neither etcd nor a router reaches is named, stops by its fence, and comes back halted."""
    victim = scene.victim()
    cut_ns = scene.world.mark("cut off", victim.name)
    victim.cut_etcd()
    victim.cut_routers()
    await _halt(scene, cut_off=victim.name)
    if await scene.expect_fence(victim.name, cut_ns, scene.fence_s) is not None:
        scene.world.mark(HALTED, victim.name)
    scene.world.mark("mended", victim.name)
    victim.mend()
    absent = await scene.world.absent(5 * scene.ttl_s)
    scene.expect(not absent, f"{victim.name} did not join again while everything was halted")
    await _resume(scene)


async def halt_full(scene: Scene) -> None:
    """etcd takes nothing: the nodes are told all the same, and the answer says that etcd has it not."""
    scene.world.mark("etcd full")
    await scene.world.etcd.fill()
    await _halt(scene, cut_off="", in_etcd=False)
    await scene.world.etcd.make_room()
    scene.world.mark("etcd has room")
    await _resume(scene)


async def _halt(scene: Scene, *, cut_off: str, in_etcd: bool = True) -> None:
    """Long enough for what would start to start."""
    router = scene.world.routers[scene.drawn.choice(sorted(scene.world.routers))]
    request = halt_pb2.HaltRequest(scope=EVERYTHING, hold=scene.drawn.random() < 0.5)
    request.timeout_s = _WAIT_S if cut_off else _CALL_S / 2
    async with connect(router.address) as channel:
        answer = await halt_pb2_grpc.HaltServiceStub(channel).Halt(request, timeout=_CALL_S)
    for name in answer.confirmed:
        scene.world.mark(HALTED, name)
    silent = [each.node_id for each in answer.unconfirmed]
    scene.expect(silent == [cut_off] * bool(cut_off), f"the halt says that {silent} have not confirmed")
    scene.expect(sorted([*answer.confirmed, *silent]) == sorted(scene.world.nodes), "the halt leaves out a node")
    scene.expect(answer.kept.in_etcd == in_etcd, f"the halt says in_etcd: {answer.kept.in_etcd}")
    await asyncio.sleep(2 * STOPS_WITHIN_NS / 1e9)


async def _resume(scene: Scene) -> None:
    router = scene.world.routers[scene.drawn.choice(sorted(scene.world.routers))]
    scene.world.mark(RESUMED)
    async with connect(router.address) as channel:
        request = halt_pb2.ResumeRequest(scope=EVERYTHING, timeout_s=_CALL_S / 2)
        answer = await halt_pb2_grpc.HaltServiceStub(channel).Resume(request, timeout=_CALL_S)
    scene.expect(answer.was_halted, "the resume says that nothing was halted")
    scene.expect(not answer.unconfirmed, f"not resumed: {[str(each) for each in answer.unconfirmed]}")
    await scene.expect_recovery()


FAULTS = (
    Fault(28, "halt", "nothing starts 0.5 s after it is confirmed", halt),
    Fault(28, "halt-cut-off", "a node cut off is named, and stops by F", halt_cut_off, wires=True),
    Fault(28, "halt-full", "nodes are halted though etcd takes nothing", halt_full, quota=True),
)
