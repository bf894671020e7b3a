"""A session whose store fails: it fails as a whole, and publishes nothing that is not stored."""

import asyncio

import pytest

from agentring.errors import (
    NodeDraining,
    StaleEpoch,
)
from harness.premises import Stage
from harness.sessions import acting
from harness.stores import RecordingStore


class Broken(Exception):
    """A store's fault."""


@pytest.mark.parametrize("method", ["accept_turn", "commit_turn", "end_turn", "close_session"])
@pytest.mark.parametrize("error", [Broken(), StaleEpoch()], ids=["fault", "refusal"])
async def test_a_session_whose_store_fails_fails_and_publishes_nothing_that_is_not_stored(
    stage: Stage, method: str, error: Exception
) -> None:
    store = RecordingStore()
    async with acting(stage.held, store=store) as actor:
        await actor.submit("a")
        await actor.submit("b")
        await stage.begun.wait()
        store.errors[method] = error
        match method:
            case "accept_turn":
                with pytest.raises(type(error)):
                    await actor.submit("c")
            case "commit_turn":
                stage.go.set()
            case "end_turn":
                with pytest.raises(type(error)):
                    await actor.session.cancel("b")
            case "close_session":
                with pytest.raises(type(error)):
                    await actor.session.close(0.0)
        await asyncio.wait([actor.runner])
        assert actor.failure is error
        assert store.calls[-1] == method  # nothing is written after it
        assert not any("completed" in line or "accepted c" in line for line in actor.kinds)
        with pytest.raises(type(error)):
            await actor.submit("d")
        actor.session.drop(NodeDraining())  # as a host does
        with pytest.raises(NodeDraining):
            await actor.submit("d")


async def test_a_store_that_fails_while_a_turn_runs_ends_the_turn_at_once(stage: Stage) -> None:
    store = RecordingStore()
    async with acting(stage.held, store=store) as actor:
        await actor.submit("a")
        await actor.submit("b")
        await stage.begun.wait()
        cancel = asyncio.ensure_future(actor.session.cancel("a"))
        store.errors["end_turn"] = Broken()
        with pytest.raises(Broken):
            await actor.session.cancel("b")
        with pytest.raises(Broken):
            await cancel
        await asyncio.wait([actor.runner])
