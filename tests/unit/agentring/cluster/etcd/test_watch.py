"""A watch whose stream breaks under a question about its progress."""

import asyncio
import gc
from typing import Any

import pytest

from agentring.cluster.etcd.watch import _next


class Breaking:
    """A stream whose read fails while something is being written, and then the write, too."""

    def __init__(self) -> None:
        self._broken = asyncio.Event()

    async def read(self) -> None:
        await self._broken.wait()
        raise ConnectionResetError

    async def write(self, _: Any) -> None:
        self._broken.set()
        await asyncio.sleep(0)
        await asyncio.sleep(0)
        raise asyncio.InvalidStateError


async def test_what_a_read_failed_with_is_not_reported_as_lost() -> None:
    reported: list[dict[str, Any]] = []
    asyncio.get_running_loop().set_exception_handler(lambda _, context: reported.append(context))
    with pytest.raises(asyncio.InvalidStateError):
        await _next(Breaking(), 0.002)
    gc.collect()
    await asyncio.sleep(0)
    assert reported == []
