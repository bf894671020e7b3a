"""What is a response and what is none: a service's status and reset are its own, a node's are marked."""

import pytest

from agentring.http2 import frames
from agentring.http2.frames import Code
from harness.http2 import Wire
from harness.http2_frames import CONVERSE, FOREIGN, GET_SESSION
from harness.http2_losses import SAYS
from harness.http2_opened import OPEN, OURS, opened, reason


@pytest.mark.parametrize("path", [FOREIGN, *OURS])
@pytest.mark.parametrize("status", ["1", "2", "4", "8", "13", "14"])
@pytest.mark.parametrize("taken", [False, True])
def test_a_status_without_our_mark_is_the_services_own(wire: Wire, path: str, status: str, taken: bool) -> None:
    """Whatever gRPC may make of a call that a process has dropped: the method is not run again."""
    heard, node, at_node = opened(wire, wire.client(), path)
    if taken:
        node.accept(at_node)
        node.finish(at_node, status, ("grpc-message", "as it is"))
    else:
        node.decline(at_node, status, ("grpc-message", "as it is"))
    wire.settle()
    assert (heard.status, heard.sentence, len(wire.pool.asked)) == (status, "as it is", 1)


@pytest.mark.parametrize("fields", [(SAYS,), (SAYS, ("grpc-status-details-bin", "CA4"))])
def test_what_a_node_itself_says_is_told_without_the_mark(wire: Wire, fields: tuple[tuple[str, str], ...]) -> None:
    heard, node, at_node = opened(wire, wire.client(), GET_SESSION)
    node.decline(at_node, "14", *fields)
    wire.settle()
    assert heard.status == "14"
    assert SAYS[0] not in heard.fields


def test_nobody_believes_a_mark_of_a_client(wire: Wire) -> None:
    _, node, at_node = opened(wire, wire.client(), FOREIGN, SAYS, ("x-agentring-moved", "1"))
    assert not {SAYS[0], "x-agentring-moved"} & node.streams[at_node].fields.keys()


def test_a_node_without_the_mark_ends_a_stream_that_is_on_its_way_back(wire: Wire) -> None:
    """As nodes of the version before do: the client tries again by itself."""
    heard, node, at_node = opened(wire, wire.client(), CONVERSE)
    node.accept(at_node)
    node.finish(at_node, "14", ("x-agentring-moved", "1"))
    wire.settle()
    wire.clock.advance(0.1)
    wire.settle()
    next_node = wire.node(wire.pool.asked[-1])
    next_node.decline(next_node.latest, "14", ("grpc-message", "not now"))
    wire.settle()
    assert (heard.status, heard.sentence) == ("14", "not now")


@pytest.mark.parametrize("path", [FOREIGN, *OURS])
@pytest.mark.parametrize("taken", [False, True])
@pytest.mark.parametrize("code", [*(code for code in Code if code != Code.REFUSED_STREAM), 99])
def test_a_reset_is_an_answer(wire: Wire, path: str, taken: bool, code: int) -> None:
    heard, node, at_node = opened(wire, wire.client(), path)
    if taken:
        node.accept(at_node)
        wire.settle()
    node.connection.receive(frames.rst_stream(at_node, code), wire.clock.time())
    wire.settle()
    wanted = {
        int(Code.CANCEL): ("1", "CALL_CANCELLED"),
        int(Code.ENHANCE_YOUR_CALM): ("8", "CALL_SHED"),
    }
    assert (heard.status, reason(heard)) == wanted.get(int(code), ("13", "CALL_RESET"))
    assert len(wire.pool.asked) == 1
    node.lose()


def test_a_reset_is_told_once_the_first_message_is_there(wire: Wire) -> None:
    client = wire.client()
    stream_id = client.open(FOREIGN)
    wire.settle()
    node = wire.node(wire.pool.asked[-1])
    node.reset(1, Code.INTERNAL_ERROR)
    wire.settle()
    assert not client.streams[stream_id].ended
    client.send(stream_id, OPEN)
    wire.settle()
    assert reason(client.streams[stream_id]) == "CALL_RESET"
