"""Streams of a tenant that has limits."""

import asyncio
from functools import partial

import pytest

from agent_node.quota.quota import Held
from agentring import metadata
from agentring.auth.access import Caller
from agentring.auth.identity import Identity, Role
from agentring.errors import NotOwner, QuotaExceeded
from harness.calls import FakeConversation
from harness.limited_nodes import quota_of
from harness.sessions import acting, quick


async def test_a_stream_beyond_the_limit_is_refused_until_another_ends_and_one_that_moves_is_not() -> None:
    quota = quota_of("[tenant]\nstreams = 2")
    async with acting(quick, quota=quota) as actor:
        streams = [FakeConversation(actor.session) for _ in range(3)]
        for stream in streams:
            stream.open()
        with pytest.raises(QuotaExceeded) as refused:
            await streams[2].served
        assert (refused.value.what, refused.value.limit, streams[2].accepted) == ("streams", "2", False)
        moved = FakeConversation(actor.session, {metadata.FRAMES: "1 1"})
        moved.open()
        await moved.until(lambda: moved.accepted)
        assert quota.held(Held.STREAMS, "default") == 3
        for stream in (moved, *streams[:2]):
            stream.close()
            await stream.served
        assert quota.held(Held.STREAMS, "default") == 0
        again = FakeConversation(actor.session)
        again.open()
        await again.until(lambda: again.accepted)
        again.served.cancel()
        await asyncio.wait([again.served])
        assert quota.held(Held.STREAMS, "default") == 0


async def test_a_full_node_still_says_where_a_session_is() -> None:
    async with acting(quick, quota=quota_of("[tenant]\nstreams = 0")) as actor:
        stream = FakeConversation(actor.session)
        stream.elsewhere = NotOwner("n2", "n2:1", 1)
        stream.open()
        with pytest.raises(NotOwner):
            await stream.served


async def test_a_refused_turn_and_a_refused_reply_are_answered_and_the_stream_goes_on() -> None:
    now_s = [0.0]
    quota = quota_of("[tenant]\nturns_per_s = 1\n[tenants.default]\nbytes_in_per_s = 100", now_s=lambda: now_s[0])
    async with acting(quick, quota=quota) as actor:
        stream = FakeConversation(actor.session)
        stream.open()
        stream.turn("a")
        stream.turn("b")
        await stream.until(lambda: stream.of("turn_rejected"))
        now_s[0] += 1
        stream.turn("b", "x" * 200)
        stream.turn("c")
        await stream.until(lambda: len(stream.of("turn_rejected")) == 2)
        stream.close()
        await stream.served
        first, second = (event.turn_rejected for event in stream.of("turn_rejected"))
        assert (first.reason, first.frame, first.retry_delay.ToMilliseconds()) == ("QUOTA", 3, 1001)
        assert "what=turns_per_s, limit=1, scope=tenant" in first.detail
        assert (second.frame, second.detail.count("turns_per_s")) == (5, 1)
        assert [event.turn_id for event in stream.of("turn_completed")] == ["a", "b"]
        assert not any(quota.totals().values())


async def test_a_subject_has_limits_of_its_own_within_its_tenants() -> None:
    quota = quota_of("[tenant]\nstreams = 3\n[subject]\nstreams = 1\n[tenants.default.subjects.bob]\nstreams = 2")
    async with acting(quick, quota=quota) as actor:
        streams, ends = list[FakeConversation](), list[str]()
        for subject in ("ann", "ann", "bob", "bob", "bob", "eve"):
            stream = FakeConversation(actor.session)
            stream.caller = Caller(Identity("default", subject, frozenset({Role.user}), "key", None), "default")
            stream.open()
            try:
                await stream.until(partial(FakeConversation.of, stream, "opened"))
            except QuotaExceeded as refused:
                ends.append(refused.scope)
            else:
                ends.append(subject)
                streams.append(stream)
        assert ends == ["ann", "subject", "bob", "bob", "tenant", "tenant"]
        for stream in streams:
            stream.close()
            await stream.served
        assert not any(quota.totals().values())
