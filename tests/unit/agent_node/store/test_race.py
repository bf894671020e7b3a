"""Two nodes' stores on one database, at random: whatever the order, the writes of each session are those of an epoch
that was the highest when they landed, and nothing that was acknowledged is lost."""

import asyncio
import random
from collections.abc import Awaitable, Callable
from dataclasses import dataclass, field

import pytest

from agent_node.store import Ownership, Store, ToolStart
from agent_node.store.sql.sessions import SqlStore
from agentring.errors import StaleEpoch, StoreUnavailable
from agentring.ids import SessionRef, parse_session
from harness.stored_turns import accepted, completed, epoch

SESSIONS = 3
STEPS = 60


@dataclass
class History:
    """What one session's owners were told."""

    ref: SessionRef
    revision: int = 0
    """Of the last claim."""
    landed: list[tuple[int, int]] = field(default_factory=list)
    """Commit number and epoch of everything that was acknowledged."""
    accepted: dict[str, int] = field(default_factory=dict)
    completed: set[str] = field(default_factory=set)
    refused: int = 0
    unknown: int = 0


async def own(store: Store, name: str, history: History, chance: random.Random) -> None:
    """A node that claims the session, works on it without looking whether it still may, and claims it again."""
    for step in range(STEPS):
        history.revision += 1
        ownership = Ownership(history.ref, epoch(history.revision), f"{name}/{step}")
        await asyncio.sleep(chance.random() * 0.002)
        try:
            session = await store.activate(ownership, "agent")
            history.landed.append((session.commit, session.epoch))
            number = session.turns_accepted
            for _ in range(chance.randrange(4)):
                await asyncio.sleep(chance.random() * 0.002)
                number += 1
                turn = accepted(number, f"{name}.{step}.{number}")
                acceptance = await store.accept_turn(ownership, turn, 0)
                history.landed.append((acceptance.commit, ownership.epoch))
                history.accepted[turn.turn_id] = number
                start = ToolStart(turn.turn_id, 1, f"{turn.turn_id}.1.1", "tool")
                history.landed.append((await store.start_tool(ownership, start), ownership.epoch))
                history.landed.append((await store.commit_turn(ownership, completed(turn)), ownership.epoch))
                history.completed.add(turn.turn_id)
        except StaleEpoch:
            history.refused += 1
        except StoreUnavailable:  # a server ends the connection of a process that was stalled; it may have landed
            history.unknown += 1


@pytest.fixture(params=["sqlite", "postgresql"])
def kind(request: pytest.FixtureRequest) -> str:
    return str(request.param)


@pytest.mark.parametrize("seed", range(3))
async def test_the_writes_of_racing_owners_never_mix(
    url: str, open_sql: Callable[..., Awaitable[SqlStore]], seed: int
) -> None:
    stores = [await open_sql(url), await open_sql(url)]
    histories = [History(parse_session("", f"s{number}")) for number in range(SESSIONS)]
    async with asyncio.TaskGroup() as tasks:
        for number, history in enumerate(histories):
            for node, store in enumerate(stores):
                tasks.create_task(own(store, f"n{node}", history, random.Random(f"{seed}.{number}.{node}")))

    for history in histories:
        numbers = [number for number, _ in sorted(history.landed)]
        assert len(set(numbers)) == len(numbers)
        epochs = [landed_in for _, landed_in in sorted(history.landed)]
        assert epochs == sorted(epochs)
        assert history.refused, "the race never happened"
        last = Ownership(history.ref, epoch(history.revision + 1), "n9/1")
        found = await stores[0].activate(last, "agent")
        unknown = range(history.unknown + 1)
        assert found.commit - (max(numbers) + 1) in unknown
        assert found.turns_accepted - len(history.accepted) in unknown
        assert found.turns_completed - len(history.completed) in unknown
        assert len(set(history.accepted.values())) == len(history.accepted)
        assert set(history.accepted.values()) <= set(range(1, found.turns_accepted + 1))
