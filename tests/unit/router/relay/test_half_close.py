"""A client that ends its side of the connection is answered what it has asked for; one that has left is noticed."""

import pytest

from agentring.http2 import frames
from agentring.http2.frames import Code, Setting
from harness.http2 import Wire
from harness.http2_frames import CONVERSE, FOREIGN, data_of, marked, message, opening, request
from harness.http2_raw import RawClient

HELLO = message(b"hello")


def asked(wire: Wire, path: str, *, ended: bool, window: int = 1 << 16) -> RawClient:
    """A client whose call a node has taken."""
    client = wire.raw_client(opening({Setting.INITIAL_WINDOW_SIZE: window}))
    client.send(frames.headers(1, request(path), end_stream=False) + frames.data(1, HELLO, end_stream=ended))
    client.send(frames.SETTINGS_ACK)
    wire.settle()
    node = wire.node()
    node.accept(node.latest)
    wire.settle()
    return client


@pytest.mark.parametrize("path", [FOREIGN, CONVERSE])
def test_what_was_asked_for_is_answered_and_then_the_connection_ends(path: str) -> None:
    wire = Wire()
    client = asked(wire, path, ended=True)
    assert client.connection.peer_ended()
    assert [each.kind for each in client.read()][-1] == frames.GOAWAY
    node, answer = wire.node(), marked(1, 1, b"later")
    wire.clock.advance(3_600)
    client.connection.tick(wire.clock.time())
    assert client.connection.broken_for == ""
    node.send(1, answer)
    node.finish(1)
    wire.settle()
    found = client.read()
    assert data_of(found, 1) == answer
    assert [each.flags for each in found if each.kind == frames.HEADERS] == [frames.END_HEADERS | frames.END_STREAM]
    assert client.connection.ended == Code.NO_ERROR
    wire.close()


@pytest.mark.parametrize("path", [FOREIGN, CONVERSE])
def test_a_request_that_will_not_come_to_its_end_is_given_up(path: str) -> None:
    wire = Wire()
    client = asked(wire, path, ended=False)
    assert not client.connection.peer_ended()
    wire.settle()
    assert wire.node().streams[1].reset == Code.CANCEL
    client.connection.socket_lost()
    wire.close()


def test_only_what_is_complete_goes_on() -> None:
    wire = Wire()
    client = asked(wire, FOREIGN, ended=True)
    client.send(frames.headers(3, request(FOREIGN), end_stream=False) + frames.data(3, HELLO))
    wire.settle()
    assert client.connection.peer_ended()
    wire.settle()
    assert (wire.node().streams[1].reset, wire.node().streams[3].reset) == (None, Code.CANCEL)
    client.connection.socket_lost()
    wire.close()


def test_a_connection_without_a_call_is_closed() -> None:
    client = Wire().raw_client()
    assert not client.connection.peer_ended()


def test_what_no_window_will_ever_let_through_is_given_up() -> None:
    wire = Wire()
    client = asked(wire, FOREIGN, ended=True, window=3)
    assert client.connection.peer_ended()
    wire.node().send(1, HELLO)
    wire.settle()
    client.connection.tick(wire.clock.time())
    assert client.connection.broken_for == "windows that nobody opens"
    wire.settle()
    assert wire.node().streams[1].reset == Code.CANCEL
    wire.close()


def test_it_is_written_to_again_and_again_without_a_question() -> None:
    wire = Wire()
    client = asked(wire, FOREIGN, ended=True)
    assert client.connection.peer_ended()
    client.read()
    client.connection.tick(wire.clock.time())
    assert [each.kind for each in client.read()] == [frames.WINDOW_UPDATE]
    client.connection.socket_lost()
    wire.close()
