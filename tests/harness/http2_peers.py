"""The two ends of Wire: a client and a node, played by h2 (by hand: http2_raw.py)."""

from __future__ import annotations

from collections import deque
from collections.abc import Callable, Iterable
from dataclasses import dataclass, field

from h2 import events
from h2.config import H2Configuration
from h2.connection import H2Connection
from h2.exceptions import StreamClosedError
from h2.settings import SettingCodes, Settings
from h2.stream import H2Stream, StreamState
from h2.windows import WindowManager

from agentring.http2 import frames
from agentring.http2.budget import Budget
from agentring.http2.limits import Limits
from harness.fired_clock import FiredClock
from harness.http2_frames import ACCEPTED, CONVERSE, Fields, request_fields
from harness.http2_raw import feed
from router.relay.client_connection import ClientConnection
from router.relay.context import RelayContext
from router.relay.node_connection import NodeConnection
from router.relay.pings import PingPolicy

_LARGE_WINDOW = 1 << 24
_window_consumed = WindowManager.window_consumed


def _consumed(window: WindowManager, size: int) -> None:
    """h2 raises for an empty DATA frame where SETTINGS have made the window negative; RFC 9113 6.9.1 allows it."""
    if size:
        _window_consumed(window, size)


setattr(WindowManager, "window_consumed", _consumed)  # noqa: B010


@dataclass
class Heard:
    """What a peer has been sent on one stream."""

    headers: list[tuple[str, str]] = field(default_factory=list)
    received: bytearray = field(default_factory=bytearray)
    uncredited_bytes: int = 0
    trailers: list[tuple[str, str]] | None = None
    ended: bool = False
    reset: int | None = None

    @property
    def data(self) -> bytes:
        """All DATA."""
        return bytes(self.received)

    @property
    def fields(self) -> dict[str, str]:
        """All fields by name."""
        return dict([*self.headers, *(self.trailers or [])])

    @property
    def status(self) -> str | None:
        """gRPC's status."""
        return self.fields.get("grpc-status") if self.ended else None

    @property
    def sentence(self) -> str | None:
        """What the status says."""
        return self.fields.get("grpc-message")


class H2Peer:
    """An honest peer: sends within its windows, gives credit for what it has read unless `reads` is off."""

    def __init__(
        self, connection: ClientConnection | NodeConnection, clock: FiredClock, settings: dict[int, int]
    ) -> None:
        client_side = isinstance(connection, ClientConnection)
        config = H2Configuration(
            client_side=client_side,
            header_encoding=None,
            validate_outbound_headers=False,
            normalize_outbound_headers=False,
        )
        self.h2 = H2Connection(config)
        self.base = connection
        self.clock = clock
        self.reads = True
        self.trusts = False
        """Does not look at header fields: what a node says in them is not for the router to judge."""
        self.streams: dict[int, Heard] = {}
        self.goaway: int | None = None
        self.pieces: Callable[[bytes], Iterable[bytes]] = lambda data: (data,)
        """How what the peer sends is cut into reads."""
        self._backlog: dict[int, deque[bytes | Fields | None]] = {}
        values = {SettingCodes(name): value for name, value in ({3: 100} | settings).items()}
        self.h2.local_settings = Settings(client=client_side, initial_values=values)  # in force at once
        self.h2.initiate_connection()
        self.h2.increment_flow_control_window(_LARGE_WINDOW)

    def send(self, stream_id: int, data: bytes, *, end: bool = False) -> None:
        """DATA, as the windows allow; end: END_STREAM follows."""
        waiting = self._backlog.setdefault(stream_id, deque())
        if data:
            waiting.append(data)
        if end:
            waiting.append(None)

    def send_fields(self, stream_id: int, fields: Fields) -> None:
        """A header block that ends the stream, after the DATA that waits."""
        self._backlog.setdefault(stream_id, deque()).append(fields)

    def reset(self, stream_id: int, code: int = frames.Code.CANCEL) -> None:
        """RST_STREAM."""
        self._backlog.pop(stream_id, None)
        self.h2.reset_stream(stream_id, code)

    def unsent_bytes(self, stream_id: int) -> int:
        """DATA that waits for a window."""
        return sum(len(item) for item in self._backlog.get(stream_id, ()) if isinstance(item, bytes))

    def credit(self, stream_id: int) -> None:
        """Gives credit for what was read, which `reads` being off has kept back."""
        heard = self.streams[stream_id]
        length, heard.uncredited_bytes = heard.uncredited_bytes, 0
        if length:
            self._acknowledge(length, stream_id)

    def exchange(self) -> bool:
        """Carries what each side has; whether there was anything."""
        connection = self.base
        data = b"".join(connection.out)
        connection.out.clear()
        connection.sent()
        self.h2.config.validate_inbound_headers = not self.trusts
        if data and self.goaway is None:
            for event in self.h2.receive_data(data):
                self._hear(event)
        self._flush()
        said = self.h2.data_to_send()
        for piece in self.pieces(said) if said else ():
            feed(connection, piece, self.clock.time())
        return bool(data or said)

    def may_send(self, stream_id: int) -> bool:
        """Whether neither side has ended the stream or is about to, as far as the peer has heard."""
        stream = self.h2.streams.get(stream_id)
        ending = any(not isinstance(item, bytes) for item in self._backlog.get(stream_id, ()))
        return self.goaway is None and stream is not None and not ending and _may_send(stream)

    def drop_backlog(self, stream_id: int) -> None:
        """What waits to be sent there is not to be sent."""
        self._backlog.pop(stream_id, None)

    def drop_backlogs(self) -> None:
        """Nothing that waits is to be sent."""
        self._backlog.clear()

    def lose(self) -> None:
        """The socket is gone."""
        self.base.socket_lost()

    def _hear(self, event: events.Event) -> None:
        match event:
            case events.RequestReceived() | events.ResponseReceived():
                self.streams.setdefault(event.stream_id, Heard()).headers = _texts(event.headers)
            case events.TrailersReceived():
                self.streams[event.stream_id].trailers = _texts(event.headers)
            case events.DataReceived():
                heard = self.streams[event.stream_id]
                heard.received += event.data
                if self.reads:
                    self._acknowledge(event.flow_controlled_length, event.stream_id)
                else:
                    heard.uncredited_bytes += event.flow_controlled_length
            case events.StreamEnded():
                self.streams[event.stream_id].ended = True
            case events.StreamReset():
                self.streams.setdefault(event.stream_id, Heard()).reset = event.error_code
                self._backlog.pop(event.stream_id, None)
            case events.ConnectionTerminated():
                self.goaway = event.error_code
                self._backlog.clear()

    def _acknowledge(self, length: int, stream_id: int) -> None:
        try:
            self.h2.acknowledge_received_data(length, stream_id)
        except StreamClosedError:
            self.h2.acknowledge_received_data(0, stream_id)

    def _flush(self) -> None:
        if self.goaway is not None:
            return
        for stream_id, waiting in list(self._backlog.items()):
            while waiting:
                item = waiting[0]
                if isinstance(item, bytes):
                    room = min(self.h2.local_flow_control_window(stream_id), self.h2.max_outbound_frame_size)
                    if room <= 0:
                        break
                    self.h2.send_data(stream_id, item[:room])
                    if len(item) > room:
                        waiting[0] = item[room:]
                        continue
                elif item is None:
                    self.h2.end_stream(stream_id)
                else:
                    self.h2.send_headers(stream_id, item, end_stream=True)
                waiting.popleft()
            if not waiting:
                self._backlog.pop(stream_id, None)


class ClientPeer(H2Peer):
    """A client."""

    def __init__(self, context: RelayContext, clock: FiredClock, settings: dict[int, int]) -> None:
        self.connection = ClientConnection(context, clock.time(), lambda: None)
        super().__init__(self.connection, clock, {frames.Setting.ENABLE_PUSH: 0} | settings)

    def open(self, path: str = CONVERSE, *fields: tuple[str, str], session: str | None = "s", end: bool = False) -> int:
        """Begins a call; its stream."""
        stream_id: int = self.h2.get_next_available_stream_id()
        self.h2.send_headers(stream_id, request_fields(path, *fields, session=session), end_stream=end)
        self.streams[stream_id] = Heard()
        return stream_id


class NodePeer(H2Peer):
    """A node."""

    def __init__(
        self,
        name: str,
        limits: Limits,
        budget: Budget,
        clock: FiredClock,
        settings: dict[int, int],
        ping_policy: PingPolicy,
    ) -> None:
        self.name = name
        self.accepted: set[int] = set()
        self.last_stream_id = frames.MAX_STREAM_ID
        """Of its GOAWAY: what comes beyond is not served."""
        self.connection = NodeConnection(
            f"{name}:1", limits, budget, clock.time(), lambda: None, lambda: None, ping_policy
        )
        super().__init__(self.connection, clock, settings)

    @property
    def latest(self) -> int:
        """The stream that was opened last."""
        return max(self.streams)

    def accept(self, stream_id: int, *fields: tuple[str, str]) -> None:
        """Takes the call."""
        names_node = [(name, self.name if name == "x-agentring-node" else value) for name, value in ACCEPTED]
        self.h2.send_headers(stream_id, [*names_node, *fields])
        self.accepted.add(stream_id)

    def finish(self, stream_id: int, status: str = "0", *fields: tuple[str, str]) -> None:
        """Trailers, after what waits."""
        self.send_fields(stream_id, (("grpc-status", status), *fields))

    def decline(self, stream_id: int, status: str, *fields: tuple[str, str]) -> None:
        """Trailers without anything before them."""
        head = ((":status", "200"), ("content-type", "application/grpc"), ("grpc-status", status))
        self.h2.send_headers(stream_id, [*head, *fields], end_stream=True)

    def redirect(self, stream_id: int, to: str) -> None:
        """Another node owns it."""
        self.decline(stream_id, "10", ("x-agentring-redirect", f"{to} {to}:1"))

    def refuse(self, stream_id: int, why: str) -> None:
        """Takes nothing new."""
        self.decline(stream_id, "14", ("x-agentring-refused", why), ("grpc-status-details-bin", "CA4"))


def _may_send(stream: H2Stream) -> bool:
    return stream.state_machine.state in (StreamState.OPEN, StreamState.HALF_CLOSED_REMOTE)


def _texts(fields: Iterable[tuple[str | bytes, str | bytes]]) -> list[tuple[str, str]]:
    return [(_text(name), _text(value)) for name, value in fields]


def _text(value: str | bytes) -> str:
    return value if isinstance(value, str) else value.decode("latin-1")
