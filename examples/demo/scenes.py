"""The demo's scenes, in their order: placement, memory, single flight, failover."""

import asyncio
import time
from collections import Counter
from itertools import cycle

from grpc import aio
from rich.table import Table

from examples.demo.calls import Answer, run_task, run_turn, run_turn_until_answered
from examples.demo.claims import Claims
from examples.demo.cluster import LEASE_TTL_S, DemoCluster

SESSIONS = 30
TURNS = 3
TASK_CALLS = 10
TASK_TOKENS = 40
NEW_SESSIONS = 12
AT_ONCE_S = 1.0

Placement = dict[str, Answer]
"""The latest answer of each session."""


async def placement(claims: Claims, cluster: DemoCluster, routers: list[aio.Channel]) -> Placement:
    """Sessions spread over the nodes and stay where they are; the latest answer of each."""
    claims.scene(
        "One session, one node",
        f"{SESSIONS} sessions take {TURNS} turns each, each turn through the next router. Every answer says in its "
        "headers which node owns the session and in which epoch.",
    )
    answers: dict[str, list[Answer]] = {f"demo-{number}": [] for number in range(SESSIONS)}
    for turn in range(TURNS):
        channel = routers[turn % len(routers)]
        latest = await asyncio.gather(*(run_turn(channel, session, "hello") for session in answers))
        for session, answer in zip(answers, latest, strict=True):
            answers[session].append(answer)
    per_node = Counter(turns[-1].node for turns in answers.values())
    table = Table("node", "sessions", "")
    for node in cluster.file.nodes:
        table.add_row(node.id, str(per_node[node.id]), "●" * per_node[node.id])
    claims.show(table)
    everything = [answer for turns in answers.values() for answer in turns]
    claims.claim(
        f"all {SESSIONS * TURNS} turns completed, each on the node that its headers name",
        all(answer.completed and answer.ran_on == answer.node for answer in everything),
    )
    claims.claim(
        f"the {SESSIONS} sessions are spread over all {len(cluster.file.nodes)} nodes",
        set(per_node) == {node.id for node in cluster.file.nodes},
        dict(per_node),
    )
    moved = [session for session, turns in answers.items() if len({(one.node, one.epoch) for one in turns}) != 1]
    claims.claim("every session stayed on its node, in one epoch, whichever router was asked", not moved, moved)
    return {session: turns[-1] for session, turns in answers.items()}


async def memory(claims: Claims, routers: list[aio.Channel]) -> None:
    """A session remembers."""
    claims.scene("A session remembers", "Two turns of one session, through two routers, with the agent `assistant`.")
    answers = []
    for channel, text in zip(cycle(routers), ("my name is Ada", "what is my name?"), strict=False):
        answers.append(await run_turn(channel, "ada", text))
        claims.show(f"you    {text}")
        claims.show(f"agent  {answers[-1].text}")
    claims.claim(
        "the second turn knows what the first one said",
        answers[-1].result == {"intent": "name", "name": "Ada"},
        answers[-1].result,
    )


async def single_flight(claims: Claims, cluster: DemoCluster, routers: list[aio.Channel]) -> None:
    """Equal task keys at the same time are one run."""
    claims.scene(
        "Ten callers, one run",
        f"{TASK_CALLS} clients ask for the same task key at the same time, through {len(routers)} routers. "
        f"The task streams {TASK_TOKENS} tokens in a second.",
    )
    before = len(cluster.audited("task_started"))
    data = {"tokens": float(TASK_TOKENS), "rate": float(TASK_TOKENS)}
    calls = [run_task(channel, "demo/report-42", data) for channel, _ in zip(cycle(routers), range(TASK_CALLS))]
    answers = await asyncio.gather(*calls)
    dispositions = Counter(answer.disposition for answer in answers)
    claims.show(", ".join(f"{count} {name}" for name, count in sorted(dispositions.items())))
    others = dispositions["JOINED"] + dispositions["REPLAYED"]
    claims.claim(
        f"one call started the run and {TASK_CALLS - 1} joined it",
        (dispositions["STARTED"], others) == (1, TASK_CALLS - 1),
        dict(dispositions),
    )
    started = len(cluster.audited("task_started")) - before
    claims.claim("the nodes' audit log has exactly one task_started", started == 1, started)
    claims.claim(
        f"all {TASK_CALLS} got the same {TASK_TOKENS} tokens from the first to the last",
        all(answer.completed and answer.result == {"tokens": float(TASK_TOKENS)} for answer in answers)
        and len({(answer.text, answer.node, answer.epoch) for answer in answers}) == 1,
    )


async def failover(claims: Claims, cluster: DemoCluster, routers: list[aio.Channel], placed: Placement) -> None:
    """A node dies; its sessions go on elsewhere."""
    channel = routers[0]
    victim = Counter(answer.node for answer in placed.values()).most_common(1)[0][0]
    orphans = [session for session, answer in placed.items() if answer.node == victim]
    claims.scene(
        "A node dies",
        f"{victim} owns {len(orphans)} sessions and is killed with -9. Its lease of {LEASE_TTL_S} s has to run out "
        "before others may own them: until then nobody can know that it is not merely slow.",
    )
    pid = cluster.kill(victim)
    killed_s = time.monotonic()
    claims.show(f"killed {victim}, pid {pid}")

    new = await asyncio.gather(*(run_turn(channel, f"new-{number}", "hello") for number in range(NEW_SESSIONS)))
    slowest_s = max(answer.took_s for answer in new)
    where = dict(Counter(answer.node for answer in new))
    claims.show(f"{NEW_SESSIONS} new sessions: {where}, within {slowest_s:.2f} s")
    claims.claim(
        "new sessions went to the other nodes at once, at the first try",
        slowest_s < AT_ONCE_S and victim not in where,
    )

    async def revived(session: str) -> tuple[Answer, float]:
        answer = await run_turn_until_answered(channel, session, "hello again")
        return answer, time.monotonic() - killed_s

    revivals = dict(zip(orphans, await asyncio.gather(*(revived(session) for session in orphans)), strict=True))
    last_s = max(after_s for _, after_s in revivals.values())
    where = dict(Counter(answer.node for answer, _ in revivals.values()))
    claims.show(f"{len(orphans)} old sessions: {where}, the last one {last_s:.2f} s after the kill")
    claims.claim(
        "all of the dead node's sessions answer again, on other nodes, in a higher epoch",
        all(
            answer.node != victim and answer.epoch > placed[session].epoch for session, (answer, _) in revivals.items()
        ),
    )
    claims.claim(f"that took less than the lease and a second ({LEASE_TTL_S + 1} s)", last_s < LEASE_TTL_S + 1, last_s)

    others = [session for session in placed if session not in revivals]
    later = await asyncio.gather(*(run_turn(channel, session, "hello again") for session in others))
    moved = [
        session
        for session, answer in zip(others, later, strict=True)
        if (answer.node, answer.epoch) != (placed[session].node, placed[session].epoch)
    ]
    claims.claim(f"the other {len(others)} sessions noticed nothing: same node, same epoch", not moved, moved)
