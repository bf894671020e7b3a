"""A session that is dropped, or whose lease may have expired: nothing is stored or published any more."""

import asyncio

import pytest

from agentring.errors import (
    NodeFenced,
)
from harness.clock import PATIENCE_S
from harness.premises import TTL_S, Stage
from harness.sessions import acting, quick
from harness.stores import RecordingStore


async def test_a_drop_ends_every_wait_at_once(stage: Stage) -> None:
    async with acting(stage.held) as actor:
        for turn_id in "ab":
            await actor.submit(turn_id)
        await stage.begun.wait()
        draining = asyncio.ensure_future(actor.drain(PATIENCE_S))
        actor.store.hold("end_turn")
        calls = [
            asyncio.ensure_future(actor.session.cancel("a")),
            asyncio.ensure_future(actor.submit("c")),
            asyncio.ensure_future(actor.session.close(0.0)),
        ]
        await asyncio.sleep(0)
        actor.drop()
        actor.store.held["end_turn"].set()
        head_seq = actor.session.log.head_seq
        assert [type(error) for error in await asyncio.gather(*calls, return_exceptions=True)] == [NodeFenced] * 3
        await draining
        assert actor.session.log.head_seq == head_seq
        assert isinstance(actor.session.log.end_error, NodeFenced)


@pytest.mark.parametrize("method", ["accept_turn", "commit_turn"])
async def test_what_the_store_answers_after_a_drop_is_not_published(method: str) -> None:
    store = RecordingStore()
    async with acting(quick, store=store) as actor:
        held = store.hold(method)
        submitting = asyncio.ensure_future(actor.submit("a"))
        await store.reached[method].wait()
        kinds = actor.kinds
        actor.session.drop(NodeFenced())
        held.set()
        if method == "accept_turn":
            with pytest.raises(NodeFenced):
                await submitting
        await asyncio.wait([actor.runner], timeout=0.01)
        assert actor.kinds == kinds


@pytest.mark.parametrize("method", ["accept_turn", "commit_turn"])
async def test_what_the_store_answers_past_the_fence_is_not_published(method: str) -> None:
    store = RecordingStore()
    async with acting(quick, store=store) as actor:
        held = store.hold(method)
        submitting = asyncio.ensure_future(actor.submit("a"))
        await store.reached[method].wait()
        kinds = actor.kinds
        actor.clock.advance(TTL_S)
        held.set()
        await asyncio.wait([submitting if method == "accept_turn" else actor.runner])
        assert actor.kinds == kinds


async def test_past_the_fence_nothing_is_started_stored_or_published(stage: Stage) -> None:
    async with acting(stage.held) as actor:
        await actor.submit("a")
        await actor.submit("b")
        await stage.begun.wait()
        calls, kinds = list(actor.store.calls), actor.kinds
        actor.clock.advance(TTL_S)
        for call in (actor.submit("c"), actor.session.cancel("b"), actor.session.close(0.0)):
            with pytest.raises(NodeFenced):
                await call
        stage.go.set()
        await asyncio.wait([actor.runner])
        assert isinstance(actor.failure, NodeFenced)
        assert (actor.store.calls, actor.kinds, stage.runs) == (calls, kinds, 1)
