"""Whom the load is put on: the routers' addresses, and the connections to them.

Guarantees that every channel is a connection of its own and that neighbouring sessions use different routers. Called
by `run`.
"""

import json
from collections.abc import Sequence
from contextlib import AsyncExitStack
from pathlib import Path
from types import TracebackType
from typing import TYPE_CHECKING, Self

import grpc

from agentring.v1.session_pb2_grpc import SessionServiceStub

if TYPE_CHECKING:
    from agentring.v1.session_pb2_grpc import SessionServiceAsyncStub

DEFAULT_ROUTER = "127.0.0.1:7700"

# Without a pool of its own, channels to one address share one connection.
_CHANNEL_OPTIONS = [("grpc.use_local_subchannel_pool", 1), ("grpc.enable_retries", 0)]


class TargetError(ValueError):
    """The file that names the routers is there but does not; the text says why."""


def routers_of(data_dir: Path) -> list[str]:
    """The routers of the cluster that runs in `data_dir`, else the default one. Raises TargetError."""
    try:
        text = (data_dir / "cluster.json").read_text()
    except FileNotFoundError:
        return [DEFAULT_ROUTER]
    except OSError as error:
        raise TargetError(f"{data_dir / 'cluster.json'} cannot be read: {error.strerror}") from None
    try:
        routers = json.loads(text)["router"]
    except (ValueError, KeyError, TypeError):
        raise TargetError(f"{data_dir / 'cluster.json'} has no list `router`") from None
    if not isinstance(routers, list) or not routers or not all(isinstance(router, str) for router in routers):
        raise TargetError(f"{data_dir / 'cluster.json'}: `router` must be a list of addresses")
    return routers


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
                grpc.aio.insecure_channel(address, options=_CHANNEL_OPTIONS),
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
