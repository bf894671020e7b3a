"""One health check of a process by itself, from outside: over a new connection to its own port.

What answers has taken a connection, runs its event loop, speaks HTTP/2 and serves its services. A blocking socket, so
that a thread can ask when the event loop cannot. Written by hand, since a library's channel would try again, cache and
resolve where a single attempt is what counts. Called by process/self_check.py.
"""

import socket
import ssl
import time
from collections.abc import Callable
from contextlib import suppress
from enum import Enum

from hpack import Decoder, Encoder

from agentring.http2 import frames
from agentring.http2.frames import HEAD

_UNIX = "unix:"
_ANYWHERE = {"0.0.0.0": "127.0.0.1", "": "127.0.0.1", "::": "::1"}  # noqa: S104  to be reached, not to be listened on
_REQUEST = (
    frames.PREFACE
    + frames.settings({})
    + frames.headers(
        1,
        Encoder().encode(
            [
                (":method", "POST"),
                (":scheme", "http"),
                (":path", "/grpc.health.v1.Health/Check"),
                (":authority", "self"),
                ("te", "trailers"),
                ("content-type", "application/grpc"),
            ]
        ),
        end_stream=False,
    )
    + frames.data(1, b"\0\0\0\0\0", end_stream=True)
)
_STREAM_MASK = (1 << 31) - 1


class ProbeFailed(Exception):
    """No answer, or one that says that the services do not work."""

    def __init__(self, why: str, *, refused: bool = False) -> None:
        """refused: nobody listens there."""
        super().__init__(why)
        self.why = why
        self.refused = refused


class _Closed(ProbeFailed):
    """The server has closed the connection."""


class Tls(Enum):
    """How a server is spoken with."""

    NONE = 0
    SERVER = 1
    MUTUAL = 2
    """It wants a certificate, which we have none of: that it says so is its answer."""


def probe(address: str, tls: Tls, timeout_s: float) -> None:
    """Returns once the server at `host:port` or `unix:path` has answered. A server that refuses us, since it has too
    many connections or wants a certificate, has answered as well. Raises ProbeFailed.
    """
    deadline_s = time.monotonic() + timeout_s
    try:
        with _connect(address, timeout_s) as connection:
            if tls is Tls.NONE:
                connection.sendall(_REQUEST)
                _read_answer(connection, deadline_s)
            else:
                _ask_by_tls(connection, tls, deadline_s)
    except ConnectionRefusedError:
        raise ProbeFailed(f"nobody listens on {address}", refused=True) from None
    except TimeoutError:
        raise ProbeFailed(f"{address} gave no answer within {timeout_s:g} s") from None
    except FileNotFoundError:
        raise ProbeFailed(f"{address} is gone", refused=True) from None
    except OSError as error:  # of TLS too
        raise ProbeFailed(f"{address} cannot be reached: {error.strerror or type(error).__name__}") from None


def _ask_by_tls(connection: socket.socket, tls: Tls, deadline_s: float) -> None:
    """It is ourselves, so nobody's certificate is looked at, and nothing secret is said."""
    context = ssl.SSLContext(ssl.PROTOCOL_TLS_CLIENT)
    context.check_hostname = False
    context.verify_mode = ssl.CERT_NONE
    context.set_alpn_protocols(["h2"])
    with context.wrap_socket(connection) as peer:  # from here on the server has answered
        try:
            peer.sendall(_REQUEST)
            _read_answer(peer, deadline_s)
        except (ConnectionError, ssl.SSLError, _Closed):
            if tls is not Tls.MUTUAL:
                raise


def _connect(address: str, timeout_s: float) -> socket.socket:
    if address.startswith(_UNIX):
        one = socket.socket(socket.AF_UNIX)
        try:
            one.settimeout(timeout_s)
            one.connect(address.removeprefix(_UNIX))
        except BaseException:
            one.close()
            raise
        return one
    host, _, port = address.rpartition(":")
    host = host.strip("[]")
    return socket.create_connection((_ANYWHERE.get(host, host), int(port)), timeout_s)


def _read_answer(peer: socket.socket, deadline_s: float) -> None:
    """Returns with the call's end, where its status is OK, or where the server ends the connection in its own words."""
    decoder, status, block = Decoder(), "", b""
    while True:
        length_and_kind, flags, stream_id = HEAD.unpack(_read(peer, frames.HEADER_BYTES, deadline_s))
        kind, payload = length_and_kind & 0xFF, _read(peer, length_and_kind >> 8, deadline_s)
        if kind == frames.GOAWAY and not status:
            return
        if kind == frames.SETTINGS and not flags & frames.ACK:
            with suppress(BrokenPipeError):
                peer.sendall(frames.SETTINGS_ACK)
        if stream_id & _STREAM_MASK != 1:
            continue
        if kind == frames.RST_STREAM:
            raise ProbeFailed("the health check was reset")
        if kind in (frames.HEADERS, frames.CONTINUATION):
            block += payload
            if flags & frames.END_HEADERS:
                fields = {str(field[0]): str(field[1]) for field in decoder.decode(block)}
                status = fields.get("grpc-status", status)
                block = b""
        if status == "0":
            return
        if status:
            raise ProbeFailed(f"the health check ended with status {status}")


def _read(peer: socket.socket, count: int, deadline_s: float) -> bytes:
    read = b""
    while len(read) < count:
        left_s = deadline_s - time.monotonic()
        if left_s <= 0:
            raise TimeoutError
        peer.settimeout(left_s)
        piece = peer.recv(count - len(read))
        if not piece:
            raise _Closed("the connection was closed without an answer")
        read += piece
    return read


Probe = Callable[[float], None]
"""A probe with all but its time-out: raises ProbeFailed."""
