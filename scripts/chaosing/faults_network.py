"""Faults of the ways between: nodes cut off from etcd or from routers, lost replies, a router with an old view."""

import asyncio
import signal

from grpc import aio

from agentring.v1 import cluster_pb2, cluster_pb2_grpc
from scripts.chaosing.fault import Fault, Scene
from scripts.chaosing.world import Host

CLAIM = b"/sessions/"
"""Stands in every claim of a session and in nothing else that a node sends."""
RING_S = 2.0


async def _cut_from_etcd(scene: Scene, *, forth: bool, back: bool) -> None:
    victim = scene.victim()
    cut_ns = scene.world.mark("cut from etcd", victim.name)
    victim.cut_etcd(forth=forth, back=back)
    await scene.expect_fence(victim.name, cut_ns, scene.fence_s)
    await asyncio.sleep(scene.ttl_s)
    scene.world.mark("mended", victim.name)
    victim.mend()
    await scene.expect_recovery()


async def cut_etcd(scene: Scene) -> None:
    """Nothing goes either way."""
    await _cut_from_etcd(scene, forth=True, back=True)


async def cut_etcd_forth(scene: Scene) -> None:
    """What the node says does not arrive."""
    await _cut_from_etcd(scene, forth=True, back=False)


async def cut_etcd_back(scene: Scene) -> None:
    """What etcd answers does not arrive: it goes on renewing a lease whose node must stop."""
    await _cut_from_etcd(scene, forth=False, back=True)


async def cut_router(scene: Scene) -> None:
    """No router reaches the node, which is otherwise well: its sessions wait for it."""
    victim = scene.victim()
    cut_ns = scene.world.mark("cut from routers", victim.name)
    victim.cut_routers()
    await asyncio.sleep(2 * scene.ttl_s)
    scene.expect_no_fence(victim.name, cut_ns)
    scene.world.mark("mended", victim.name)
    victim.mend()
    await scene.expect_recovery()
    scene.expect_no_claim_elsewhere(victim.name, cut_ns)


async def lose_claims(scene: Scene) -> None:
    """Claims take effect, and their replies are lost: put again, under a fresh epoch."""
    scene.world.mark("claims' replies lost")
    links = [link for node in scene.world.nodes.values() for link in node.etcd_links]
    before = sum(link.lost for link in links)
    for _ in range(6):
        for link in links:
            link.lose_reply(CLAIM)
        await asyncio.sleep(0.25 * scene.ttl_s)
    for link in links:
        link.mend()
    scene.expect(sum(link.lost for link in links) > before, "no reply was lost")
    await scene.expect_recovery()


async def compaction(scene: Scene) -> None:
    """A router's watch stalls while the membership changes and the history that it would need is forgotten."""
    world = scene.world
    router = world.routers[scene.drawn.choice(sorted(world.routers))]
    world.mark("watch stalled", router.name)
    router.cut_etcd()
    await _come_and_go(scene)
    await world.etcd.compact()
    world.mark("compacted, watch goes on", router.name)
    for link in router.etcd_links:
        link.break_connections()
    router.mend()
    try:
        async with asyncio.timeout(RING_S):
            while await _ring_of(router) != set(world.nodes):  # noqa: ASYNC110
                await asyncio.sleep(0.05)
    except TimeoutError:
        scene.complaints.append(f"{router.name} has the ring {await _ring_of(router)} after {RING_S} s")
    await _remove_newcomer(scene)
    await scene.expect_recovery()


async def frozen_view(scene: Scene) -> None:
    """A router goes on with the membership of a while ago: nodes lead it on, in at most two steps."""
    world = scene.world
    router = world.routers[scene.drawn.choice(sorted(world.routers))]
    begun_ns = world.mark("view frozen", router.name)
    router.cut_etcd()
    await _come_and_go(scene)
    await asyncio.sleep(scene.ttl_s)
    through = [call for call in scene.traffic.calls if call.router == router.name and call.invoked_ns > begun_ns]
    scene.expect(any(call.ok for call in through), f"no turn went through {router.name}")
    world.mark("view goes on", router.name)
    router.mend()
    await _remove_newcomer(scene)
    await scene.expect_recovery()


async def _come_and_go(scene: Scene) -> None:
    """A node comes, another one goes and comes back as a new incarnation."""
    world = scene.world
    victim = scene.victim()
    await world.add_node("newcomer")
    world.mark("stopped", victim.name)
    await world.end_node(victim.name, signal.SIGTERM)
    await world.start_node(victim.name)


async def _remove_newcomer(scene: Scene) -> None:
    await scene.world.end_node("newcomer", signal.SIGTERM)
    await scene.world.nodes.pop("newcomer").close()


async def _ring_of(router: Host) -> set[str]:
    async with aio.insecure_channel(router.address) as channel:
        ring = await cluster_pb2_grpc.ClusterServiceStub(channel).GetRing(cluster_pb2.GetRingRequest(), timeout=5)
    return {member.node_id for member in ring.members}


FAULTS = (
    Fault(7, "cut-etcd", "stops by F", cut_etcd, "cut from etcd", wires=True),
    Fault(7, "cut-etcd-forth", "stops by F", cut_etcd_forth, "cut from etcd", wires=True),
    Fault(7, "cut-etcd-back", "stops by F", cut_etcd_back, "cut from etcd", wires=True),
    Fault(8, "cut-router", "sessions stay", cut_router, wires=True),
    Fault(10, "lose-claims", "put again, fresh epoch", lose_claims),
    Fault(13, "compaction", f"the ring is right within {RING_S:g} s", compaction),
    Fault(18, "frozen-view", "led on, at most 2 hops", frozen_view),
)
