"""What stands in a child process for what is on the node alone: its clock, the session's files, the run's event log.

Used by child.py.
"""

import asyncio
from collections.abc import Awaitable, Callable
from typing import Any, cast

from agent_node.child_process.messages import Channel
from agentring.v1 import session_pb2


class StandingClock:
    """A clock on which no lease runs out: the node ends this process where its own may be gone."""

    def now_s(self) -> float:
        """As Clock."""
        return 0.0

    async def sleep(self, duration_s: float) -> None:
        """As Clock."""
        await asyncio.sleep(max(0.0, duration_s))


class NodesRecords:
    """As SessionRecords (run/run_input.py)."""

    def __init__(self, request: Callable[..., Awaitable[Any]]) -> None:
        """request: of the node."""
        self._request = request

    async def read_file(self, digest: bytes) -> bytes:
        """As SessionRecords."""
        return cast(bytes, await self._request("records", "read_file", digest))

    async def put_file(self, data: bytes) -> bytes:
        """As SessionRecords."""
        return cast(bytes, await self._request("records", "put_file", data))

    async def past_events(self, before_seq: int | None, span: int) -> tuple[bool, list[bytes]]:
        """As SessionRecords."""
        return cast(tuple[bool, list[bytes]], await self._request("records", "past_events", before_seq, span))


class NodesLog:
    """The run's EventLog is on the node."""

    collects_text = False

    def __init__(self, channel: Channel) -> None:
        self._channel = channel

    def append(self, event: session_pb2.Event) -> None:
        """As EventLog."""
        self._channel.send("event", event.SerializeToString())

    def append_text(self, turn_id: str, attempt: int, offset: int, *texts: str) -> int:
        """As EventLog."""
        self._channel.send("text", turn_id, attempt, offset, *texts)
        return sum(len(text.encode()) for text in texts)
