"""The store's fault: it takes nothing for a while."""

import asyncio
import sqlite3
from contextlib import closing
from pathlib import Path

from scripts.chaosing.evidence import Call
from scripts.chaosing.fault import Fault, Scene

STORE_TIMEOUT_S = 5.0
"""The nodes' default deadline of one transaction."""
AWAY_S = 3 * STORE_TIMEOUT_S
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
    told = await probe
    scene.expect(not told.ok, "the probe was told that it went well")
    during = [call for call in scene.traffic.calls if shut_ns < call.invoked_ns < back_ns]
    reasons = {call.reason for call in during if call.ended_ns}
    scene.expect("STORE_UNAVAILABLE" in reasons, f"nobody was told why, but {', '.join(sorted(reasons))}")
    scene.expect(not _acknowledged(during, known, shut_ns, back_ns), "a turn was acknowledged that cannot be stored")
    wrong = reasons & _OTHERWISE
    scene.expect(not wrong, f"clients were told {', '.join(sorted(wrong))}")
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


FAULTS = (Fault(9, "store-away", "UNAVAILABLE, no acknowledgement", store_away),)
