"""The live display: a bar, turns per second, errors.

Guarantees to write to the given console alone, and nothing where it is no terminal. Called by `run`.
"""

import asyncio
from collections import deque
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager

from rich.console import Console
from rich.progress import BarColumn, Progress, TaskID, TextColumn, TimeElapsedColumn

from benchmarks.load.measure import Tally
from benchmarks.load.plan import Plan

_REFRESH_S = 0.2
_SPEED_S = 2.0
"""The speed shown is the mean over so long."""


@asynccontextmanager
async def live_progress(plan: Plan, tally: Tally, console: Console) -> AsyncIterator[None]:
    """Shows the run's progress while the block runs."""
    if not console.is_terminal:
        yield
        return
    display = Progress(
        BarColumn(bar_width=None),
        TextColumn("{task.fields[turns]}"),
        TextColumn("{task.fields[speed]:,.0f} turns/s"),
        TextColumn("[{task.fields[colour]}]{task.fields[errors]:,} errors"),
        TimeElapsedColumn(),
        console=console,
        auto_refresh=False,
        expand=True,
    )
    with display:
        async with asyncio.TaskGroup() as tasks:
            refreshing = tasks.create_task(_refresh(display, plan, tally))
            try:
                yield
            finally:
                refreshing.cancel()


async def _refresh(display: Progress, plan: Plan, tally: Tally) -> None:
    bar = display.add_task("turns", turns="", speed=0.0, errors=0, colour="green")
    loop = asyncio.get_running_loop()
    past: deque[tuple[float, int]] = deque(maxlen=round(_SPEED_S / _REFRESH_S))
    try:
        while True:
            _show(display, bar, plan, tally, loop.time(), past)
            await asyncio.sleep(_REFRESH_S)
    finally:
        _show(display, bar, plan, tally, loop.time(), past)


def _show(
    display: Progress, bar: TaskID, plan: Plan, tally: Tally, now_s: float, past: deque[tuple[float, int]]
) -> None:
    done = tally.completed + tally.failed
    past.append((now_s, done))
    then_s, done_then = past[0]
    planned = plan.turns_planned
    errors = tally.problems.total()
    display.update(
        bar,
        total=planned or plan.duration_s,
        completed=done if planned else now_s - tally.start_s,
        turns=f"{done:,}/{planned:,} turns" if planned else f"{done:,} turns",
        speed=(done - done_then) / (now_s - then_s) if now_s > then_s else 0.0,
        errors=errors,
        colour="red" if errors else "green",
        refresh=True,
    )
