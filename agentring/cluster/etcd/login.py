"""Who this process is to etcd, where that is said by a name and a password: the token that goes with each call.

Guarantees: the password is read from its file each time that it is sent, so a changed one needs no restart, and it
stands in no error, log or repr; a call whose token etcd does not take (any more) is sent once more with a fresh one,
which is safe, since etcd checks tokens before it carries anything out; of many calls that need a token one fetches it,
and a password that was refused is not sent again within a second. An etcd that does not check who calls gets no token:
so users can be given to routers and nodes before its check is turned on. Used by the client alone.
"""

import asyncio
from collections.abc import Callable, Sequence
from pathlib import Path
from typing import Any

from aetcd import rpc
from grpc import StatusCode, aio

from agentring.exposure import is_reached

MAX_PASSWORD_BYTES = 72
"""bcrypt, by which etcd keeps passwords, takes no more."""
_AGAIN_S = 1.0


class PasswordUnreadable(OSError):
    """A file has no password that can be sent; the message names the file and says why."""


def read_password(path: Path) -> str:
    """The password in a file, of which one newline at the end is no part. Raises PasswordUnreadable."""
    try:
        with path.open("rb") as file:
            raw = file.read(MAX_PASSWORD_BYTES + 3)
        password = raw.decode().removesuffix("\n").removesuffix("\r")
    except OSError as error:
        raise PasswordUnreadable(f"the password file {path} cannot be read: {error.strerror}") from None
    except UnicodeDecodeError:
        raise PasswordUnreadable(f"the password file {path} is not UTF-8") from None
    if not password or len(password.encode()) > MAX_PASSWORD_BYTES or not password.isprintable():
        raise PasswordUnreadable(
            f"the password file {path} must hold one line of 1 to {MAX_PASSWORD_BYTES} bytes, no control characters"
        )
    return password


def check_etcd_login(endpoints: Sequence[str], user: str | None, password_file: Path | None, *, tls: bool) -> None:
    """Raises ValueError where the settings do not go together, or the password would travel in the clear."""
    if (user is None) != (password_file is None):
        raise ValueError("--etcd-user and --etcd-password-file are given together or not at all")
    for endpoint in endpoints:
        if user is not None and not tls and is_reached(endpoint.rpartition("://")[2].removesuffix("/")):
            raise ValueError(f"--etcd-user would send its password to {endpoint} in the clear: give --etcd-ca")


def login_of(user: str | None, password_file: Path | None) -> "EtcdLogin | None":
    """None: there is no user. Raises PasswordUnreadable now rather than at the first call."""
    if user is None or password_file is None:
        return None
    read_password(password_file)
    return EtcdLogin(user, password_file)


class EtcdLogin:
    """One user of etcd's."""

    def __init__(self, user: str, password_file: Path) -> None:
        """password_file: is read whenever etcd is asked for a token."""
        self.user = user
        self._password_file = password_file
        self._token: str | None = None
        """None: none was asked for, or it was refused; empty: etcd does not check who calls."""
        self._renewing = asyncio.Lock()
        self._failed: tuple[float, aio.AioRpcError] | None = None

    def __repr__(self) -> str:
        return f"EtcdLogin({self.user!r})"

    async def call(
        self, channel: aio.Channel, method: Callable[[aio.Channel], Any], request: Any, timeout_s: float
    ) -> Any:
        """Makes a unary call as this user. Raises AioRpcError, PasswordUnreadable, TimeoutError."""
        until_s = asyncio.get_running_loop().time() + timeout_s
        token = await self.token(channel, timeout_s)
        for last in (False, True):
            left_s = max(0.001, until_s - asyncio.get_running_loop().time())
            try:
                return await method(channel)(request, timeout=left_s, metadata=metadata_of(token))
            except aio.AioRpcError as error:
                # Without a token etcd goes by the certificate, which may be of somebody who may less.
                nobody = not token and error.code() is StatusCode.PERMISSION_DENIED
                if last or not (nobody or is_token_refused(error.code(), error.details() or "")):
                    raise
            self.refused(token)
            token = await self.token(channel, left_s)
        raise AssertionError  # the second time ends in one way or the other

    async def token(self, channel: aio.Channel, timeout_s: float) -> str:
        """What goes with a call. Raises AioRpcError, PasswordUnreadable, TimeoutError."""
        if self._token is not None:
            return self._token
        async with asyncio.timeout(timeout_s), self._renewing:
            if self._token is None:
                self._token = await self._fetched(channel, timeout_s)
            return self._token

    def refused(self, token: str) -> None:
        """etcd did not take it."""
        if self._token == token:
            self._token = None

    async def _fetched(self, channel: aio.Channel, timeout_s: float) -> str:
        now_s = asyncio.get_running_loop().time()
        if self._failed is not None and now_s - self._failed[0] < _AGAIN_S:
            raise self._failed[1]
        self._failed = None
        password = await asyncio.to_thread(read_password, self._password_file)
        request = rpc.AuthenticateRequest(name=self.user, password=password)
        try:
            answer = await rpc.AuthStub(channel).Authenticate(request, timeout=timeout_s)
        except aio.AioRpcError as error:
            if error.code() is StatusCode.FAILED_PRECONDITION and "not enabled" in (error.details() or ""):
                return ""
            if error.code() is StatusCode.INVALID_ARGUMENT:  # not the network's fault: it would be the same at once
                self._failed = now_s, error
            raise
        return str(answer.token)


def metadata_of(token: str) -> tuple[tuple[str, str], ...]:
    """What carries the token; empty: none."""
    return (("token", token),) if token else ()


def is_token_refused(code: StatusCode | None, details: str) -> bool:
    """Whether etcd wants another token. code: None: only the details are known. "name is empty": there was none, and
    etcd checks since a moment ago; "is old": users or roles were changed since."""
    if code not in (None, StatusCode.UNAUTHENTICATED, StatusCode.INVALID_ARGUMENT):
        return False
    return any(words in details for words in ("invalid auth token", "user name is empty", "auth store is old"))
