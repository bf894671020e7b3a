"""Which paths and header fields a server of our own services takes, and what it answers to the others."""

import pytest

from agentring.http2 import frames
from agentring.http2.frames import Code
from agentring.http2.hpack import block
from harness.asked_sessions import GET, REQUEST, asked
from harness.byte_client import byte_client, request_fields


@pytest.mark.parametrize("path", ["/u\xff/M", "/grpc.\xff/M", "/a b/c", "/a\x7f/b", "a/b", "*", "/" + "a" * 2_000])
async def test_a_path_that_is_none_is_answered(address: str, path: str) -> None:
    answer = await asked(address, ("x-session-id", "s0"), path=path)
    assert (answer.status, answer.reason) == ("3", "MALFORMED_HEADER")


async def test_a_path_that_is_none_is_answered_without_a_message(address: str) -> None:
    async with byte_client(address) as peer:
        peer.request(1, "/u\xff/M", ("x-session-id", "s0"), end=True)
        assert (await peer.answer(1)).reason == "MALFORMED_HEADER"
        peer.request(3, GET)
        peer.message(3, REQUEST)
        assert (await peer.answer(3)).status == "0"


@pytest.mark.parametrize(
    ("line", "more", "expected"),
    [
        ({"scheme": "ftp"}, (), ("3", "MALFORMED_HEADER")),
        ({"authority": "a b%%\xff"}, (), ("3", "MALFORMED_HEADER")),
        ({}, (("x-v", "\xff\xfe"),), ("3", "MALFORMED_HEADER")),
        ({}, (("user-agent", "\x01"),), ("3", "MALFORMED_HEADER")),
        ({}, (("x-session-id", "s\xff"),), ("3", "MALFORMED_HEADER")),
        ({}, (("x-bin", "!!!!"),), ("3", "MALFORMED_HEADER")),
        ({}, (("x-bin", "AAA=AAA"),), ("3", "MALFORMED_HEADER")),
        ({}, (("grpc-timeout", "soon"),), ("3", "MALFORMED_HEADER")),
        ({}, (("grpc-timeout", "123456789S"),), ("3", "MALFORMED_HEADER")),
        ({}, (("grpc-encoding", "zstd"),), ("12", "ENCODING_NOT_SUPPORTED")),
        ({}, (("grpc-previous-rpc-attempts", "x"),), ("3", "MALFORMED_HEADER")),
        ({}, (("grpc-previous-rpc-attempts", "1"),), ("0", "")),
        ({}, (("x-padding", "a" * 9_000),), ("8", "METADATA_TOO_LARGE")),
        ({}, (("x-padding", "a" * 70_000),), ("8", "METADATA_TOO_LARGE")),
        ({}, (("grpc-timeout", "0S"),), ("4", "DEADLINE_PASSED")),
    ],
)
async def test_header_fields_that_are_not_grpcs_are_answered(
    address: str, line: dict[str, str], more: tuple[tuple[str, str], ...], expected: tuple[str, str]
) -> None:
    answer = await asked(address, *more, line=line)
    assert (answer.status, answer.reason) == expected
    assert answer.headers["grpc-accept-encoding"] == "identity, deflate, gzip"


@pytest.mark.parametrize(
    ("line", "more"),
    [
        ({"authority": ""}, ()),
        ({"authority": ""}, (("host", "x"),)),
        ({"scheme": "https"}, ()),
        ({}, (("te", "trailers"), ("te", "trailers"))),
        ({}, (("content-type", "application/grpc+proto"),)),
        ({}, (("content-type", "application/grpc;charset=utf-8"),)),
        ({}, (("x-bin", "AAA"), ("y-bin", "AAA=,AA=="), ("z-bin", ","))),
        ({}, (("grpc-encoding", "identity"),)),
        ({}, (("grpc-timeout", "99999999H"),)),
        ({}, (("content-length", str(len(REQUEST) + 5)),)),
        ({}, (("cookie", "a=b"), ("cookie", "c=d"), ("expect", "100-continue"))),
    ],
)
async def test_header_fields_that_are_allowed_are_taken(
    address: str, line: dict[str, str], more: tuple[tuple[str, str], ...]
) -> None:
    assert (await asked(address, *more, line=line)).status == "0"


@pytest.mark.parametrize(
    ("fields", "code"),
    [
        (((":method", "POST"), (":scheme", "http")), Code.PROTOCOL_ERROR),
        ((*request_fields(GET), (":path", GET)), Code.PROTOCOL_ERROR),
        ((*request_fields(GET), (":sch\xffeme", "http")), Code.PROTOCOL_ERROR),
        ((*request_fields(GET), ("x-\xff", "v")), Code.PROTOCOL_ERROR),
        ((*request_fields(GET), ("X-Upper", "v")), Code.PROTOCOL_ERROR),
        ((*request_fields(GET), ("connection", "close")), Code.PROTOCOL_ERROR),
        ((*request_fields(GET), ("content-length", "\xb2")), Code.PROTOCOL_ERROR),
        ((*request_fields(GET), ("x-v", "a\nb")), Code.PROTOCOL_ERROR),
        ((*request_fields(GET), ("content-length", "3")), Code.PROTOCOL_ERROR),
        ((*request_fields(GET), ("content-length", "300")), Code.PROTOCOL_ERROR),
    ],
)
async def test_what_http2_forbids_ends_the_stream_alone(
    address: str, fields: tuple[tuple[str, str], ...], code: Code
) -> None:
    async with byte_client(address) as peer:
        peer.send(frames.headers(1, block(fields), end_stream=False))
        peer.message(1, REQUEST)
        assert (await peer.answer(1)).reset is code
        peer.request(3, GET)
        peer.message(3, REQUEST)
        assert (await peer.answer(3)).status == "0"


@pytest.mark.parametrize(
    ("more", "line"),
    [
        ((("content-type", "application/grpc-web"),), {}),
        ((("content-type", "application/grpcweb+proto"),), {}),
        ((("content-type", "text/html"),), {}),
        ((), {"method": "GET"}),
        ((), {"method": "HEAD"}),
    ],
)
async def test_what_is_not_grpc_is_told_so_in_http(
    address: str, more: tuple[tuple[str, str], ...], line: dict[str, str]
) -> None:
    answer = await asked(address, *more, line=line)
    assert (answer.headers[":status"], answer.status) == ("415", "")


OWN = (("x-session-id", "s0"), ("x-agentring-stream-id", "1"), ("grpc-timeout", "5S"))
"""What differs from call to call of a router."""


@pytest.mark.parametrize(
    ("more", "expected"),
    [
        ((), ("0", "")),
        (OWN, ("0", "")),
        ((("x-session-id", "s\xff"), *OWN[1:]), ("3", "MALFORMED_HEADER")),
        ((*OWN[:2], ("grpc-timeout", "soon")), ("3", "MALFORMED_HEADER")),
        ((*OWN, ("grpc-timeout", "5S")), ("3", "MALFORMED_HEADER")),
        ((*OWN, ("x-agentring-more", "a" * 9_000)), ("8", "METADATA_TOO_LARGE")),
        ((*OWN, ("x-agentring-bin", "!")), ("3", "MALFORMED_HEADER")),
        ((*OWN, ("x-v", "\xff")), ("3", "MALFORMED_HEADER")),
    ],
)
async def test_a_call_is_looked_at_whatever_the_call_before_said(
    address: str, more: tuple[tuple[str, str], ...], expected: tuple[str, str]
) -> None:
    async with byte_client(address) as peer:
        for stream_id, fields, end in (
            (1, OWN, ("0", "")),
            (3, OWN, ("0", "")),
            (5, more, expected),
            (7, OWN, ("0", "")),
        ):
            peer.request(stream_id, GET, *fields)
            peer.message(stream_id, REQUEST)
            answer = await peer.answer(stream_id)
            assert (answer.status, answer.reason) == end


async def test_a_field_before_the_request_line_ends_the_stream_of_a_later_call_too(address: str) -> None:
    usual = request_fields(GET)
    async with byte_client(address) as peer:
        peer.request(1, GET, *OWN)
        peer.message(1, REQUEST)
        assert (await peer.answer(1)).status == "0"
        peer.send(frames.headers(3, block((*OWN, *usual)), end_stream=False))
        peer.message(3, REQUEST)
        assert (await peer.answer(3)).reset is Code.PROTOCOL_ERROR
