"""Faults of etcd itself: killed, its leader paused, its quorum lost, full; and an operator who revokes a lease."""

import asyncio
import os
import signal

from agentring.cluster.keys import Keys
from agentring.ids import NodeId
from robustness.chaos.cluster.etcd import Member
from robustness.chaos.faults.fault import Fault, Scene
from robustness.chaos.validate.evidence import now_ns

ELECTION_S = 1.0
"""etcd's own time-out, by default."""


async def kill_etcd(scene: Scene) -> None:
    """kill -9 of all of etcd, and a restart on its data after a while."""
    outage_s = scene.drawn.uniform(0.5, 1.5) * scene.ttl_s
    (member,) = scene.world.etcd.members
    scene.world.mark("etcd killed")
    _signal(member, signal.SIGKILL)
    await asyncio.sleep(outage_s)
    scene.world.mark("etcd started")
    await asyncio.to_thread(scene.world.etcd.start)
    await scene.expect_recovery(2 * scene.ttl_s + 2)


async def pause_leader(scene: Scene) -> None:
    """The leader of three stands still: another one is elected."""
    leader = await scene.world.etcd.leader()
    scene.world.mark("leader paused")
    _signal(leader, signal.SIGSTOP)
    await asyncio.sleep(3 * scene.ttl_s)
    await scene.expect_recovery()
    scene.world.mark("leader goes on")
    _signal(leader, signal.SIGCONT)
    await scene.expect_recovery()


async def lose_quorum(scene: Scene) -> None:
    """Two of three stand still for three TTLs: every node stops by F, and all go on afterwards."""
    paused = scene.drawn.sample(scene.world.etcd.members, 2)
    lost_ns = scene.world.mark("quorum lost")
    for member in paused:
        _signal(member, signal.SIGSTOP)
    for name in scene.world.nodes:
        # A leader goes on renewing leases until it has noticed that nobody follows it: it looks once an election
        # time-out, whether anybody did since it looked last.
        await scene.expect_fence(name, lost_ns, scene.fence_s + 2 * ELECTION_S)
    left_s = 3 * scene.ttl_s - (now_ns() - lost_ns) / 1e9
    await asyncio.sleep(max(0.0, left_s))
    scene.world.mark("quorum back")
    for member in paused:
        _signal(member, signal.SIGCONT)
    await scene.expect_recovery(2 * scene.ttl_s + 5)


async def quota(scene: Scene) -> None:
    """etcd takes nothing more: who has a session goes on, nobody gets a new one, until there is room."""
    router = sorted(scene.world.routers)[0]
    known = f"known-{scene.drawn.getrandbits(32):x}"
    first = await scene.traffic.turn("probe", known, "first", {}, router)
    scene.expect(first.ok, f"the probe's first turn failed: {first.reason}")
    full_ns = scene.world.mark("etcd full")
    await scene.world.etcd.fill()
    second = await scene.traffic.turn("probe", known, "again", {}, router)
    scene.expect(second.ok, f"a session that was there was not served: {second.reason}")
    new = await scene.traffic.turn("probe", f"new-{known}", "first", {}, router)
    scene.expect(new.reason == "COORDINATOR_UNAVAILABLE", f"a new session was told {new.reason or 'ok'}")
    await asyncio.sleep(scene.ttl_s)
    for name in scene.world.nodes:
        scene.expect_no_fence(name, full_ns)
    await scene.world.etcd.make_room()
    scene.world.mark("etcd has room")
    await scene.expect_recovery()


async def revoke(scene: Scene) -> None:
    """An operator ends a node's lease."""
    victim = scene.victim()
    lease_id = await scene.world.etcd.lease_of(Keys(scene.world.cluster).node(NodeId(victim.name)))
    revoked_ns = scene.world.mark("lease revoked", victim.name)
    await scene.world.etcd.revoke(lease_id)
    await scene.expect_fence(victim.name, revoked_ns, 0.5)
    await scene.expect_recovery()


def _signal(member: Member, number: signal.Signals) -> None:
    assert member.process is not None
    os.kill(member.process.pid, number)


FAULTS = (
    Fault(11, "kill-etcd", "recovers within 2 TTL + outage + 2 s", kill_etcd),
    Fault(12, "pause-leader", "goes on", pause_leader, members=3),
    Fault(12, "lose-quorum", "stops by F, recovers", lose_quorum, members=3),
    Fault(14, "quota", "serves existing, refuses new", quota, quota=True),
    Fault(15, "revoke", "fenced within 0.5 s", revoke, "lease revoked"),
)
