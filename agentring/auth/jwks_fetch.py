"""Fetches an issuer's keys: one answer of 200, of DEADLINE_S and 1 MiB at most, from the address that was asked.

No redirect is followed and no proxy is used: either would let somebody else say who may call. The thread is a daemon's,
so that a name which does not resolve holds no process up. Called by jwks_refresh and by `agentring auth check`.
"""

import asyncio
import json
import socket
import ssl
import threading
import time
from contextlib import closing, suppress
from http.client import HTTPConnection, HTTPException
from typing import Final
from urllib.parse import urlsplit

from agentring.auth.jwks import JwksUnusable, KeySet, read_jwks

DEADLINE_S: Final = 5.0
MAX_BYTES: Final = 1 << 20
_CHUNK_BYTES: Final = 64 << 10


async def fetch_jwks(url: str) -> KeySet:
    """The keys, fetched and read in a thread. Raises JwksUnusable.

    Cancellation: the thread ends by its own deadline, and what it found is dropped.
    """
    loop = asyncio.get_running_loop()
    found: asyncio.Future[KeySet] = loop.create_future()

    def work() -> None:
        try:
            keys = fetch_jwks_now(url)
        except JwksUnusable as error:
            _tell(loop, found, error)
        except Exception:
            _tell(loop, found, JwksUnusable("what came cannot be read"))
        else:
            _tell(loop, found, keys)

    threading.Thread(target=work, name="jwks-fetch", daemon=True).start()
    try:
        # The resolving of names has the system's deadline, not the socket's.
        async with asyncio.timeout(DEADLINE_S + 1):
            return await found
    except TimeoutError:
        raise JwksUnusable(f"it did not come within {DEADLINE_S:g} s") from None


def fetch_jwks_now(url: str) -> KeySet:
    """The same in this thread. Raises JwksUnusable."""
    content = _get(url)
    try:
        return read_jwks(json.loads(content))
    except (ValueError, RecursionError):
        raise JwksUnusable("it is no JSON") from None


def _tell(loop: asyncio.AbstractEventLoop, found: "asyncio.Future[KeySet]", outcome: KeySet | JwksUnusable) -> None:
    def put() -> None:
        if found.done():
            return
        if isinstance(outcome, JwksUnusable):
            found.set_exception(outcome)
        else:
            found.set_result(outcome)

    with suppress(RuntimeError):  # the loop has ended, and nobody waits
        loop.call_soon_threadsafe(put)


def _get(url: str) -> bytes:
    # A socket's time-out is one for each read: who sends a byte at a time would be read for ever.
    ends_s = time.monotonic() + DEADLINE_S
    why = None
    try:
        content = _connect_and_get(url, ends_s)
    except JwksUnusable as error:
        why = str(error)
    except (OSError, HTTPException) as error:
        # Nothing else of its text: that may have what the other side sent.
        said = f": {error.strerror}" if isinstance(error, OSError) and error.strerror else ""
        why = f"it cannot be fetched ({type(error).__name__}{said})"
    # What was cut may look whole, where its end is that of the connection.
    if time.monotonic() >= ends_s:
        why = f"it did not come within {DEADLINE_S:g} s"
    if why is not None:
        raise JwksUnusable(why)
    return content


def _connect_and_get(url: str, ends_s: float) -> bytes:
    parts = urlsplit(url)
    host, is_tls = parts.hostname or "", parts.scheme == "https"
    connection = HTTPConnection(host, parts.port or (443 if is_tls else 80))
    opened = socket.create_connection((host, connection.port), DEADLINE_S)
    # Another handle of the socket: TLS and the library take the first one away.
    with opened, opened.dup() as handle, closing(connection):
        watchdog = threading.Timer(max(0.0, ends_s - time.monotonic()), _cut, (handle,))
        watchdog.daemon = True
        watchdog.start()
        try:
            connection.sock = (
                ssl.create_default_context().wrap_socket(opened, server_hostname=host) if is_tls else opened
            )
            connection.request(
                "GET",
                f"{parts.path or '/'}{f'?{parts.query}' if parts.query else ''}",
                headers={"host": parts.netloc, "accept": "application/json", "user-agent": "agentring"},
            )
            return _answer(connection)
        finally:
            watchdog.cancel()


def _answer(connection: HTTPConnection) -> bytes:
    with connection.getresponse() as response:
        if response.status != 200:
            raise JwksUnusable(f"the answer is {response.status}, not 200; redirects are not followed")
        content = bytearray()
        while piece := response.read1(_CHUNK_BYTES):
            content += piece
            if len(content) > MAX_BYTES:
                raise JwksUnusable(f"it has more than {MAX_BYTES >> 20} MiB")
        if response.length:
            raise JwksUnusable("it broke off")
    return bytes(content)


def _cut(handle: socket.socket) -> None:
    with suppress(OSError):
        handle.shutdown(socket.SHUT_RDWR)
