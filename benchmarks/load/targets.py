"""The connections to the routers that the load is put on.

Guarantees that every channel is a connection of its own and that neighbouring sessions use different routers. Called
by `run`.
"""

from collections.abc import Sequence
from contextlib import AsyncExitStack
from types import TracebackType
from typing import TYPE_CHECKING, Self

import grpc

from agentring.rpc.limits import CHANNEL_OPTIONS
from agentring.v1.session_pb2_grpc import SessionServiceStub

if TYPE_CHECKING:
    from agentring.v1.session_pb2_grpc import SessionServiceAsyncStub


class Targets:
    """The open connections, used in turn.

    Resource handling: opened and closed by `async with`.
    """

    def __init__(self, routers: Sequence[str], channels: int) -> None:
        """`channels` connections to each of `routers`."""
        # One connection to each router, then the second to each: sessions 0 and 1 meet different routers.
        self._addresses = list(routers) * channels
        self._stubs: list[SessionServiceAsyncStub] = []
        self._open = AsyncExitStack()

    async def __aenter__(self) -> Self:
        """Makes the channels; the connections come with their first calls."""
        for address in self._addresses:
            channel = await self._open.enter_async_context(
                grpc.aio.insecure_channel(address, options=CHANNEL_OPTIONS),
            )
            self._stubs.append(SessionServiceStub(channel))
        return self

    async def __aexit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        """Closes the channels, which cancels what still runs on them."""
        await self._open.aclose()

    def stub(self, number: int) -> "SessionServiceAsyncStub":
        """The connection for the `number`-th stream."""
        return self._stubs[number % len(self._stubs)]
