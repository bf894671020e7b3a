"""Programs of steps in sequence, side by side and inside each other, cut off anywhere, as often as may be: no step that
has an outcome runs again, outcomes come in the order of their commits, and the end is that of a run without a fault."""

import asyncio
from collections.abc import AsyncIterator
from dataclasses import dataclass, field
from typing import Any
from zlib import crc32

from hypothesis import given, settings
from hypothesis import strategies as st

from agent_node.run.outcome import Completed
from agent_node.store.step_records import StepState
from agentring.agent import AgentEvent, Context, StepFailed, StepUnknown
from harness.attempts import Run

LEAVES = st.sampled_from(["ok", "fails", "once"])
PROGRAMS = st.recursive(
    LEAVES,
    lambda inner: st.tuples(st.sampled_from(["seq", "par", "nest"]), st.lists(inner, min_size=1, max_size=3)),
    max_leaves=7,
)
SCHEDULES = st.lists(st.integers(0, 4), min_size=8, max_size=8)
CRASHES = st.lists(st.integers(2, 16).map(lambda half: half / 2), max_size=5)
ENDED = (StepState.COMPLETED, StepState.FAILED, StepState.UNKNOWN)


@dataclass
class World:
    """What the functions have done outside."""

    schedule: list[int]
    run: Run | None = None
    calls: dict[str, int] = field(default_factory=dict)
    handed: list[str] = field(default_factory=list)
    """The steps of this attempt, in the order in which the agent got them."""
    ran_again: list[str] = field(default_factory=list)
    """Steps that were called though they had an outcome."""

    def ended(self) -> list[str]:
        """Steps with an outcome, in the order of their commits."""
        assert self.run is not None
        last = {row.name: row for row in self.run.kept.rows}
        return [row.name for row in self.run.kept.rows if last[row.name] is row and row.state in ENDED]

    async def called(self, name: str, kind: str) -> str:
        self.calls[name] = self.calls.get(name, 0) + 1
        if name in self.ended():
            self.ran_again.append(name)
        for _ in range(self.schedule[crc32(name.encode()) % len(self.schedule)]):
            await asyncio.sleep(0)
        if kind == "fails":
            raise ValueError(name)
        return f"did {name}"


async def carry_out(ctx: Context, world: World, program: Any, name: str) -> Any:
    if isinstance(program, str):
        return await one(ctx, world, name, world.called, name, program, idempotent=program != "once")
    kind, parts = program
    if kind == "seq":
        return [await carry_out(ctx, world, part, f"{name}.{place}") for place, part in enumerate(parts)]
    if kind == "par":
        branches = (carry_out(ctx, world, part, f"{name}.{place}") for place, part in enumerate(parts))
        return list(await asyncio.gather(*branches))

    async def nested() -> Any:
        return [await carry_out(ctx, world, part, f"{name}.{place}") for place, part in enumerate(parts)]

    return await one(ctx, world, name, nested)


async def one(ctx: Context, world: World, name: str, function: Any, *args: Any, idempotent: bool = True) -> Any:
    try:
        return await ctx.step(name, function, *args, idempotent=idempotent)
    except StepFailed as failed:
        return f"failed {failed.text}"
    except StepUnknown:
        return "unknown"
    finally:
        world.handed.append(name)


def expected(program: Any, name: str) -> Any:
    """What a run without a fault returns."""
    if isinstance(program, str):
        return f"failed {name}" if program == "fails" else f"did {name}"
    return [expected(part, f"{name}.{place}") for place, part in enumerate(program[1])]


def same_but_unknown(found: Any, wanted: Any) -> bool:
    if isinstance(wanted, list):
        return isinstance(found, list) and all(
            same_but_unknown(one, other) for one, other in zip(found, wanted, strict=True)
        )
    return bool(found in (wanted, "unknown"))


def is_inside(name: str, others: set[str]) -> bool:
    return any(name.startswith(f"{other}.") for other in others)


async def check(program: Any, crashes: list[float], schedules: list[list[int]]) -> None:
    world = World(schedules[0])
    result: list[Any] = []

    async def agent(ctx: Context) -> AsyncIterator[AgentEvent]:
        result.append(await carry_out(ctx, world, program, "p"))
        yield "end"

    world.run = run = Run(agent, step_wait_s=5.0)
    for number, dies_at in enumerate([*crashes, float("inf")]):
        world.schedule = schedules[number % len(schedules)]
        world.handed = []
        before = world.ended()
        outcome = await run.attempt(dies_at)
        assert world.ran_again == []
        # Of what had an outcome before, all that counts is handed over in the order of the commits.
        counts = [name for name in before if not is_inside(name, set(before))]
        handed = [name for name in world.handed if name in counts]
        assert handed == counts[: len(handed)]
        if outcome is not None:
            assert isinstance(outcome, Completed), outcome
            break
    assert same_but_unknown(result[-1], expected(program, "p"))
    ordinals = [row.ordinal for row in run.kept.rows]
    assert ordinals == list(range(1, len(ordinals) + 1))
    started = {row.name for row in run.kept.rows if row.state == StepState.STARTED}
    assert all(world.calls.get(name, 0) <= 1 for name in started), "one that must not run twice did"
    again = await run.attempt()  # as if the end had not been stored
    assert isinstance(again, Completed), again
    assert result[-1] == result[-2]
    assert world.ran_again == []


@settings(deadline=None, max_examples=150)
@given(PROGRAMS, CRASHES, st.lists(SCHEDULES, min_size=3, max_size=3))
def test_any_program_cut_off_anywhere(program: Any, crashes: list[float], schedules: list[list[int]]) -> None:
    asyncio.run(check(program, crashes, schedules))
