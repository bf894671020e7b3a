"""Programs that store by key in steps, outside of them and beside them, cut off at any commit, before or after it has
landed: each change is in what is stored once, whatever ran again, and what is read agrees with a model."""

import asyncio
from collections.abc import AsyncIterator
from dataclasses import dataclass, field
from typing import Any
from zlib import crc32

from hypothesis import given, settings
from hypothesis import strategies as st

from agent_node.run.outcome import Completed
from agentring.agent import AgentEvent, Context, StepFailed
from harness.attempts import Run

KEYS = st.sampled_from("ab")
ACTIONS = st.tuples(st.sampled_from(["append", "fail", "delete own", "outside", "latest"]), KEYS)
PROGRAMS = st.lists(st.one_of(ACTIONS, st.lists(ACTIONS, min_size=2, max_size=3)), min_size=1, max_size=4)
CRASHES = st.lists(st.integers(2, 10).map(lambda half: half / 2), max_size=4)
SCHEDULES = st.lists(st.integers(0, 3), min_size=5, max_size=5)


@dataclass
class World:
    """What the agent's functions are made to do."""

    schedule: list[int]
    wrong: list[str] = field(default_factory=list)

    async def pause(self, name: str) -> None:
        for _ in range(self.schedule[crc32(name.encode()) % len(self.schedule)]):
            await asyncio.sleep(0)

    async def append(self, ctx: Context, name: str, key: str, *, fails: bool = False, deletes: bool = False) -> None:
        """Adds its name to the names under a key."""
        before = await ctx.storage.get(key) or b""
        await self.pause(name)
        await ctx.storage.put(key, before + name.encode() + b";")
        await ctx.storage.put(f"own {name}", b"1")
        if await ctx.storage.get(key) != before + name.encode() + b";":
            self.wrong.append(f"{name} does not read what it wrote")
        if deletes:
            await ctx.storage.delete(f"own {name}")
        await self.pause(name)
        if fails:
            raise ValueError(name)


async def carry_out(ctx: Context, world: World, action: tuple[str, str], name: str) -> None:
    kind, key = action
    if kind == "outside":
        await ctx.storage.put(f"own {name}", b"outside")
        if await ctx.storage.get(f"own {name}") != b"outside":
            world.wrong.append(f"{name} was not written")
    elif kind == "latest":
        await ctx.storage.latest.change({f"own {name}": b"latest", f"no {name}": None})
        if await ctx.storage.latest.get(f"own {name}") != b"latest":
            world.wrong.append(f"{name} is not the latest")
    else:
        try:
            options: dict[str, Any] = {"fails": kind == "fail", "deletes": kind == "delete own"}
            await ctx.step(name, world.append, ctx, name, key, key=name, **options)
        except StepFailed as failed:
            if (kind, failed.type_name) != ("fail", "ValueError"):
                world.wrong.append(f"{name} failed: {failed}")


def expected(program: list[Any]) -> tuple[dict[str, set[str]], set[str]]:
    """The names under each key, and the keys that have a value of their own."""
    names: dict[str, set[str]] = {}
    own = set()
    for name, (kind, key) in each_action(program):
        if kind in ("append", "delete own"):
            names.setdefault(key, set()).add(name)
        if kind in ("append", "outside", "latest"):
            own.add(f"own {name}")
    return names, own


def each_action(program: list[Any]) -> list[tuple[str, tuple[str, str]]]:
    found = []
    for place, part in enumerate(program):
        branches = part if isinstance(part, list) else [part]
        found += [(f"{place}.{branch}", action) for branch, action in enumerate(branches)]
    return found


async def check(program: list[Any], crashes: list[float], schedules: list[list[int]]) -> None:
    world = World(schedules[0])

    async def agent(ctx: Context) -> AsyncIterator[AgentEvent]:
        for place, part in enumerate(program):
            branches = part if isinstance(part, list) else [part]
            await asyncio.gather(
                *(carry_out(ctx, world, action, f"{place}.{branch}") for branch, action in enumerate(branches))
            )
        yield "end"

    run = Run(agent, step_wait_s=5.0)
    for number, dies_at in enumerate([*crashes, float("inf")]):
        world.schedule = schedules[number % len(schedules)]
        outcome = await run.attempt(dies_at)
        if outcome is not None:
            assert isinstance(outcome, Completed), outcome
            break
    assert world.wrong == []
    names, own = expected(program)
    stored = run.kept.stored()
    assert {key for key in stored if len(key) > 1} == own
    for key, wanted in names.items():
        found = stored[key].decode().split(";")[:-1]
        assert sorted(found) == sorted(wanted), "each once, and none was lost"
    assert {key for key in stored if len(key) == 1} == set(names)


@settings(deadline=None, max_examples=100)
@given(PROGRAMS, CRASHES, st.lists(SCHEDULES, min_size=2, max_size=2))
def test_any_changes_cut_off_anywhere(program: list[Any], crashes: list[float], schedules: list[list[int]]) -> None:
    asyncio.run(check(program, crashes, schedules))
