"""The store's faults: it takes nothing for a while; what is in its place is not the file that was opened."""

import asyncio
import shutil
import sqlite3
from contextlib import closing
from pathlib import Path

from robustness.chaos.faults.fault import Fault, Scene
from robustness.chaos.validate.evidence import Call, now_ns

STORE_TIMEOUT_S = 5.0
"""The nodes' default deadline of one transaction."""
AWAY_S = 3 * STORE_TIMEOUT_S
NOTICED_S = 3.0
"""A node that is asked for nothing looks every 2 s."""
SETTLES_S = 0.3
"""What was in the store already may be told so long after it was shut."""
_OTHERWISE = frozenset({"INTERNAL", "UNKNOWN", "DATA_LOSS", "SESSION_CORRUPT"})
"""What no client may be told for it."""


async def store_away(scene: Scene) -> None:
    """Somebody holds the store's write lock for longer than a transaction may take: nothing is acknowledged meanwhile,
    and callers are told why, or to try again."""
    router = sorted(scene.world.routers)[0]
    with closing(_connect(scene.world.store_file)) as other:
        await asyncio.to_thread(other.execute, "BEGIN IMMEDIATE")
        shut_ns = scene.world.mark("store away")
        known = {(call.subject, call.turn) for call in scene.traffic.calls}
        session_id = f"probe-{scene.drawn.getrandbits(32):x}"
        probe = asyncio.create_task(
            scene.traffic.turn("probe", session_id, "t1", {"steps": 1}, router, timeout_s=AWAY_S - 0.5)
        )
        await asyncio.sleep(AWAY_S)
        back_ns = scene.world.mark("store back")
        other.execute("ROLLBACK")
    probed = await probe
    scene.expect(not probed.ok, "the probe was told that it went well")
    during = [call for call in scene.traffic.calls if shut_ns < call.invoked_ns < back_ns]
    reasons = {call.reason for call in during if call.ended_ns}
    scene.expect("STORE_UNAVAILABLE" in reasons, f"nobody was told why, but {', '.join(sorted(reasons))}")
    scene.expect(not _acknowledged(during, known, shut_ns, back_ns), "a turn was acknowledged that cannot be stored")
    wrong = reasons & _OTHERWISE
    scene.expect(not wrong, f"clients were told {', '.join(sorted(wrong))}")
    await scene.expect_recovery()


async def replaced(scene: Scene) -> None:
    """The store's file, or its log, gives way to a copy or to nothing, and comes back: nobody is told anything of what
    is written meanwhile, every node says so, and goes on once it is back."""
    store = scene.world.store_file
    ends = scene.drawn.choice((("", "-wal", "-shm"), ("",), ("-wal",), ("-shm",)))
    copies = scene.drawn.random() < 0.5
    there = [(store.with_name(store.name + end), store.with_name(f"away{end}")) for end in ends]
    known = {(call.subject, call.turn) for call in scene.traffic.calls}
    begun_ns = scene.world.mark("store replaced" if copies else "store gone")
    for path, away in there:
        path.rename(away)
        if copies:
            shutil.copy(away, path)
    lost_ns = now_ns()
    for name in scene.world.nodes:  # one may have noticed before the last file was in its place
        await scene.expect_fence(name, begun_ns, NOTICED_S)
    back_ns = scene.world.mark("store back")
    for path, away in there:
        path.unlink(missing_ok=True)
        away.rename(path)
    during = [call for call in scene.traffic.calls if lost_ns < call.invoked_ns < back_ns]
    scene.expect(not _acknowledged(during, known, lost_ns, back_ns), "a turn was acknowledged that is not in the store")
    await scene.expect_recovery()


def _connect(path: Path) -> sqlite3.Connection:
    return sqlite3.connect(path, isolation_level=None, timeout=STORE_TIMEOUT_S, check_same_thread=False)


def _acknowledged(calls: list[Call], known: set[tuple[str, str]], shut_ns: int, back_ns: int) -> list[Call]:
    """Those that were told so of a turn that was not sent before; what was stored before may be told again."""
    latest_ns = shut_ns + int(SETTLES_S * 1e9)
    return [
        call
        for call in calls
        if call.acknowledged_ns
        and latest_ns < call.acknowledged_ns < back_ns
        and (call.subject, call.turn) not in known
    ]


FAULTS = (
    Fault(9, "store-away", "UNAVAILABLE, no acknowledgement", store_away, on_file=True),
    Fault(24, "store-replaced", "nothing acknowledged, every node fenced", replaced, on_file=True),
)
