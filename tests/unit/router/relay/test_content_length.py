"""A body of another length than `content-length` says is a fault of its stream, and of nothing else."""

import pytest

from agentring.http2 import frames
from agentring.http2.frames import Code
from agentring.http2.hpack import block
from harness.http2 import Wire
from harness.http2_frames import CONVERSE, FOREIGN, frame, message, request, resets

HELLO = message(b"hello")
TRAILERS = block((("x-more", "y"),))


@pytest.mark.parametrize("path", [CONVERSE, FOREIGN])
@pytest.mark.parametrize(
    ("length", "sent"),
    [
        (len(HELLO) - 1, [frames.data(1, HELLO, end_stream=True)]),
        (len(HELLO) - 1, [frames.data(1, HELLO)]),
        (len(HELLO) + 1, [frames.data(1, HELLO, end_stream=True)]),
        (len(HELLO) + 1, [frames.data(1, HELLO), frames.data(1, b"", end_stream=True)]),
        (len(HELLO) + 1, [frames.data(1, HELLO), frames.headers(1, TRAILERS, end_stream=True)]),
        (0, [frames.data(1, HELLO)]),
        (1, [frames.data(1, b"", end_stream=True)]),
    ],
)
def test_another_length_resets_the_stream_here_and_at_the_node(path: str, length: int, sent: list[bytes]) -> None:
    wire = Wire()
    client, neighbour = wire.raw_client(), wire.client()
    neighbour.send(neighbour.open(path), HELLO)
    wire.settle()
    found = client.open(1, path, ("content-length", str(length)))
    wire.settle()
    found += client.send(*sent)
    wire.settle()
    assert resets(found) == [(1, Code.PROTOCOL_ERROR)]
    assert not client.connection.streams
    node = wire.node()
    assert node.streams[3].reset == Code.CANCEL
    assert node.streams[1].reset is None
    assert client.connection.ended is None
    neighbour.lose()
    wire.close()


@pytest.mark.parametrize("pieces", [[HELLO], [HELLO[:3], HELLO[3:]], [HELLO[:7], b"", HELLO[7:]]])
@pytest.mark.parametrize("padding", [0, 5])
def test_the_right_length_passes_however_it_is_cut(pieces: list[bytes], padding: int) -> None:
    wire = Wire()
    client = wire.raw_client()
    client.send(frames.headers(1, request(FOREIGN, ("content-length", str(len(HELLO)))), end_stream=False))
    client.send(frame(frames.SETTINGS, frames.ACK))
    wire.settle()
    for piece in pieces:
        padded = bytes([padding]) + piece + bytes(padding) if padding else piece
        client.send(frame(frames.DATA, frames.PADDED if padding else 0, 1, padded))
    client.send(frame(frames.DATA, frames.END_STREAM, 1))
    wire.settle()
    heard = wire.node().streams[1]
    assert (heard.data, heard.ended, heard.reset) == (HELLO, True, None)
    assert "content-length" not in heard.fields
    client.connection.socket_lost()
    wire.close()
