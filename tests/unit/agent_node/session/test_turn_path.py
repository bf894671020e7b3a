"""The path of a turn, from the service's method that reads it to its row in the store: at most eight frames."""

import asyncio
import sys
from pathlib import Path
from types import CoroutineType, FrameType
from typing import Any

import agent_node
from harness.calls import FakeConversation
from harness.sessions import acting, quick
from harness.stores import RecordingStore

MOST_FRAMES = 8
PRODUCT = str(Path(agent_node.__file__).parent)


def awaited_in(task: "asyncio.Task[Any]") -> list[str]:
    """The coroutines of a task that waits, the outermost first."""
    names: list[str] = []
    coroutine: Any = task.get_coro()
    while isinstance(coroutine, CoroutineType):
        names.append(coroutine.__name__)
        coroutine = coroutine.cr_await
    return names


def called_in(frame: FrameType | None) -> list[str]:
    """The node's functions that lead to a frame, the outermost first."""
    names: list[str] = []
    while frame is not None:
        if frame.f_code.co_filename.startswith(PRODUCT):
            names.append(frame.f_code.co_name)
        frame = frame.f_back
    return names[::-1]


class Paths:
    """By the store's method: the functions that lead there, those of a call that waits for it before them."""

    def __init__(self, store: RecordingStore) -> None:
        self.by_method: dict[str, list[str]] = {}
        store.watch = self._watch

    def _watch(self, method: str) -> None:
        called = called_in(sys._getframe(1))
        waiting: list[str] = []
        if "run_turns" not in called:
            waiting = next((names for task in asyncio.all_tasks() if "submit" in (names := awaited_in(task))), [])
        self.by_method[method] = [*waiting, *called, method]


async def test_a_turn_of_a_stream_is_stored_within_eight_frames() -> None:
    store = RecordingStore()
    paths = Paths(store)
    async with acting(quick, store=store) as actor:
        stream = FakeConversation(actor.session)
        stream.open()
        stream.turn("t")
        stream.close()
        await stream.served
    accepted = paths.by_method["accept_turn"]
    assert accepted == ["read", "_deal_with", "_turn", "submit", "run_to_end", "_run", "accept", "accept_turn"]
    assert len(accepted) <= MOST_FRAMES
    ended = paths.by_method["commit_turn"]
    assert ended == ["run", "run_turns", "_run_to_end", "_finish", "complete", "_end", "commit_turn"]
    assert len(ended) <= MOST_FRAMES
