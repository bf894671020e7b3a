"""The connections to the routers: one is used until it fails, then the next.

Guarantees that all calls of a client use one router, so that a failure seen by many of them moves on once. Opened and
closed by ring.py.
"""

import asyncio
import inspect
import os
import re
from collections.abc import Awaitable, Callable, Mapping
from dataclasses import dataclass
from dataclasses import replace as _replace

import grpc
from grpc import aio

from agentring import metadata
from agentring.address import check_address, is_loopback
from agentring.client.errors import Failure, ForkedProcess, RingClosed
from agentring.errors import NotAuthenticated, RouterStopping
from agentring.held import to_header
from agentring.ids import parse_tenant
from agentring.rpc.channel import open_channel


@dataclass(frozen=True, slots=True)
class Tls:
    """TLS to the routers. All are PEM."""

    ca: bytes | None = None
    """None: the system's authorities."""
    certificate: bytes | None = None
    """The client's own; None: none."""
    key: bytes | None = None


Credentials = Callable[[], str | Awaitable[str]]
"""Gives what `authorization: Bearer` carries: a token or a key that is valid now. Asked before every call."""

_TOKEN = re.compile(r"[!-~]+")
_NAME = re.compile(r"[a-z0-9._-]{1,64}")
_OWN = (
    metadata.SESSION_ID,
    metadata.AGENT,
    metadata.TASK_KEY,
    metadata.TENANT_ID,
    metadata.HELD_KEYS,
)

_made_in: int | None = None
"""The process that opened the first channel; None: there has been none."""


class Routers:
    """Of one client."""

    def __init__(
        self,
        target: str,
        tls: Tls | None,
        tenant: str,
        more: Mapping[str, str] | None = None,
        credentials: Credentials | None = None,
    ) -> None:
        """target: `host:port`, several with commas; more: further metadata of every call; credentials: None: calls have
        none. Connects with the first call.

        Raises ValueError, InvalidTenantId.
        """
        self._targets = [each.strip() for each in target.split(",") if each.strip()]
        if not self._targets:
            raise ValueError("connect needs a router's address, as in 127.0.0.1:7700")
        for each in self._targets:
            check_address(each)
            if credentials is not None and tls is None and not is_loopback(each):
                raise ValueError(f"credentials would go to {each} in plain text: give tls=Tls()")
        if credentials is not None and metadata.AUTHORIZATION in (more or {}):
            raise ValueError("credentials and the metadata authorization do not go together")
        self._bearer = credentials
        self.tenant = parse_tenant(tenant)
        own: tuple[tuple[str, str], ...] = ((metadata.TENANT_ID, tenant),) if tenant else ()
        self._constant_metadata = own + _checked(more or {})
        self._credentials = grpc.ssl_channel_credentials(tls.ca, tls.key, tls.certificate) if tls is not None else None
        self._channels: dict[str, aio.Channel] = {}
        self._current = 0
        self.closed = False

    async def metadata(self) -> tuple[tuple[str, str], ...]:
        """Of a call that is made now: whose it is, what the agent holds that makes it, if one does, and the credential.
        Raises ValueError, and what `credentials` raises."""
        pairs = self._constant_metadata
        if held := to_header(self.tenant):
            pairs = (*pairs, (metadata.HELD_KEYS, held))
        if self._bearer is not None:
            given = self._bearer()
            token = await given if inspect.isawaitable(given) else given
            if not _TOKEN.fullmatch(token):
                raise ValueError("credentials gave no token: it has printable ASCII characters other than the space")
            pairs = (*pairs, (metadata.AUTHORIZATION, f"Bearer {token}"))
        return pairs

    def current(self) -> aio.Channel:
        """The router to use now. Raises RingClosed, ForkedProcess."""
        _check_process()
        if self.closed:
            raise RingClosed("the connection is closed")
        target = self._targets[self._current]
        if (channel := self._channels.get(target)) is None:
            channel = self._channels[target] = open_channel(target, self._credentials)
        return channel

    def move_on(self, channel: aio.Channel, failure: Failure) -> Failure:
        """Uses the next router if that may help, unless another call has moved on from this one already. Where there is
        another one, the end of this one need not be waited for."""
        if failure.elsewhere and self._channels.get(self._targets[self._current]) is channel:
            self._current = (self._current + 1) % len(self._targets)
        if isinstance(failure.error, RouterStopping) and len(self._targets) > 1:
            return _replace(failure, retry_after_s=0.0)
        return failure

    async def after(self, failure: Failure, channel: aio.Channel, used: tuple[tuple[str, str], ...]) -> Failure:
        """What a failed call means: as move_on, and one whose credential is not valid any more may be made again with a
        fresh one, where there is another. used: the call's metadata. Raises what `metadata` raises."""
        if isinstance(failure.error, NotAuthenticated) and self._bearer is not None:
            fresh = await self.metadata()
            return _replace(failure, is_final=set(used) == set(fresh))
        return self.move_on(channel, failure)

    def check_cancelled(self) -> None:
        """To be called where an await was cancelled. Raises RingClosed if the connection was closed: gRPC reports that
        by the same CancelledError as the cancellation of the task."""
        task = asyncio.current_task()
        if self.closed and not (task and task.cancelling()):
            raise RingClosed("the connection is closed") from None

    async def close(self) -> None:
        """Ends every call."""
        self.closed = True
        for channel in self._channels.values():
            await channel.close()
        self._channels.clear()


def _checked(more: Mapping[str, str]) -> tuple[tuple[str, str], ...]:
    for name, value in more.items():
        if not _NAME.fullmatch(name) or name.endswith("-bin"):
            raise ValueError(f"{name!r} is no name of metadata: lower-case letters, digits, `-`, `_` and `.`")
        if name in _OWN or name.startswith((metadata.INTERNAL_PREFIX, "grpc-")):
            raise ValueError(f"the metadata {name} is agentring's own")
        if not (value.isascii() and value.isprintable()):
            raise ValueError(f"the metadata {name} must be printable ASCII characters")
    return tuple(sorted(more.items()))


def _check_process() -> None:
    """Raises ForkedProcess: gRPC has one thread for all channels of a process, and a fork takes no thread along."""
    global _made_in
    if _made_in is None:
        _made_in = os.getpid()
    elif _made_in != os.getpid():
        raise ForkedProcess(_made_in)
