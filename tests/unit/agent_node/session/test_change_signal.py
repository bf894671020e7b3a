"""Waiting for something of a state: looked at again after each change, and at no other time."""

import asyncio

from agent_node.session.change_signal import ChangeSignal
from harness.clock import PATIENCE_S


async def settled() -> None:
    """Lets everything run that can."""
    for _ in range(5):
        await asyncio.sleep(0)


async def test_what_holds_already_is_not_waited_for() -> None:
    async with asyncio.timeout(PATIENCE_S):
        await ChangeSignal().until(lambda: True)


async def test_who_waits_goes_on_with_the_change_that_it_waits_for_and_with_no_other() -> None:
    changed, state = ChangeSignal(), {"a": False, "b": False}
    waiting = {name: asyncio.ensure_future(changed.until(lambda n=name: state[n])) for name in state}  # type: ignore[misc]
    await settled()
    changed.wake()
    await settled()
    assert not any(each.done() for each in waiting.values())
    state["b"] = True
    await settled()
    assert not waiting["b"].done()  # nothing has said so
    changed.wake()
    await settled()
    assert [waiting["a"].done(), waiting["b"].done()] == [False, True]
    state["a"] = True
    changed.wake()
    await waiting["a"]


async def test_a_cancelled_wait_leaves_nothing_behind() -> None:
    changed = ChangeSignal()
    waiting = asyncio.ensure_future(changed.until(lambda: False))
    await settled()
    assert len(changed._waiters) == 1
    waiting.cancel()
    await asyncio.wait([waiting])
    assert changed._waiters == []
    changed.wake()


async def test_a_wait_that_is_woken_and_cancelled_at_once_is_cancelled() -> None:
    changed = ChangeSignal()
    waiting = asyncio.ensure_future(changed.until(lambda: False))
    await settled()
    changed.wake()
    waiting.cancel()
    await asyncio.wait([waiting])
    assert waiting.cancelled()
    assert changed._waiters == []
