"""Attacks that do little and hold much: connections, unfinished business, and streams that are not read."""

import select
import time
from functools import partial

from agentring.http2 import frames
from agentring.http2.frames import Setting
from agentring.v1 import session_pb2
from harness.abuse import Attack, Outcome, Scene, finish, session_id
from harness.rawhttp2 import CONVERSE, RUN_TURN, RawConnection, frame, message, request_block

_MESSAGE_BYTES = 1 << 20
_STREAMS_A_CONNECTION = 50
_DRIP_S = 0.2
_PREFACE_DRIP_S = 0.6
"""For each of its 24 bytes: longer than a router waits for all of them."""
_WORD_BYTES = 16_000
_WORDS_PER_S = 50.0


def idle_connections(scene: Scene) -> Outcome:
    """So many connections, each with preface and SETTINGS, and nothing more."""
    scene.begin()
    connections = []
    for _ in range(scene.size):
        connections.append(RawConnection(scene.address))
        if len(connections) % 100 == 0:
            connections[-1].wait(lambda: connections[-1].kinds[frames.SETTINGS] > 1, 1.0)
    scene.placed.set()
    scene.over.wait()
    return finish(Outcome(sent=scene.size), connections, wait_s=0.5)


def slow_preface(scene: Scene) -> Outcome:
    """Connections that say their preface byte by byte, in more time than anybody has."""
    scene.begin()
    connections = [RawConnection(scene.address, opening=b"") for _ in range(scene.size)]
    for byte in frames.PREFACE:
        for connection in connections:
            connection.send(bytes([byte]))
            connection.pump()
        if all(connection.is_over for connection in connections):
            break
        time.sleep(_PREFACE_DRIP_S)
    scene.hold(connections)
    return finish(Outcome(sent=scene.size), connections, wait_s=2.0)


def slow_headers(scene: Scene) -> Outcome:
    """Connections whose first header block goes on byte by byte, inside a CONTINUATION that has no end."""
    head = frame(frames.HEADERS, 0, 1, request_block(CONVERSE)) + frame(frames.CONTINUATION, 0, 1, bytes(16_384))[:9]
    opening = frames.PREFACE + frames.settings({}) + head
    scene.begin()
    connections = [RawConnection(scene.address, opening=opening) for _ in range(scene.size)]
    scene.placed.set()
    while not scene.over.wait(_DRIP_S):
        for connection in connections:
            connection.send(b"\0")
            connection.pump()
    return finish(Outcome(sent=scene.size), connections)


def half_messages(scene: Scene) -> Outcome:
    """Streams that begin a message of 1 MiB each, and send all of it but its last byte."""
    block = request_block(CONVERSE)
    scene.begin()
    connections, begun = [], []
    for number in range(scene.size):
        if number % _STREAMS_A_CONNECTION == 0:
            connections.append(RawConnection(scene.address))
            connections[-1].wait(lambda: connections[-1].kinds[frames.SETTINGS] > 0)
        stream_id = connections[-1].next_stream_id()
        connections[-1].send(frames.headers(stream_id, block, end_stream=False))
        begun.append(_Half(connections[-1], stream_id))
    deadline_s = time.monotonic() + 30
    while sum(half.go_on() for half in begun) and time.monotonic() < deadline_s:
        select.select(connections, [], [], 0.05)
        for connection in connections:
            connection.pump()
    scene.hold(connections)
    return finish(Outcome(sent=scene.size), connections)


class _Half:
    """One of these streams."""

    def __init__(self, connection: RawConnection, stream_id: int) -> None:
        self._connection = connection
        self._id = stream_id
        self._body = message(bytes(_MESSAGE_BYTES - 5))[:-1]
        self._sent_bytes = 0

    def go_on(self) -> bool:
        """Sends what the windows allow; whether anything is left to send."""
        connection = self._connection
        if connection.is_over or self._id in connection.resets or self._id in connection.statuses:
            return False
        credit = connection.peer_initial_window + connection.credit[self._id] - self._sent_bytes
        while credit > 0 and self._sent_bytes < len(self._body):
            piece = self._body[self._sent_bytes : self._sent_bytes + min(credit, frames.MAX_FRAME_BYTES)]
            if not connection.send(frames.data(self._id, piece)):
                return False
            self._sent_bytes += len(piece)
            credit -= len(piece)
        return self._sent_bytes < len(self._body)


def stuck_readers(scene: Scene, *, reads_socket: bool) -> Outcome:
    """Streams of long answers that are read until `go`, and not from then on.

    reads_socket: what has come is read, but no window is opened; else the windows are open, but nothing is read.
    """
    window = frames.DEFAULT_WINDOW if reads_socket else 1 << 30
    connections = []
    for _ in range(scene.size):
        connection = RawConnection(scene.address, initial_window=window, receive_buffer_bytes=1 << 16)
        if not reads_socket:
            connection.send(frames.window_update(0, 1 << 30))
        request = session_pb2.RunTurnRequest(session_id=session_id(), agent="echo")
        request.turn.turn_id = "long"
        request.turn.input.text = "x" * _WORD_BYTES
        request.turn.input.data.update({"tokens": 100_000, "rate": _WORDS_PER_S})
        headers = frames.headers(1, request_block(RUN_TURN, {"x-session-id": request.session_id}), end_stream=False)
        connection.send(headers + frames.data(1, message(request.SerializeToString()), end_stream=True))
        connections.append(connection)
    begun = [connection.wait(lambda: connection.data_bytes > 0) for connection in connections]  # noqa: B023  at once
    assert all(begun), "an answer has not begun"
    scene.ready.set()
    while not scene.go.wait(0.005):
        for connection in connections:
            connection.pump(grant=reads_socket)
    if reads_socket:
        scene.hold(connections)
    else:
        scene.hold()
    return finish(Outcome(sent=scene.size), connections)


def window_flips(scene: Scene) -> Outcome:
    """Many routed streams, and then SETTINGS that change every one's window, as many at once as one may send."""
    connection = RawConnection(scene.address)
    for _ in range(scene.size):
        block = request_block(CONVERSE, {"x-session-id": session_id()})
        connection.send(frames.headers(connection.next_stream_id(), block, end_stream=False))
        connection.pump()
        time.sleep(0.001)
    scene.begin()
    windows = (frames.MAX_WINDOW >> 1, 0)
    connection.send(b"".join(frames.settings({Setting.INITIAL_WINDOW_SIZE: windows[i % 2]}) for i in range(49)))
    scene.hold([connection])
    return finish(Outcome(sent=scene.size), [connection])


def abandoned_streams(scene: Scene) -> Outcome:
    """Many routed streams, and the connection is gone from one moment to the next."""
    connection = RawConnection(scene.address)
    for _ in range(scene.size):
        block = request_block(CONVERSE, {"x-session-id": session_id()})
        connection.send(frames.headers(connection.next_stream_id(), block, end_stream=False))
        connection.pump()
        time.sleep(0.001)
    scene.begin()
    outcome = finish(Outcome(sent=scene.size), [connection])
    scene.hold()
    return outcome


HOLDS: dict[str, Attack] = {
    "idle-connections": idle_connections,
    "too-many-connections": idle_connections,
    "slow-preface": slow_preface,
    "slow-headers": slow_headers,
    "half-messages": half_messages,
    "stuck-windows": partial(stuck_readers, reads_socket=True),
    "stuck-sockets": partial(stuck_readers, reads_socket=False),
    "window-flips": window_flips,
    "abandoned-streams": abandoned_streams,
}
