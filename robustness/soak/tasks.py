"""`scripts/soak_tasks`: many tasks, each asked for again and again, while nodes are killed; is one run twice, or lost?

How to run it:

    scripts/soak_tasks                                  # 20,000 tasks of 6 callers, a node killed every 5 s
    scripts/soak_tasks --store postgresql               # on a PostgreSQL of its own
    scripts/soak_tasks --tasks 300 --workers 50         # a short one

What it does: starts etcd, three nodes and two routers as processes. --workers tasks at a time are asked for, each by
one caller and its duplicates, at random moments and through either router: before the run, in the middle of it, after
its end. A caller whose call is refused asks again. The callers of some tasks leave at once and never come back. At the
end every task must have ended, and the checker of scripts/chaos judges the audit log, the store and what the callers
were told: no two runs of a key at the same time, one result, told to all.

What the numbers mean: a wait is a caller's time from its coming to the task's end; `again` counts tries that were
refused or cut off, by reason; a run is restarted if its node was killed.

Exit status: 0 if nothing was run twice at a time, told differently, left or untold; 1 if something was.
"""

import asyncio
import json
import random
import sys
import tempfile
from collections import Counter
from itertools import count
from pathlib import Path
from typing import Annotated, Any

import typer
from rich.console import Console

from agentring.v1 import task_pb2, task_pb2_grpc
from harness import client as harness
from harness.cluster import Cluster
from robustness.chaos.traffic.traffic import AGENT, TENANT, Traffic
from robustness.chaos.validate import stored
from robustness.chaos.validate.checker import check
from robustness.chaos.validate.evidence import Evidence, read_lines
from robustness.soak.cluster import disturbed_cluster
from robustness.soak.disturbance import DISTURBANCES, Disturbances
from robustness.soak.task_callers import Callers, Plan

ENDS_S = 15.0
"""How long a task may take once a node has taken it up, beside the time in which one does."""
SHOWN = 10
"""Of each kind of fault."""
FAULTS = ("violations", "never_ended", "untold", "complaints")

app = typer.Typer(add_completion=False, pretty_exceptions_enable=False)


@app.command(help=__doc__)
def soak_tasks(
    tasks: Annotated[int, typer.Option(min=1, help="How many keys.")] = 20_000,
    duplicates: Annotated[int, typer.Option(min=0, help="Of each task's first caller.")] = 5,
    workers: Annotated[int, typer.Option(min=1, help="So many tasks are asked for at a time.")] = 150,
    spread: Annotated[float, typer.Option(min=0, help="Seconds within which a task's callers come.")] = 4.0,
    steps: Annotated[int, typer.Option(min=1, help="Of the longest task, 0.1 s each.")] = 20,
    left: Annotated[float, typer.Option(min=0, max=1, help="The part of the tasks whose callers all leave.")] = 0.05,
    disturb: Annotated[str, typer.Option(help=f"One of {', '.join(DISTURBANCES)}.")] = "kill",
    every: Annotated[float, typer.Option(min=1, help="Seconds from one disturbance to the next.")] = 5.0,
    store: Annotated[str, typer.Option(help="sqlite, postgresql (one of its own), or the nodes' --store.")] = "sqlite",
    ttl: Annotated[int, typer.Option(min=2, help="The nodes' lease TTL in seconds.")] = 3,
    seed: Annotated[int, typer.Option(help="Of the callers' moments.")] = 1,
    as_json: Annotated[bool, typer.Option("--json", help="Print JSON.")] = False,
) -> None:
    """Runs it."""
    if disturb not in DISTURBANCES:
        raise typer.BadParameter(f"--disturb is one of {', '.join(DISTURBANCES)}")
    plan = Plan(tasks, duplicates, spread, steps, left)
    with tempfile.TemporaryDirectory(prefix="agentring-soak-", ignore_cleanup_errors=True) as name:
        directory = Path(name)
        directory.chmod(0o755)  # PostgreSQL runs as another user, in a directory of its own
        found = asyncio.run(soak(plan, workers, disturb, every, store, ttl, seed, directory))
    print(json.dumps(found, indent=1)) if as_json else _print(found)
    sys.exit(1 if any(found[kind] for kind in FAULTS) else 0)


def _print(found: dict[str, Any]) -> None:
    console = Console(highlight=False, soft_wrap=True)
    console.print(
        f"{found['tasks']} tasks ({found['left']} of them left by all), {found['callers']} callers in "
        f"{found['took_s']:.0f} s, {found['disturbed']} times disturbed; {found['runs']} runs, {found['restarted']} of "
        f"them restarts; {found['again']} tries again; a wait was p50 {found['p50_s']:.2f} s, p99 {found['p99_s']:.2f} "
        f"s, at most {found['max_s']:.2f} s"
    )
    for reason, times in found["reasons"].items():
        console.print(f"  {reason}: {times}")
    for kind in FAULTS:
        console.print(f"{kind.replace('_', ' ')}: {len(found[kind])}")
        for line in found[kind][:SHOWN]:
            console.print(f"  {line}")


async def soak(
    plan: Plan, workers: int, disturb: str, every_s: float, store: str, ttl: int, seed: int, directory: Path
) -> dict[str, Any]:
    """What came of it."""
    loop = asyncio.get_running_loop()
    agent = f"--agent={AGENT}=robustness.chaos.traffic.agents:counting"
    async with disturbed_cluster(store, ttl, directory, agent) as (cluster, node_flags):
        how = Disturbances(every_s, node_flags, random.Random(seed))
        traffic = Traffic({name: router.address for name, router in cluster.routers.items()}, seed)
        callers = Callers(traffic, sorted(cluster.routers), plan, random.Random(seed))
        begun_s = loop.time()
        numbers = iter(range(plan.tasks))

        async def work() -> None:
            for number in numbers:
                await callers.ask_for(number)

        async with asyncio.TaskGroup() as group:
            group.create_task(DISTURBANCES[disturb](cluster, how))
            await asyncio.gather(*(work() for _ in range(workers)))
            how.over.set()
        took_s = loop.time() - begun_s
        never_ended = await _open_after(cluster, 4 * ttl + ENDS_S + plan.steps / 10)
        await traffic.close()
    evidence = Evidence(read_lines([cluster.audit_file]), traffic.calls, how.marks, durable=True, durable_tasks=True)
    evidence.never_ended = never_ended
    if store == "sqlite":
        await stored.read_into(evidence, f"{stored.SQLITE}{directory / 'store.db'}")
    return _found(plan, callers, evidence, how, took_s)


def _found(plan: Plan, callers: Callers, evidence: Evidence, how: Disturbances, took_s: float) -> dict[str, Any]:
    waits_s = sorted(callers.outcomes.waits_s) or [float("nan")]
    runs = [line for line in evidence.lines if line.event == "task_started"]
    reasons = Counter(call.reason for call in evidence.calls if not call.ok)
    return {
        "tasks": plan.tasks,
        "left": callers.outcomes.left,
        "callers": len(callers.outcomes.waits_s),
        "took_s": took_s,
        "disturbed": how.done,
        "runs": len(runs),
        "restarted": len(runs) - len({line.subject for line in runs}),
        "again": sum(reasons.values()),
        "reasons": dict(reasons.most_common()),
        "p50_s": waits_s[len(waits_s) // 2],
        "p99_s": waits_s[int(len(waits_s) * 0.99)],
        "max_s": waits_s[-1],
        "violations": [str(violation) for violation in check(evidence)],
        "never_ended": sorted(evidence.never_ended),
        "untold": callers.outcomes.untold,
        "complaints": how.complaints,
    }


async def _open_after(cluster: Cluster, within_s: float) -> set[str]:
    """The tasks that have not ended in time."""
    loop = asyncio.get_running_loop()
    deadline_s = loop.time() + within_s
    async with harness.connect(cluster.router) as channel:
        stub = task_pb2_grpc.TaskServiceStub(channel)
        for again in count():
            await asyncio.sleep(min(again, 1))
            found = set()
            for state in (task_pb2.TASK_STATE_PENDING, task_pb2.TASK_STATE_RUNNING):
                page = await stub.ListTasks(task_pb2.ListTasksRequest(state=state, page_size=1_000), timeout=10)
                found |= {f"task/{TENANT}/{task.task_key}" for task in page.tasks}
            if not found or loop.time() > deadline_s:
                return found
    raise AssertionError


if __name__ == "__main__":
    app()
