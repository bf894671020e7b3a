"""What a client's header fields may hold: no node is sent what RFC 9113 and gRPC do not allow.

A node's server that dies of such a field would be followed by the next one that is asked.
"""

import base64
import re
from collections.abc import Iterator

import pytest
from google.rpc import error_details_pb2, status_pb2
from hypothesis import given
from hypothesis import strategies as st

from agentring.http2 import frames
from agentring.http2.frames import Code
from agentring.http2.hpack import FieldReader, block
from agentring.http2.limits import Limits, Rate
from harness.http2 import Wire
from harness.http2_frames import CONVERSE, FOREIGN, Fields, frame, message, request_fields, resets
from harness.http2_raw import RawClient

PLACES = (":path", ":authority", ":scheme", ":method", "name", "value")
"""Where a request has bytes of a client's choice."""
NAME, VALUE = re.compile(r":?[0-9a-z_.\-]+"), re.compile(r"[\x20-\x7e]*")
ALLOWED = {":path": re.compile(r"/[!-~]*"), ":scheme": re.compile("https?"), ":authority": re.compile("[!-~]+")}


def written(place: str, said: str, path: str) -> Fields:
    """A request with these bytes in one place."""
    fields = request_fields(path)
    if place == "name":
        return (*fields, (said, "v"))
    if place == "value":
        return (*fields, ("x-v", said))
    return tuple((name, said if name == place else value) for name, value in fields)


class HeaderProbe:
    """One client's connection before a node that says nothing."""

    def __init__(self) -> None:
        plenty = Rate(1 << 20, 1e9)
        self.wire = Wire(limits=Limits(reattach_timeout_s=0, resets=plenty, idle_frames=plenty))
        self.client: RawClient = self.wire.raw_client()
        self.answer: dict[str, str] = {}
        self._stream_id = -1
        self._seen = 0

    def ask(self, fields: Fields) -> str:
        """What became of the request: `reset`, an HTTP status, a gRPC status with its reason, or `passed`."""
        self._stream_id += 2
        stream_id = self._stream_id
        sent = frames.headers(stream_id, block(fields), end_stream=False) + frames.data(
            stream_id, message(b""), end_stream=True
        )
        found = self.client.send(sent)
        if any(each.kind == frames.SETTINGS and not each.flags for each in found):
            found += self.client.send(frame(frames.SETTINGS, frames.ACK))
        self.wire.settle()
        found += self.client.read()
        assert self.client.connection.ended is None
        if asked := len(self.wire.pool.asked) - self._seen:
            assert asked == 1
            self._seen += 1
            node = self.wire.node()
            node.reset(node.latest, Code.CANCEL)
            self.wire.settle()
            self.client.read()
            self._check_upstream(node.streams[node.latest].headers)
            return "passed"
        if resets(found) and not any(each.kind == frames.HEADERS for each in found):
            assert resets(found) == [(stream_id, Code.PROTOCOL_ERROR)]
            return "reset"
        answer = self.answer = dict(_pairs([each.payload for each in found if each.kind == frames.HEADERS]))
        if "grpc-status" not in answer:
            return answer[":status"]
        packed = answer["grpc-status-details-bin"]
        status = status_pb2.Status.FromString(base64.b64decode(packed + "=" * (-len(packed) % 4)))
        info = error_details_pb2.ErrorInfo()
        assert status.details[0].Unpack(info)
        return f"{answer['grpc-status']} {info.reason} {info.metadata.get('header', '')}".strip()

    def _check_upstream(self, fields: list[tuple[str, str]]) -> None:
        for name, value in fields:
            assert NAME.fullmatch(name), name
            assert VALUE.fullmatch(value), (name, value)
            if name in ALLOWED:
                assert ALLOWED[name].fullmatch(value), (name, value)
        names = [name for name, _ in fields]
        for once in (":method", ":scheme", ":path", ":authority", "te", "content-type"):
            assert names.count(once) == 1, once
        assert ("te", "trailers") in fields

    def close(self) -> None:
        self.client.connection.socket_lost()
        self.wire.close()


def _pairs(blocks: list[bytes]) -> Iterator[tuple[str, str]]:
    reader = FieldReader(max_list_bytes=1 << 16, dynamic=False)
    for each in blocks:
        yield from ((field.name, field.value) for field in reader.read(each))


@pytest.fixture
def probe() -> Iterator[HeaderProbe]:
    found = HeaderProbe()
    yield found
    found.close()


@pytest.mark.parametrize("path", [CONVERSE, FOREIGN])
@pytest.mark.parametrize("place", PLACES)
def test_every_byte_in_every_place_is_allowed_or_answered(probe: HeaderProbe, place: str, path: str) -> None:
    base = {":path": path, ":authority": "router", ":scheme": "http", ":method": "POST", "name": "x-n", "value": "v"}
    for byte in map(chr, range(256)):
        for said in (byte, base[place] + byte, byte + base[place], base[place][:3] + byte + base[place][3:]):
            became = probe.ask(written(place, said, path))
            if not (said.isascii() and said.isprintable()):
                assert became != "passed", (place, said)
            if place in (":path", ":authority", ":scheme") and said and became not in ("passed", "reset"):
                assert became in (f"3 MALFORMED_HEADER {place}", "12 UNIMPLEMENTED"), (place, said, became)


@given(st.sampled_from(PLACES), st.text(st.characters(max_codepoint=255), max_size=40), st.booleans())
def test_nothing_that_is_not_allowed_passes(place: str, said: str, foreign: bool) -> None:
    probe = HeaderProbe()
    probe.ask(written(place, said, FOREIGN if foreign else CONVERSE))
    assert probe.ask(request_fields(CONVERSE)) == "passed"  # the neighbour of the same connection
    probe.close()


@pytest.mark.parametrize(
    ("place", "said", "became"),
    [
        (":path", "/u\xff/M", "3 MALFORMED_HEADER :path"),
        (":path", "/grpc.\xff/M", "3 MALFORMED_HEADER :path"),
        (":path", "agentring", "3 MALFORMED_HEADER :path"),
        (":path", "/a b/M", "3 MALFORMED_HEADER :path"),
        (":path", "/" + "a" * 2_000, "3 MALFORMED_HEADER :path"),
        (":path", "", "reset"),
        (":scheme", "ftp", "3 MALFORMED_HEADER :scheme"),
        (":scheme", "HTTP", "3 MALFORMED_HEADER :scheme"),
        (":scheme", "https", "passed"),
        (":authority", "a b%%\xff", "3 MALFORMED_HEADER :authority"),
        (":authority", "user@host", "3 MALFORMED_HEADER :authority"),
        (":authority", "a" * 2_000, "3 MALFORMED_HEADER :authority"),
        (":authority", "[::1]:50051", "passed"),
        (":authority", "", "passed"),
        (":method", "PO\xffST", "415"),
        ("name", "X-Upper", "reset"),
        ("name", "x!bang", "3 MALFORMED_HEADER x!bang"),
        ("name", "x\xff", "reset"),
        ("value", "\xff\xfe", "3 MALFORMED_HEADER x-v"),
        ("value", "a\tb", "3 MALFORMED_HEADER x-v"),
        ("value", "a\x01\x7f", "3 MALFORMED_HEADER x-v"),
        ("value", "a\nb", "reset"),
        ("value", "", "passed"),
        ("value", "a b", "passed"),
    ],
)
def test_what_each_is_answered(probe: HeaderProbe, place: str, said: str, became: str) -> None:
    assert probe.ask(written(place, said, FOREIGN)) == became


@pytest.mark.parametrize("path", [CONVERSE, FOREIGN])
@pytest.mark.parametrize(
    ("name", "value", "passes"),
    [
        ("x-bin", "!!!!", False),
        ("x-bin", "AAA=AAA", False),
        ("grpc-tags-bin", "A", False),
        ("grpc-trace-bin", "AAAA,!", False),
        ("x-bin", "AAA", True),
        ("x-bin", "AAA=", True),
        ("x-bin", "AAA, AAA=", True),
        ("x-bin", "", True),
        ("grpc-previous-rpc-attempts", "2", True),
        ("grpc-previous-rpc-attempts", "x", False),
        ("grpc-previous-rpc-attempts", "-1", False),
        ("grpc-retry-pushback-ms", "x", False),
    ],
)
def test_what_grpcs_own_fields_hold(probe: HeaderProbe, path: str, name: str, value: str, passes: bool) -> None:
    became = probe.ask(request_fields(path, (name, value)))
    assert became == ("passed" if passes else f"3 MALFORMED_HEADER {name}")


@pytest.mark.parametrize("session", ["s", None])
def test_messages_that_cannot_be_unpacked_are_refused_first(probe: HeaderProbe, session: str | None) -> None:
    refused = probe.ask(request_fields(CONVERSE, ("grpc-encoding", "zstd"), session=session))
    assert refused == "12 ENCODING_NOT_SUPPORTED"
    assert probe.answer["grpc-accept-encoding"] == "identity, deflate, gzip"
    assert probe.ask(request_fields(CONVERSE, ("grpc-encoding", "gzip"))) == "passed"
    assert probe.ask(request_fields(FOREIGN, ("grpc-encoding", "zstd"))) == "passed"


@pytest.mark.parametrize("name", ["x-session-id", "x-agent", "x-tenant-id", "x-node-labels"])
def test_what_routes_is_looked_at_too(probe: HeaderProbe, name: str) -> None:
    became = probe.ask(request_fields(CONVERSE, (name, "s\xff")))
    assert became.split()[:2] in (["3", "MALFORMED_HEADER"], ["3", "INVALID_SESSION_ID"], ["3", "INVALID_TENANT_ID"])
    assert probe.ask(request_fields(CONVERSE)) == "passed"


@pytest.mark.parametrize("name", ["x-agent", "x-node-labels", "x-v"])
@pytest.mark.parametrize("size", [8 << 10, 40 << 10, 60 << 10])
def test_what_is_too_long_for_a_node_is_answered_at_the_door(probe: HeaderProbe, name: str, size: int) -> None:
    assert probe.ask(request_fields(FOREIGN, (name, "a" * (size + 1)))) == "8 METADATA_TOO_LARGE"


@pytest.mark.parametrize(
    ("fields", "header"),
    [
        ((("content-type", "application/grpc"),), "content-type"),
        ((("content-length", "6"), ("content-length", "7")), "content-length"),
        ((("grpc-timeout", "5S"), ("grpc-timeout", "bad")), "grpc-timeout"),
        ((("grpc-encoding", "gzip"), ("grpc-encoding", "identity")), "grpc-encoding"),
        ((("host", "a"), ("host", "b")), "host"),
    ],
)
def test_what_may_be_said_once_is_not_said_twice(probe: HeaderProbe, fields: Fields, header: str) -> None:
    assert probe.ask(request_fields(CONVERSE, *fields)) == f"3 MALFORMED_HEADER {header}"


def node_fields(*changes: tuple[str, str | None], extra: Fields = ()) -> list[tuple[str, str]]:
    """What the node is sent of a request with these fields instead; None: without the field."""
    changed = dict(changes)
    wire = Wire()
    client = wire.raw_client()
    unchanged = [(n, v) for n, v in request_fields() if n not in changed]
    said = [(n, v) for n, v in changes if v is not None]
    pseudo = [pair for pair in (*said, *unchanged) if pair[0].startswith(":")]
    others = [pair for pair in (*unchanged, *said) if not pair[0].startswith(":")]
    client.send(frames.headers(1, block((*pseudo, *others, *extra)), end_stream=False))
    wire.settle()
    found = wire.node().streams[1].headers
    client.connection.socket_lost()
    wire.close()
    return found


@pytest.mark.parametrize("said", [None, "trailers"])
def test_nodes_are_always_told_that_trailers_are_understood(said: str | None) -> None:
    assert [pair for pair in node_fields(("te", said)) if pair[0] == "te"] == [("te", "trailers")]
    assert [pair for pair in node_fields(extra=(("te", "trailers"),)) if pair[0] == "te"] == [("te", "trailers")]


@pytest.mark.parametrize(
    ("authority", "host", "wanted"),
    [
        ("example.org", None, "example.org"),
        ("example.org", "other.org", "example.org"),
        (None, "example.org:443", "example.org:443"),
        ("", "example.org", "example.org"),
        (None, None, "localhost"),
        ("", "", "localhost"),
    ],
)
def test_host_stands_in_for_the_authority(authority: str | None, host: str | None, wanted: str) -> None:
    fields = node_fields((":authority", authority), ("host", host))
    assert [value for name, value in fields if name == ":authority"] == [wanted]
    assert "host" not in dict(fields)
    assert [name for name, _ in fields[:4]] == [":method", ":scheme", ":path", ":authority"]
