"""One fault for so long: a world, its traffic, cycles of the fault, and what the checker says of what is left."""

import random
import tempfile
from collections import Counter
from dataclasses import dataclass, field, replace
from pathlib import Path

from robustness.chaos.cluster.etcd import QUOTA_BYTES
from robustness.chaos.cluster.world import Plan, World
from robustness.chaos.faults import clock, etcd, halt, network, once, poison, process, rolling, store, tasks
from robustness.chaos.faults.fault import VOLATILE, Fault, Scene
from robustness.chaos.traffic.traffic import running
from robustness.chaos.validate import stored
from robustness.chaos.validate.checker import check
from robustness.chaos.validate.evidence import Evidence, now_ns
from robustness.chaos.validate.failover import Failover, failovers, percentile, too_slow
from robustness.chaos.validate.violation import Violation

FAULTS = {
    fault.name: fault
    for fault in sorted(
        (
            *process.FAULTS,
            *network.FAULTS,
            *store.FAULTS,
            *etcd.FAULTS,
            *tasks.FAULTS,
            *once.FAULTS,
            *clock.FAULTS,
            *rolling.FAULTS,
            *poison.FAULTS,
            *halt.FAULTS,
        ),
        key=lambda fault: fault.number,
    )
}
WARM_S = 15.0
"""How long every client may take to its first answer."""
BROKEN = ("Traceback", "never retrieved", "never awaited")
"""What must not stand in any process's log, whatever is done to it."""


_EXPECTED = ("StoreUnavailable", "TOOL_CANCELLED")
"""A store that does not answer fails its sessions, and a tool is cut off with its run: both say so with a traceback."""


@dataclass(slots=True)
class Outcome:
    """What came of one run."""

    fault: Fault
    seed: int
    plan: Plan
    evidence: Evidence
    begun_ns: int
    ended_ns: int
    cycles: int
    violations: list[Violation] = field(default_factory=list)
    complaints: list[str] = field(default_factory=list)
    """What the fault itself found amiss."""
    errors: Counter[str] = field(default_factory=Counter)

    @property
    def passed(self) -> bool:
        """Whether nothing is amiss."""
        return not self.violations and not self.complaints

    @property
    def turns(self) -> int:
        """Turns and tasks that clients were told the end of."""
        return sum(call.ok for call in self.evidence.calls)

    def failover_s(self, percent: float) -> float | None:
        """Of the sessions that lost their owner; None: none did, or the fault measures none."""
        return percentile([each.took_s for each in self.failovers], percent)

    @property
    def failovers(self) -> list[Failover]:
        """Each of them."""
        return failovers(self.evidence, self.fault.failover) if self.fault.failover else []


async def run_fault(
    fault: Fault,
    plan: Plan,
    *,
    seed: int,
    seconds: float,
    sessions: int = 12,
    tasks: int = 2,
    cycles: int | None = None,
    directory: Path | None = None,
) -> Outcome:
    """Runs cycles of the fault until the time is over, at least one; cycles: so many, whatever time they take.

    directory: where data and logs go; None: a temporary one.
    """
    plan = replace(
        plan,
        members=fault.members,
        store=fault.store or plan.store,
        namespaces=plan.namespaces and fault.wires,
        quota_bytes=QUOTA_BYTES if fault.quota else None,
        alter=(*fault.alter, *plan.alter),
    )
    with tempfile.TemporaryDirectory(prefix="agentring-chaos-") as temporary:
        world = World(plan, directory or Path(temporary))
        try:
            await world.start()
            return await _run(world, fault, seed, seconds, fault.clients or sessions, tasks, cycles)
        finally:
            await world.stop()


async def _run(
    world: World, fault: Fault, seed: int, seconds: float, sessions: int, tasks: int, cycles: int | None
) -> Outcome:
    begun_ns = now_ns()
    done = 0
    routers = {name: router.address for name, router in world.routers.items()}
    async with running(
        routers, seed, sessions=sessions, tasks=tasks, steps=fault.steps, credentials=world.credentials
    ) as traffic:
        scene = Scene(world, traffic, random.Random(f"{seed}/{fault.name}"))
        await scene.expect_recovery(WARM_S)
        while not (scene.complaints or scene.never_ended) and (
            done < cycles if cycles else not done or now_ns() < begun_ns + seconds * 1e9
        ):
            await fault.cycle(scene)
            done += 1
    await world.stop()  # so that the logs are whole
    durable = world.plan.store != VOLATILE
    evidence = Evidence(list(world.audit.lines()), traffic.calls, world.marks, durable=durable, durable_tasks=durable)
    evidence.never_ended = scene.never_ended
    if durable:
        await stored.read_into(evidence, world.store)
    outcome = Outcome(fault, seed, world.plan, evidence, begun_ns, now_ns(), done, errors=traffic.errors())
    outcome.complaints = scene.complaints + _broken(world)
    outcome.violations = [each for each in check(evidence) if fault.judged is None or each.rule in fault.judged]
    if fault.failover and fault.limit_s is not None:
        outcome.violations += too_slow(evidence, fault.failover, fault.limit_s(scene.ttl_s))
    return outcome


def _broken(world: World) -> list[str]:
    found = []
    for host in (*world.nodes.values(), *world.routers.values()):
        lines = (world.directory / f"{host.name}.log").read_text().splitlines()
        log = "\n".join(line for line in lines if not any(word in line for word in _EXPECTED))
        found += [f"{host.name}'s log says {word!r}" for word in BROKEN if word in log]
    return found
