"""What HTTP/2 and gRPC allow of a request's headers, and what the node is sent of them."""

import pytest

from agentring.errors import MalformedRequest, MetadataTooLarge
from agentring.http2.frames import StreamBroken
from agentring.http2.hpack import FieldReader, block, literal
from agentring.ids import SessionRef
from harness.http2_frames import CONVERSE, RUN_TASK, Fields, request_fields
from router.relay.request import Request, deadline
from router.routing.route import Route, from_headers

STREAM_ID = literal("x-agentring-stream-id", "77")


def read(fields: Fields, last: Request | None = None) -> Request:
    return Request(FieldReader(max_list_bytes=1 << 16, dynamic=False).read(block(fields)), last)


def decoded(raw: bytes) -> list[tuple[str, str]]:
    return [(f.name, f.value) for f in FieldReader(max_list_bytes=1 << 16, dynamic=False).read(raw)]


def node_fields(request: Request, route: Route | None = None) -> list[tuple[str, str]]:
    route = route or from_headers(request.method, request.routing)
    return decoded(request.node_block(route, STREAM_ID, identity=False))


def values(pairs: list[tuple[str, str]], name: str) -> list[str]:
    return [value for each, value in pairs if each == name]


LINE: Fields = ((":method", "POST"), (":scheme", "http"), (":path", CONVERSE))


@pytest.mark.parametrize(
    "fields",
    [
        LINE[1:],
        LINE[:1] + LINE[2:],
        LINE[:2],
        (*LINE[:2], (":path", "")),
        (*LINE, (":path", CONVERSE)),
        (*LINE, (":status", "200")),
        (*LINE, (":unknown", "1")),
        (("a", "b"), *LINE),
        (*LINE, ("a", "b"), (":authority", "x")),
        (("x-session-id", "s"), *LINE),
        (*LINE[:2], ("x-session-id", "s"), LINE[2]),
        (*LINE, ("connection", "close")),
        (*LINE, ("te", "gzip")),
        (*LINE, ("content-length", "1x")),
        (*LINE, ("content-length", "-1")),
        (*LINE, ("content-length", "\xb2")),
        (),
    ],
)
def test_what_rfc_9113_forbids_ends_the_stream(fields: Fields) -> None:
    with pytest.raises(StreamBroken):
        read(fields)


def test_a_request_line_out_of_order_is_found_whatever_came_before() -> None:
    last = read((*LINE, ("a", "b")))
    with pytest.raises(StreamBroken):
        read((*LINE[:2], ("x-session-id", "s"), LINE[2], ("a", "b")), last)


@pytest.mark.parametrize(
    ("fields", "is_grpc"),
    [
        ((*LINE, ("content-type", "application/grpc")), True),
        ((*LINE, ("content-type", "application/grpc+proto")), True),
        ((*LINE, ("content-type", "application/grpc;charset=utf-8")), True),
        ((*LINE, ("content-type", "application/grpc-web")), False),
        ((*LINE, ("content-type", "application/grpc-web+proto")), False),
        ((*LINE, ("content-type", "application/grpcx")), False),
        ((*LINE, ("content-type", "application/json")), False),
        (LINE, False),
        (((":method", "GET"), *LINE[1:], ("content-type", "application/grpc")), False),
    ],
)
def test_what_is_grpc(fields: Fields, is_grpc: bool) -> None:
    assert read(fields).shared.is_grpc is is_grpc


def test_the_form_of_the_request_before_is_used_again_if_all_but_the_route_is_the_same() -> None:
    first = read(request_fields(session="a"))
    second = read(request_fields(session="b"), first)
    other = read(request_fields(CONVERSE, ("x", "y"), session="b"), second)
    assert second.shared is first.shared
    assert second.routing == {"x-session-id": "b"}
    assert other.shared is not first.shared


@pytest.mark.parametrize(
    ("word", "timeout_s"),
    [("2H", 7_200), ("3M", 180), ("5S", 5), ("250m", 0.25), ("4u", 4e-6), ("9n", 9e-9), ("99999999S", 99_999_999)],
)
def test_timeouts(word: str, timeout_s: float) -> None:
    assert read(request_fields(CONVERSE, ("grpc-timeout", word))).timeout_s() == pytest.approx(timeout_s)


@pytest.mark.parametrize("word", ["", "1", "S", "1s", "1 S", "-1S", "1.5S", "123456789S", "\xb2S"])
def test_timeouts_that_are_none(word: str) -> None:
    with pytest.raises(MalformedRequest):
        read(request_fields(CONVERSE, ("grpc-timeout", word))).timeout_s()


@pytest.mark.parametrize(
    ("remaining_s", "word"),
    [(1.5, "1500m"), (-1.0, "1m"), (0.0, "1m"), (99_999.999, "99999999m"), (100_000.0, "100000S"), (1e12, "99999999S")],
)
def test_the_deadline_that_a_node_is_told(remaining_s: float, word: str) -> None:
    assert decoded(deadline(remaining_s)) == [("grpc-timeout", word)]


def test_metadata_are_counted_without_what_routes() -> None:
    name, overhead = "x-big", 32 + len("x-big")
    plain = read(request_fields()).shared.size_bytes
    request = read(request_fields(CONVERSE, (name, "v" * (8192 - plain - overhead)), session="s" * 100))
    request.check(8192)
    with pytest.raises(MetadataTooLarge):
        request.check(8191)


def test_a_session_goes_as_it_came_with_its_stream_and_a_tenant() -> None:
    pairs = node_fields(read(request_fields(CONVERSE, ("x-agent", "echo"), ("user-agent", "u"))))
    assert values(pairs, "x-session-id") == ["s"]
    assert values(pairs, "x-agent") == ["echo"]
    assert values(pairs, "x-tenant-id") == ["default"]
    assert values(pairs, "x-agentring-stream-id") == ["77"]
    assert values(pairs, "user-agent") == ["u"]
    assert [name for name, _ in pairs[:4]] == [":method", ":scheme", ":path", ":authority"]


def test_a_tenant_that_was_named_is_not_doubled() -> None:
    assert values(node_fields(read(request_fields(CONVERSE, ("x-tenant-id", "t")))), "x-tenant-id") == ["t"]


@pytest.mark.parametrize("name", ["x-session-id", "x-agent", "x-tenant-id", "x-agentring-stream-id"])
def test_of_duplicates_the_node_is_sent_the_one_that_was_routed_by(name: str) -> None:
    fields = request_fields(CONVERSE, (name, "first"), (name, "second"), session="zero")
    pairs = node_fields(read(fields))
    wanted = {"x-agentring-stream-id": "77"}.get(name, "second")
    assert values(pairs, name) == [wanted]


def test_a_session_id_means_nothing_to_a_task() -> None:
    pairs = node_fields(read(request_fields(RUN_TASK, ("x-task-key", "k"), session="s")))
    assert (values(pairs, "x-task-key"), values(pairs, "x-session-id")) == (["k"], [])


def test_a_route_out_of_a_message_is_told_in_headers() -> None:
    route = Route(SessionRef("tenant", "from-message"), "echo")  # type: ignore[arg-type]
    pairs = node_fields(read(request_fields(session=None)), route)
    assert values(pairs, "x-session-id") == ["from-message"]
    assert values(pairs, "x-tenant-id") == ["tenant"]
    assert values(pairs, "x-agent") == ["echo"]


@pytest.mark.parametrize("agent", ["a\nb", "\xe4", ""])
def test_an_agent_that_no_header_can_carry_is_left_out(agent: str) -> None:
    route = Route(SessionRef("t", "s"), agent)  # type: ignore[arg-type]
    assert values(node_fields(read(request_fields(session=None)), route), "x-agent") == []


def test_what_is_hop_by_hop_or_internal_is_not_sent_on() -> None:
    extra = (("grpc-timeout", "1S"), ("content-length", "9"), ("host", "h"), ("x-agentring-after-seq", "3"))
    names = {name for name, _ in node_fields(read(request_fields(CONVERSE, *extra)))}
    assert not names & {name for name, _ in extra}


@pytest.mark.parametrize("identity", [False, True])
def test_answers_that_are_looked_into_are_asked_for_uncompressed(identity: bool) -> None:
    request = read(request_fields(CONVERSE, ("grpc-accept-encoding", "gzip")))
    pairs = decoded(request.node_block(from_headers(CONVERSE, request.routing), STREAM_ID, identity=identity))
    assert values(pairs, "grpc-accept-encoding") == ([] if identity else ["gzip"])
