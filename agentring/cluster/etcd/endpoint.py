"""One endpoint of etcd: its connection, and who calls there.

Guarantees: what a call fails with is one of errors.py's, also where it is the login that fails; each call has a
deadline. Used by the client alone, which has one for each endpoint.
"""

from collections.abc import AsyncGenerator
from contextlib import aclosing
from typing import Any

from grpc import aio

from agentring.cluster.etcd.channel import EtcdTls, open_channel
from agentring.cluster.etcd.errors import EtcdLoginFailed, EtcdPermissionDenied, EtcdTokenRefused, from_rpc_error
from agentring.cluster.etcd.login import EtcdLogin, PasswordUnreadable
from agentring.cluster.etcd.watch import watch_responses
from agentring.ids import Revision


class Endpoint:
    """Resource handling: `close()`; the connection is opened by the first call."""

    def __init__(self, address: str, tls: EtcdTls | None, login: EtcdLogin | None, timeout_s: float) -> None:
        """address: as the client's endpoints; login: who calls, at all endpoints; timeout_s: of a call that is given
        none of its own. Raises ValueError."""
        self._channel = open_channel(address, tls)
        self._login = login
        self._timeout_s = timeout_s

    async def close(self) -> None:
        """Calls under way fail."""
        await self._channel.close()

    async def call(self, method: Any, request: Any, timeout_s: float | None = None) -> Any:
        """One unary call. method: of a channel, the stub's. Raises EtcdError."""
        try:
            if self._login is None:
                return await method(self._channel)(request, timeout=timeout_s or self._timeout_s)
            return await self._login.call(self._channel, method, request, timeout_s or self._timeout_s)
        except PasswordUnreadable as error:
            raise EtcdLoginFailed(str(error)) from None
        except (aio.AioRpcError, TimeoutError) as error:
            raise from_rpc_error(error) from None

    async def watch(self, prefix: str, from_revision: Revision, silence_s: float) -> AsyncGenerator[Any, None]:
        """As `watch_responses`. Raises EtcdError."""
        token = await self._token()
        try:
            async with aclosing(watch_responses(self._channel, prefix, from_revision, silence_s, token)) as responses:
                async for response in responses:
                    yield response
        except (EtcdPermissionDenied, EtcdTokenRefused) as error:
            if self._login is None or (token and isinstance(error, EtcdPermissionDenied)):
                raise
            self._login.refused(token)
            raise EtcdTokenRefused from None

    async def _token(self) -> str:
        """Empty: nobody says who calls."""
        if self._login is None:
            return ""
        try:
            return await self._login.token(self._channel, self._timeout_s)
        except PasswordUnreadable as error:
            raise EtcdLoginFailed(str(error)) from None
        except (aio.AioRpcError, TimeoutError) as error:
            raise from_rpc_error(error) from None
