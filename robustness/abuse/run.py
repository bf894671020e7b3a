"""One attack after the other, each on a fresh router, and what was measured of it.

Order: the neighbours warm up; the attacker prepares; the neighbours are measured BEFORE; the attack begins, and goes on
for the given time; the neighbours are measured from its beginning until the attacker has let go of everything.
"""

import asyncio
import tempfile
from collections.abc import Callable, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

from harness.abuse import SILENT, STAYED, Outcome
from robustness.abuse.cases import CALM, MAX_P99_MS, MAX_RATIO, Case
from robustness.abuse.memory import forget_peak, peak_bytes, resident_bytes
from robustness.abuse.partner import Partner, partner
from robustness.abuse.stand import AttackedRouter, Stand, open_router, open_stand, share_cores

_WARM_S = 2.0
_AFTER_S = 2.0


@dataclass
class Row:
    """What one attack came to."""

    case: Case
    before: dict[str, Any]
    during: dict[str, Any]
    before_bytes: int
    peak_bytes: int
    after_bytes: int
    """Two seconds later."""
    outcome: Outcome
    router_lives: bool
    faults: list[str] = field(default_factory=list)
    """What is not as it must be."""

    @property
    def grown_bytes(self) -> int:
        """At the peak."""
        return self.peak_bytes - self.before_bytes

    def judge(self) -> None:
        """Finds the faults."""
        case, outcome, during = self.case, self.outcome, self.during
        unlike = {end: count for end, count in outcome.ends.items() if end not in case.ends}
        if unlike:
            self.faults.append("ended by " + ", ".join(sorted(unlike)))
        refused = outcome.ends[CALM] + outcome.resets[CALM] + outcome.statuses["8"]
        if refused < case.refused:
            self.faults.append(f"{refused} refused, not {case.refused}")
        if during["failed"]:
            self.faults.append(f"{during['failed']} of the neighbours' turns failed ({during['first_failure']})")
        limit_ms = self.before["p99_ms"] * MAX_RATIO if case.is_relative else MAX_P99_MS
        if during["p99_ms"] is None or during["p99_ms"] > limit_ms:
            self.faults.append(f"p99 over {limit_ms:.1f} ms")
        if self.grown_bytes > case.max_bytes:
            self.faults.append(f"memory grew by more than {case.max_bytes >> 20} MiB")
        if not self.router_lives:
            self.faults.append("the router has ended")


async def run(
    cases: Sequence[Case], seconds: float, router_flags: tuple[str, ...], progress: Callable[[Row], None]
) -> list[Row]:
    """Every row. Raises ChildFailed, EtcdUnusable, PartnerFailed."""
    rows = []
    router_core, _ = share_cores()
    with tempfile.TemporaryDirectory(prefix="agentring-abuse-") as directory:
        async with open_stand(Path(directory)) as stand:
            for case in cases:
                row = await _attack(stand, case, seconds, router_core, router_flags)
                rows.append(row)
                progress(row)
    return rows


async def _attack(stand: Stand, case: Case, seconds: float, core: int, flags: tuple[str, ...]) -> Row:
    async with (
        open_router(stand, core, flags) as router,
        partner("robustness.abuse.neighbour", router.address) as neighbour,
        partner("robustness.abuse.attacker", case.attack, router.address, str(case.size)) as attacker,
    ):
        await attacker.receive()
        await asyncio.sleep(_WARM_S)
        return await _measure(case, max(seconds, case.min_seconds), seconds, router, neighbour, attacker)


async def _measure(
    case: Case, attack_s: float, before_s: float, router: AttackedRouter, neighbour: Partner, attacker: Partner
) -> Row:
    await neighbour.ask("warm")
    await asyncio.sleep(before_s)
    before = await neighbour.ask("before")
    forget_peak(router.pid)
    before_bytes = resident_bytes(router.pid)
    attacker.send("go")
    await asyncio.sleep(attack_s)
    outcome = Outcome.from_json(await attacker.ask("over"))
    during = await neighbour.ask("during")
    lives = not router.child.has_ended
    peak = peak_bytes(router.pid) if lives else 0
    await asyncio.sleep(_AFTER_S)
    after = resident_bytes(router.pid) if lives else 0
    row = Row(case, before, during, before_bytes, peak, after, outcome, lives)
    row.judge()
    return row


def end_of(outcome: Outcome) -> str:
    """How the attacker was ended, in few words."""
    names = {SILENT: "closed", STAYED: "stayed"}
    words = [f"{names.get(end, end)}{f' x{count}' if count > 1 else ''}" for end, count in outcome.ends.most_common()]
    if refused := outcome.statuses["8"] + outcome.resets[CALM]:
        words.append(f"{refused} calls shed")
    if turned_away := outcome.resets["REFUSED_STREAM"]:
        words.append(f"{turned_away} refused")
    return ", ".join(words)
