"""An HTTP/2 client that does what no library lets one do: any frame at any time, and as little reading as it likes.

A blocking socket of the caller's thread. Guarantees: `send` says whether the peer still takes bytes and never raises
for a connection that has ended; what the peer sent is read in `pump` and `wait` alone, so that whoever calls neither
stops reading. Used by the attacks (abuse_floods.py, abuse_holds.py).
"""

import select
import socket
import time
from collections import Counter
from collections.abc import Callable, Mapping

from hpack import Decoder, Encoder

from agentring.http2 import frames
from agentring.http2.frames import HEAD, WORD, Code, Setting

CONVERSE = "/agentring.v1.SessionService/Converse"
RUN_TURN = "/agentring.v1.SessionService/RunTurn"
TIMEOUT_S = 20.0
_READ_BYTES = 1 << 18
_PIECE_BYTES = 1 << 16


def frame(kind: int, flags: int, stream_id: int, payload: bytes = b"") -> bytes:
    """Any frame."""
    return HEAD.pack(len(payload) << 8 | kind, flags, stream_id) + payload


def message(body: bytes) -> bytes:
    """A gRPC message."""
    return b"\0" + WORD.pack(len(body)) + body


def request_block(path: str, metadata: Mapping[str, str] | None = None) -> bytes:
    """A gRPC request's header block, as nothing that changes a table: it can be sent any number of times."""
    fields = [
        (":method", "POST", False),
        (":scheme", "http", False),
        (":path", path, True),
        (":authority", "router", True),
        ("te", "trailers", True),
        ("content-type", "application/grpc", True),
        *((name, value, True) for name, value in (metadata or {}).items()),
    ]
    return bytes(Encoder().encode(fields))


class RawConnection:
    """One connection. Resource handling: whoever makes it calls `close`."""

    def __init__(
        self,
        address: str,
        *,
        opening: bytes | None = None,
        initial_window: int = frames.DEFAULT_WINDOW,
        receive_buffer_bytes: int = 0,
    ) -> None:
        """opening: instead of preface and SETTINGS; receive_buffer_bytes: the socket's, 0: as the kernel has it.

        With an opening of its own it sends nothing by itself, no answer to SETTINGS or PING either.
        """
        host, _, port = address.rpartition(":")
        self._socket = socket.socket()
        self._socket.settimeout(TIMEOUT_S)
        if receive_buffer_bytes:
            self._socket.setsockopt(socket.SOL_SOCKET, socket.SO_RCVBUF, receive_buffer_bytes)
        self._socket.connect((host, int(port)))
        self._socket.setsockopt(socket.IPPROTO_TCP, socket.TCP_NODELAY, 1)
        self._decoder = Decoder()
        self._rest = b""
        self._initial_window = initial_window
        self._last_stream_id = -1
        self._grants = False
        self._replies: list[bytes] | None = None if opening is None else []
        """What would come between the pieces of a frame waits here."""
        self.opened_s = time.monotonic()
        self.goaway: Code | None = None
        self.why = ""
        """GOAWAY's debug data."""
        self.goaway_after_s: float | None = None
        self.is_over = False
        """The peer has closed its side, or the connection is broken."""
        self.resets: dict[int, int] = {}
        self.statuses: dict[int, str] = {}
        """grpc-status by stream."""
        self.reasons: Counter[str] = Counter()
        """What the errors' sentences were."""
        self.data_bytes = 0
        self.kinds: Counter[int] = Counter()
        """Frames that were read, by their type."""
        self.credit: Counter[int] = Counter()
        """What WINDOW_UPDATE granted, by stream; beside the initial window."""
        self.peer_initial_window = frames.DEFAULT_WINDOW
        if opening is None:
            opening = frames.PREFACE + frames.settings({Setting.INITIAL_WINDOW_SIZE: initial_window})
        self.send(opening)

    def fileno(self) -> int:
        """The socket's."""
        return self._socket.fileno()

    def next_stream_id(self) -> int:
        """For a stream that the caller opens."""
        self._last_stream_id += 2
        return self._last_stream_id

    def send(self, data: bytes) -> bool:
        """Sends all of it; False: the peer takes nothing any more."""
        try:
            self._socket.sendall(data)
        except OSError:
            return False
        return True

    def flood(self, data: bytes, *, reads: bool = True) -> bool:
        """Sends all of it piece by piece, and reads between the pieces; False: the peer ended it."""
        self._replies = self._replies or []
        for start in range(0, len(data), _PIECE_BYTES):
            if not self.send(data[start : start + _PIECE_BYTES]):
                return False
            if reads:
                self.pump()
                if self.goaway is not None or self.is_over:
                    return False
        replies, self._replies = self._replies, None
        return self.send(b"".join(replies))

    def pump(self, *, grant: bool = False) -> None:
        """Reads what has come, without waiting. grant: gives the windows back for what came."""
        self._grants = grant
        while not self.is_over and self._readable(0):
            try:
                data = self._socket.recv(_READ_BYTES)
            except OSError:
                data = b""
            if not data:
                self.is_over = True
            self._receive(data)

    def wait(self, condition: Callable[[], bool], timeout_s: float = TIMEOUT_S) -> bool:
        """Reads until the condition holds; False: it never did, or the connection ended before."""
        deadline_s = time.monotonic() + timeout_s
        self.pump()
        while not condition():
            left_s = deadline_s - time.monotonic()
            if self.is_over or left_s <= 0:
                return False
            self._readable(left_s)
            self.pump()
        return True

    def wait_over(self, timeout_s: float = TIMEOUT_S) -> bool:
        """Reads to the end that the peer makes."""
        return self.wait(lambda: self.is_over, timeout_s)

    def close(self) -> None:
        """Ends it without a word."""
        self._socket.close()

    def _readable(self, timeout_s: float) -> bool:
        poll = select.poll()  # select() knows no more than 1,024 files
        poll.register(self._socket, select.POLLIN)
        return bool(poll.poll(timeout_s * 1e3))

    def _reply(self, data: bytes) -> None:
        if self._replies is None:
            self.send(data)
        else:
            self._replies.append(data)

    def _receive(self, data: bytes) -> None:
        data = self._rest + data
        pos = 0
        while len(data) - pos >= frames.HEADER_BYTES:
            head, flags, stream_id = HEAD.unpack_from(data, pos)
            after = pos + frames.HEADER_BYTES + (head >> 8)
            if after > len(data):
                break
            self._frame(head & 0xFF, flags, stream_id, data[pos + frames.HEADER_BYTES : after])
            pos = after
        self._rest = data[pos:]

    def _frame(self, kind: int, flags: int, stream_id: int, payload: bytes) -> None:
        self.kinds[kind] += 1
        if kind == frames.DATA:
            self.data_bytes += len(payload)
            if self._grants and payload:
                update = frames.window_update
                self._reply(update(0, len(payload)) + update(stream_id, len(payload)))
        elif kind == frames.HEADERS:
            fields = {str(name): str(value) for name, value in self._decoder.decode(payload)}
            if "grpc-status" in fields:
                self.statuses[stream_id] = fields["grpc-status"]
                self.reasons[fields.get("grpc-message", "")] += 1
        elif kind == frames.RST_STREAM:
            self.resets[stream_id] = WORD.unpack(payload)[0]
        elif kind == frames.SETTINGS and not flags & frames.ACK:
            for name, value in frames.SETTING.iter_unpack(payload):
                if name == Setting.INITIAL_WINDOW_SIZE:
                    self.peer_initial_window = value
            self._reply(frames.SETTINGS_ACK)
        elif kind == frames.PING and not flags & frames.ACK:
            self._reply(frames.ping(payload, ack=True))
        elif kind == frames.GOAWAY:
            _, code = frames.TWO_WORDS.unpack_from(payload)
            self.goaway = Code(code)
            self.why = payload[frames.TWO_WORDS.size :].decode()
            self.goaway_after_s = time.monotonic() - self.opened_s
        elif kind == frames.WINDOW_UPDATE:
            self.credit[stream_id] += WORD.unpack(payload)[0]
