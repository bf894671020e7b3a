"""Tasks whose retention is over are deleted, by and by, until none is left; a store that is away is asked again."""

import asyncio
from typing import cast

import structlog

from agent_node.store import TaskStore
from agent_node.task.expiry import expire_tasks
from agentring.errors import StoreUnavailable
from harness.clock import FakeClock
from harness.expiring import Expiring


async def test_it_deletes_until_none_is_left_and_then_waits() -> None:
    clock, store = FakeClock(), Expiring(100, 7, 0)
    expiring = asyncio.create_task(expire_tasks(cast(TaskStore, store), clock))
    await clock.next_due_s()
    assert store.calls == 0
    clock.advance(60.0)
    await clock.next_due_s()
    assert store.calls == 3
    expiring.cancel()


async def test_a_store_that_is_away_is_asked_again_the_next_time() -> None:
    clock, store = FakeClock(), Expiring(StoreUnavailable(), 1, 0)
    with structlog.testing.capture_logs() as logged:
        expiring = asyncio.create_task(expire_tasks(cast(TaskStore, store), clock))
        for calls in (1, 3):
            await clock.next_due_s()
            clock.advance(60.0)
            await clock.next_due_s()
            assert store.calls == calls
        expiring.cancel()
    assert [(line["event"], line["reason"]) for line in logged] == [("tasks_not_deleted", "STORE_UNAVAILABLE")]
