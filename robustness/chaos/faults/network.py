"""Faults of the ways between: nodes cut off from etcd or from routers, lost replies, a router with an old view."""

import asyncio
import signal
from functools import partial

import grpc
from grpc import aio

from agentring.cluster.keys import Keys
from agentring.ids import NodeId
from agentring.v1 import cluster_pb2, cluster_pb2_grpc
from robustness.chaos.cluster.host import Host
from robustness.chaos.cluster.world import NEWCOMER
from robustness.chaos.faults.fault import VOLATILE, Fault, Scene
from robustness.chaos.traffic.traffic import RETRY_S
from robustness.chaos.validate.checker import ANSWERS
from robustness.chaos.validate.evidence import Call

CLAIM = b"/sessions/"
"""Stands in every claim of a session and in nothing else that a node sends."""
RING_S = 2.0
_LEAST_ROUNDS, _MOST_ROUNDS = 6, 60


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
    for round_number in range(_MOST_ROUNDS):
        for link in links:
            link.lose_reply(CLAIM)
        await asyncio.sleep(0.25 * scene.ttl_s)
        # On a busy machine no session may have come to be claimed yet.
        if round_number + 1 >= _LEAST_ROUNDS and sum(link.lost for link in links) > before:
            break
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
            while await _ring_of(router, world.credentials) != set(world.nodes):  # noqa: ASYNC110
                await asyncio.sleep(0.05)
    except TimeoutError:
        scene.complaints.append(
            f"{router.name} has the ring {await _ring_of(router, world.credentials)} after {RING_S} s"
        )
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


async def stale_owner(scene: Scene) -> None:
    """A node that lost its lease, and has no fence, is led to once more: by a record that somebody wrote by hand. The
    router has seen a later epoch and must not pass the answer on."""
    world = scene.world
    router = sorted(world.routers)[0]
    session_id = f"stale-{scene.drawn.getrandbits(32):x}"
    first = await scene.traffic.turn("probe", session_id, "first", {}, router)
    scene.expect(first.ok, f"the probe's first turn failed: {first.reason}")
    stale = world.nodes[first.node]
    key = Keys(world.cluster).node(NodeId(stale.name))
    record = await world.etcd.value_of(key)
    world.mark("cut from etcd", stale.name)
    stale.cut_etcd()
    second = await _answered_elsewhere(scene, session_id, router, stale.name)
    scene.expect(second and second.epoch > first.epoch, "nobody took the session over")
    world.mark("record written by hand", stale.name)
    await world.etcd.put(key, record)
    for name in sorted(world.nodes):
        if name != stale.name:
            world.mark("killed", name)
            await world.end_node(name, signal.SIGKILL)
    deadline_s = asyncio.get_running_loop().time() + scene.ttl_s
    while asyncio.get_running_loop().time() < deadline_s:
        await scene.traffic.turn("probe", session_id, "third", {}, router)
        await asyncio.sleep(RETRY_S)
    await world.etcd.delete(key)
    world.mark("killed", stale.name)
    await world.end_node(stale.name, signal.SIGKILL)
    stale.mend()
    await asyncio.gather(*(world.start_node(name) for name in world.nodes))
    await scene.expect_recovery()


async def _answered_elsewhere(scene: Scene, session_id: str, router: str, owner: str) -> Call | None:
    """The first answer of another node."""
    for number in range(int(3 * scene.ttl_s / RETRY_S)):
        call = await scene.traffic.turn("probe", session_id, f"second-{number}", {}, router)
        if call.ok and call.node != owner:
            return call
        await asyncio.sleep(RETRY_S)
    return None


async def _come_and_go(scene: Scene) -> None:
    """A node comes, another one goes and comes back as a new incarnation."""
    world = scene.world
    victim = scene.victim()
    await world.add_node(NEWCOMER)
    world.mark("stopped", victim.name)
    await world.end_node(victim.name, signal.SIGTERM)
    await world.start_node(victim.name)


async def _remove_newcomer(scene: Scene) -> None:
    await scene.world.end_node(NEWCOMER, signal.SIGTERM)
    await scene.world.nodes.pop(NEWCOMER).close()


async def _ring_of(router: Host, credentials: grpc.ChannelCredentials | None) -> set[str]:
    open_channel = partial(aio.secure_channel, credentials=credentials) if credentials else aio.insecure_channel
    async with open_channel(router.address) as channel:
        ring = await cluster_pb2_grpc.ClusterServiceStub(channel).GetRing(cluster_pb2.GetRingRequest(), timeout=5)
    return {member.node_id for member in ring.members}


FAULTS = (
    Fault(7, "cut-etcd", "stops by F", cut_etcd, "cut from etcd", wires=True),
    Fault(7, "cut-etcd-forth", "stops by F", cut_etcd_forth, "cut from etcd", wires=True),
    Fault(7, "cut-etcd-back", "stops by F", cut_etcd_back, "cut from etcd", wires=True),
    Fault(8, "cut-router", "sessions stay", cut_router, wires=True),
    Fault(10, "lose-claims", "put again, fresh epoch", lose_claims, reads_etcd=True),
    Fault(13, "compaction", f"the ring is right within {RING_S:g} s", compaction),
    Fault(
        18,
        "stale-owner",
        "routers drop old epochs",
        stale_owner,
        alter=("no-fence",),
        judged=frozenset({ANSWERS}),
        store=VOLATILE,
        clients=2,
    ),
    Fault(18, "frozen-view", "led on, at most 2 hops", frozen_view),
)
