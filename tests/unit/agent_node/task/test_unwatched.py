"""Tasks that are cancelled when nobody watches them."""

import asyncio

import pytest

from agentring.v1.task_pb2 import (
    DISPOSITION_STARTED,
    TASK_STATE_CANCELLED,
)
from harness.two_task_nodes import KEY, two_nodes


async def test_what_nobody_watches_is_cancelled_and_begins_anew() -> None:
    async with two_nodes(unwatched_timeout_s=0.3) as nodes:
        one = nodes.one
        run, _ = await one.run(cancel_when_unwatched=True)
        other, _ = await one.run("other")
        await one.stage.begun.wait()
        reader = asyncio.Event()
        run.log.subscribe(reader)
        for _ in range(5):
            one.clock.advance(0.1)
            one.runs.unwatched.cancel_due()
        run.log.unsubscribe(reader)
        for _ in range(3):
            one.runs.unwatched.cancel_due()
            one.clock.advance(0.1)
        assert not run.begins_anew
        held = one.points.hold("before end")
        one.runs.unwatched.cancel_due()
        await one.points.reached["before end"].wait()
        starting = asyncio.ensure_future(one.run())  # comes while the cancel is being stored
        await asyncio.sleep(0)
        held.set()
        anew, disposition = await starting
        assert (run.state, disposition) == (TASK_STATE_CANCELLED, DISPOSITION_STARTED)
        assert anew is not run
        assert (anew.attempt, anew.epoch > run.epoch, other.has_ended) == (1, True, False)


@pytest.mark.parametrize("how", ["joins", "watches"])
async def test_a_caller_just_before_the_look_that_would_cancel_keeps_the_run(how: str) -> None:
    async with two_nodes(unwatched_timeout_s=0.5) as nodes:
        one = nodes.one
        run, _ = await one.run(cancel_when_unwatched=True)
        await one.stage.begun.wait()
        one.runs.unwatched.cancel_due()
        one.clock.advance(0.5)
        found = (await one.run())[0] if how == "joins" else await one.runs.find(KEY)
        assert found is run
        one.runs.unwatched.cancel_due()  # the caller's response headers are on their way, it does not read yet
        assert not run.begins_anew
        one.clock.advance(0.5)
        one.runs.unwatched.cancel_due()
        assert run.begins_anew  # it has never read
