"""Faults of processes: killed, stopped, frozen, blocked, of two minds about the time, started twice."""

import asyncio
import signal
from collections.abc import Awaitable, Callable

from robustness.chaos.cluster.host import Host
from robustness.chaos.faults.fault import Fault, Scene

RIVAL_JOINS_S = 2.0
REACHES_S = 5.0
"""How long a node may take to come to a failpoint."""
LANDS_S = 0.3
"""How long a write that was under way takes to land."""


async def kill(scene: Scene) -> None:
    """kill -9, and a restart when its sessions have moved: its successor would end the old lease at once."""
    victim = scene.victim()
    scene.world.mark("killed", victim.name)
    await scene.world.end_node(victim.name, signal.SIGKILL)
    await asyncio.sleep(scene.ttl_s + 1.0)
    await scene.expect_recovery()
    await scene.world.start_node(victim.name)
    await scene.expect_recovery()


async def stop(scene: Scene) -> None:
    """SIGTERM in the middle of turns."""
    victim = scene.victim()
    scene.world.mark("stopped", victim.name)
    status = await scene.world.end_node(victim.name, signal.SIGTERM)
    scene.expect(status == 0, f"{victim.name} ended with status {status}")
    await scene.expect_recovery()
    await scene.world.start_node(victim.name)
    await scene.expect_recovery()


async def pause_short(scene: Scene) -> None:
    """SIGSTOP for half a TTL, right after a renewal at the latest a quarter of a TTL ago: F is not reached."""
    victim = scene.victim()
    begun_ns = scene.world.mark("pause", victim.name)
    # F is at most a quarter of a TTL nearer than after a renewal; with TTL 3 that leaves 1.25 s.
    await scene.world.freeze(victim.name, min(0.5 * scene.ttl_s, scene.fence_s - 0.5 - 0.25 * scene.ttl_s - 0.25))
    await scene.expect_recovery()
    await asyncio.sleep(0.5 * scene.ttl_s)
    scene.expect_no_fence(victim.name, begun_ns)
    scene.expect_no_claim_elsewhere(victim.name, begun_ns)


async def pause_long(scene: Scene) -> None:
    """SIGSTOP for two TTLs: another node takes over, and this one must notice before it does anything."""
    victim = scene.victim()
    thawed_ns = await scene.world.freeze(victim.name, 2 * scene.ttl_s)
    await scene.expect_fence(victim.name, thawed_ns, 0.5)
    await scene.expect_recovery()


async def pause_before_write(scene: Scene) -> None:
    """Stopped between the check of the fence and a write to the store, for two TTLs."""
    await pause_at(scene, scene.drawn.choice(("start_tool", "accept", "_end")))


async def pause_before_tool(scene: Scene) -> None:
    """The same, before a tool's start is written."""
    await pause_at(scene, "start_tool")


async def pause_before_step(scene: Scene) -> None:
    """The same, before the outcome of a run's step is written."""
    await pause_at(scene, "TurnSteps")


async def pause_in_transaction(scene: Scene) -> None:
    """Stopped inside a transaction of the store, for two TTLs. On SQLite nobody else writes meanwhile."""
    await pause_at(scene, "transaction")


async def pause_in_renewal(scene: Scene) -> None:
    """Stopped between a renewal's answer and its being counted, for two TTLs: it extends nothing any more. Nothing else
    tells the node either that it is too late."""
    await pause_at(scene, "renewal", cut=True)


async def pause_at(
    scene: Scene, point: str, *, cut: bool = False, meanwhile: Callable[[], Awaitable[None]] | None = None
) -> None:
    """A node is stopped there for two TTLs, and must be fenced when it goes on.

    cut: what etcd says meanwhile comes only when the node has fenced itself. meanwhile: what it is stopped for, if that
    takes longer.
    """
    name = await scene.world.until_stopped_at(point, scene.victim().name, within_s=REACHES_S)
    if name is None:
        scene.complaints.append(f"no node came to {point!r}")
        return
    node = scene.world.nodes[name]
    scene.world.mark("frozen", name)
    if cut:
        node.cut_etcd()
    await asyncio.gather(asyncio.sleep(2 * scene.ttl_s), *([meanwhile()] if meanwhile is not None else []))
    thawed_ns = scene.world.mark("thawed", name)
    node.signal(signal.SIGCONT)
    await scene.expect_fence(name, thawed_ns, 0.5)
    node.mend()
    await scene.expect_recovery()


async def raise_race(scene: Scene) -> None:
    """The end of a turn is written just after the next owner's claim, and just before it raises the epoch: the next
    owner must read it, or it would be run again."""
    world = scene.world
    first = await world.until_stopped_at("_end", *world.nodes, within_s=REACHES_S)
    scene.expect(first, "no turn came to its end")
    if first is None:
        return
    stopped_ns = world.mark("frozen", first)
    others = [name for name in world.nodes if name != first]
    second = await world.until_stopped_at("activate", *others, within_s=2 * scene.ttl_s + REACHES_S)
    scene.expect(second, "nobody claimed the session")
    world.mark("thawed", first)
    world.nodes[first].signal(signal.SIGCONT)
    await scene.expect_fence(first, stopped_ns, 3 * scene.ttl_s + REACHES_S)
    await asyncio.sleep(LANDS_S)
    if second is not None:
        world.mark("goes on", second)
        world.nodes[second].signal(signal.SIGCONT)
    await scene.expect_recovery()


async def block(scene: Scene) -> None:
    """An agent holds the event loop up for two TTLs: the node is ended by its watchdog, or notices when it goes on."""
    session_id, victim = await _session_somewhere(scene)
    blocked_ns = scene.world.mark("blocked", victim.name)
    data = {"block_s": 2 * scene.ttl_s}
    router = sorted(scene.world.routers)[0]
    turn = asyncio.create_task(
        scene.traffic.turn("probe", session_id, "blocks", data, router, timeout_s=2 * scene.ttl_s + 1)
    )
    stopped = await scene.world.until_fenced_or_ended(victim.name, blocked_ns, 2 * scene.ttl_s + 2)
    scene.expect(stopped, f"{victim.name} did not stop")
    await turn
    await scene.world.restart_if_ended(victim.name)
    await scene.expect_recovery()


async def _session_somewhere(scene: Scene) -> tuple[str, Host]:
    """A session of the probe's own, and its node."""
    session_id = f"probe-{scene.drawn.getrandbits(32):x}"
    call = await scene.traffic.turn("probe", session_id, "first", {}, sorted(scene.world.routers)[0])
    if not call.ok:
        raise AssertionError(f"the probe's first turn failed: {call.reason}")
    return session_id, scene.world.nodes[call.node]


async def jump(scene: Scene) -> None:
    """The wall clock of a node jumps an hour ahead, and back: nothing may come of it."""
    victim = scene.victim()
    begun_ns = scene.world.mark("clock +1 h", victim.name)
    scene.world.trigger_file(victim.name).touch()
    await asyncio.sleep(1.5 * scene.ttl_s)
    scene.world.trigger_file(victim.name).unlink()
    scene.world.mark("clock -1 h", victim.name)
    await asyncio.sleep(scene.ttl_s)
    scene.expect_no_fence(victim.name, begun_ns)
    scene.expect_no_claim_elsewhere(victim.name, begun_ns)
    await scene.expect_recovery()


async def same_id(scene: Scene) -> None:
    """Two more processes under a live node's id: one with a data directory of its own waits and gives up, one with
    the same directory does not even start."""
    victim = scene.victim()
    begun_ns = scene.world.mark("same id", victim.name)
    elsewhere = scene.world.rival(
        victim.name, f"--data-dir={scene.world.directory / 'rival'}", f"--join-timeout-s={RIVAL_JOINS_S}"
    )
    same = scene.world.rival(victim.name)
    for rival in (elsewhere, same):
        status = await asyncio.to_thread(rival.wait)
        scene.expect(status == 1, f"a second {victim.name} ended with status {status}")
    scene.expect_no_fence(victim.name, begun_ns)
    scene.expect_no_claim_elsewhere(victim.name, begun_ns)
    await scene.expect_recovery()


FAULTS = (
    Fault(1, "kill", "failover p99 < TTL + 1 s", kill, "killed", lambda ttl_s: ttl_s + 1),
    Fault(2, "stop", "hand-off < 1 s after the running turn", stop, "stopped", lambda _: 1.0),
    Fault(3, "pause-short", "no failover", pause_short),
    Fault(4, "pause-long", "fenced when it goes on; I1", pause_long, "frozen"),
    Fault(4, "pause-in-transaction", "fenced; I1", pause_in_transaction, "frozen", alter=("in-transaction",)),
    Fault(5, "pause-before-write", "SQL rejects", pause_before_write, "frozen", alter=("before-write",)),
    Fault(5, "pause-before-tool", "SQL rejects", pause_before_tool, "frozen", alter=("before-write",)),
    Fault(5, "pause-before-step", "SQL rejects", pause_before_step, "frozen", alter=("before-write",)),
    Fault(5, "pause-in-renewal", "never extended late", pause_in_renewal, "frozen", alter=("in-renewal",)),
    Fault(5, "raise-race", "what lands late is read", raise_race, alter=("before-write", "before-activate"), clients=1),
    Fault(6, "block", "fenced, or ended", block, "blocked"),
    Fault(16, "wall-clock", "nothing", jump, alter=("wall-clock",)),
    Fault(17, "same-id", "the second waits or refuses", same_id),
)
