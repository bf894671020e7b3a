"""Calls that any node answers: past those that cannot, to the next."""

import pytest

from harness.http2 import Wire
from harness.http2_frames import message


@pytest.mark.parametrize("how", ["draining", "lost", "not connected"])
def test_a_list_goes_past_a_node_that_cannot_answer_to_any_other(how: str) -> None:
    wire = Wire("a", "b")
    asked = [wire.lookup.any_node().first().node_id for _ in range(2)]  # they take turns
    if how == "not connected":
        wire.pool.held.add(asked[0])
    client = wire.client()
    stream_id = client.open("/agentring.v1.SessionService/ListSessions", session=None)
    client.send(stream_id, message(b"which"))
    wire.settle()
    if how == "draining":
        wire.node(asked[0]).refuse(1, "draining")
    elif how == "lost":
        wire.pool.held.add(asked[0])
        wire.node(asked[0]).lose()
        wire.pool.release(asked[0], connected=False)
    else:
        wire.pool.release(asked[0], connected=False)
    wire.settle()
    other = wire.node(asked[1])
    assert other.streams[1].data == message(b"which")
    other.accept(1)
    other.send(1, message(b"page"))
    other.finish(1)
    wire.settle()
    assert (client.streams[stream_id].data, client.streams[stream_id].status) == (message(b"page"), "0")
    assert wire.pool.asked == [asked[0]] * (2 if how == "lost" else 1) + asked[1:]
    wire.close()


def test_a_list_that_no_node_answers_says_why() -> None:
    wire = Wire("a")
    client = wire.client()
    stream_id = client.open("/agentring.v1.SessionService/ListSessions", session=None)
    client.send(stream_id, message(b"which"))
    wire.settle()
    wire.node("a").refuse(1, "draining")
    wire.settle()
    assert client.streams[stream_id].status == "14"
    assert "drain" in str(client.streams[stream_id].sentence)
    wire.close()
