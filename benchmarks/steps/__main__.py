"""`scripts/bench_steps`: how long a step of a run takes beside the disk's fsync, and how many there are a second.

How to run it:

    scripts/bench_steps                                  # about half a minute, on SQLite in a temporary directory
    scripts/bench_steps --rounds 1 --steps 200
    scripts/bench_steps --directory /srv/disk            # where the database is, and the file of the fsyncs
    scripts/bench_steps --store postgresql+asyncpg://user:password@host/database

What it does: runs sessions in this process, on the node's own code from the session to the disk; claims and leases are
made up. In every round one session's turn first runs so many steps one after the other, each of which returns 500
bytes, and after each of them a page is written to a file beside the database and synchronised; then --sessions sessions
run as many each at the same time.

What the numbers mean: the time of a step is that of `await ctx.step(...)` with a function that returns at once; `more`
is what its median is above that of a write with its fsync in the same round. On PostgreSQL the fsync is this machine's,
not the server's.

Exit status: 0 if the median of the rounds is at most 1 ms more than the fsync, and at least 3,000 steps/s.
"""

import asyncio
import json
import os
import sys
import tempfile
import time
from collections.abc import AsyncIterator
from dataclasses import asdict, dataclass
from pathlib import Path
from statistics import median, quantiles
from typing import Annotated

import typer
import uvloop
from rich.console import Console

from agent_node.run.slots import RunSlots
from agent_node.session.host import Host
from agent_node.settings import NodeSettings
from agent_node.store.opening import open_store
from agent_node.store.sql.sessions import SqlStore
from agentring import log
from agentring.agent import AgentEvent, Context
from agentring.errors import NodeFenced
from agentring.ids import parse_session
from agentring.v1 import session_pb2
from agentring.v1.session_pb2 import ON_BUSY_ENQUEUE
from harness.clock import FakeClock
from harness.premises import FakeClaims, environment
from harness.stored_turns import HERE

_MOST_MORE_MS, _LEAST_STEPS_PER_S = 1.0, 3_000.0
_PAGE = b"x" * 4096
_RESULT = "x" * 500

app = typer.Typer(add_completion=False, pretty_exceptions_enable=False)


@dataclass(frozen=True, slots=True)
class Round:
    """One round."""

    step_p50_ms: float
    step_p99_ms: float
    fsync_p50_ms: float
    steps_per_s: float
    cpu_ms: float
    """Of this process for a step, of many sessions."""

    @property
    def more_ms(self) -> float:
        """What a step takes longer than the fsync."""
        return self.step_p50_ms - self.fsync_p50_ms


class Stepping:
    """The agent, and what it measures."""

    def __init__(self, steps: int, page: Path) -> None:
        self.steps = steps
        self.took_s: list[float] = []
        self.fsync_s: list[float] = []
        self._page = os.open(page, os.O_WRONLY | os.O_CREAT, 0o600)

    async def agent(self, ctx: Context) -> AsyncIterator[AgentEvent]:
        """Runs the steps; measured ones where its input says so."""

        async def returns_at_once(number: int) -> str:
            return _RESULT

        for number in range(self.steps):
            began_s = time.perf_counter()
            await ctx.step("step", returns_at_once, number)
            if ctx.input_text == "measured":
                self.took_s.append(time.perf_counter() - began_s)
                self.fsync_s.append(self._fsync())
        yield "done"

    def _fsync(self) -> float:
        began_s = time.perf_counter()
        os.pwrite(self._page, _PAGE, 0)
        os.fsync(self._page)
        return time.perf_counter() - began_s


@app.command(help=__doc__)
def bench(
    rounds: Annotated[int, typer.Option(min=1, help="How often both are measured.")] = 5,
    steps: Annotated[int, typer.Option(min=10, help="Of each session's turn.")] = 300,
    sessions: Annotated[int, typer.Option(min=1, help="At the same time.")] = 64,
    directory: Annotated[Path | None, typer.Option(help="On the disk to measure; default: a temporary one.")] = None,
    store: Annotated[str, typer.Option(help="Another store than SQLite; as a node's --store.")] = "",
    as_json: Annotated[bool, typer.Option("--json", help="Print JSON.")] = False,
) -> None:
    """Runs it."""
    log.configure("warning")
    found = uvloop.run(_measure(rounds, steps, sessions, directory, store))
    more_ms = median(each.more_ms for each in found)
    per_s = median(each.steps_per_s for each in found)
    if as_json:
        print(json.dumps([asdict(each) | {"more_ms": each.more_ms} for each in found], indent=1))
    else:
        console = Console(highlight=False, soft_wrap=True)
        for each in found:
            console.print(
                f"a step {each.step_p50_ms:.2f} ms (p99 {each.step_p99_ms:.2f}), a write with its fsync "
                f"{each.fsync_p50_ms:.2f} ms, {each.more_ms:.2f} ms more; {sessions} sessions: "
                f"{each.steps_per_s:,.0f} steps/s, {each.cpu_ms:.3f} ms of CPU each"
            )
        load = os.getloadavg()[0]
        console.print(f"median: {more_ms:.2f} ms more than the fsync; {per_s:,.0f} steps/s; load average {load:.1f}")
    sys.exit(0 if more_ms <= _MOST_MORE_MS and per_s >= _LEAST_STEPS_PER_S else 1)


async def _measure(rounds: int, steps: int, sessions: int, directory: Path | None, url: str) -> list[Round]:
    with tempfile.TemporaryDirectory(prefix="agentring-steps-", dir=directory) as made:
        place = Path(made)
        opened = await open_store(url or f"sqlite:///{place / 'store.db'}", HERE, timeout_s=10, max_history_turns=3)
        assert opened is not None
        stepping = Stepping(steps, place / "page")
        try:
            return [await _round(opened, stepping, place, number, sessions) for number in range(rounds)]
        finally:
            await opened.close()


async def _round(store: SqlStore, stepping: Stepping, place: Path, number: int, sessions: int) -> Round:
    stepping.took_s.clear()
    stepping.fsync_s.clear()
    settings = NodeSettings.model_validate({"node_id": "n1", "data_dir": place})
    clock = FakeClock()
    claims = FakeClaims()
    claims.revision = number * 10_000
    async with asyncio.TaskGroup() as tasks:
        slots = RunSlots(10_000, 0)
        agents = {"stepping": stepping.agent}
        env = environment(clock, timeout_s=600)
        host = Host(env, claims.as_claims, store, agents, clock, settings, slots, tasks, _admit)
        await _turn(host, f"one-{number}", "measured")
        began_s, cpu_s = time.perf_counter(), time.process_time()
        await asyncio.gather(*(_turn(host, f"many-{number}-{each}", "many") for each in range(sessions)))
        lasted_s, used_s = time.perf_counter() - began_s, time.process_time() - cpu_s
        host.drop_all(NodeFenced())
    count = stepping.steps * sessions
    return Round(
        step_p50_ms=median(stepping.took_s) * 1e3,
        step_p99_ms=quantiles(stepping.took_s, n=100)[98] * 1e3,
        fsync_p50_ms=median(stepping.fsync_s) * 1e3,
        steps_per_s=count / lasted_s,
        cpu_ms=used_s * 1e3 / count,
    )


async def _turn(host: Host, name: str, text: str) -> None:
    """A session's only turn, to its end."""
    session = await host.open(parse_session("", name), "stepping")
    await session.submit("t", session_pb2.Input(text=text), ON_BUSY_ENQUEUE)
    woken = asyncio.Event()
    session.log.subscribe(woken)
    while session.turn("t").end_seq is None:
        woken.clear()
        await woken.wait()
    session.log.unsubscribe(woken)


async def _admit(*_: object) -> bool:
    return True


if __name__ == "__main__":
    app()
