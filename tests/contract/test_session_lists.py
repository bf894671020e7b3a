"""ListSessions: a tenant's sessions page by page, from any node and through a router."""

import base64
import json

import pytest
from grpc import aio

from agentring.errors import InvalidPageToken, InvalidSessionId, InvalidTenantId, MalformedRequest
from agentring.v1 import session_pb2
from agentring.v1.session_pb2_grpc import SessionServiceStub
from harness.client import TIMEOUT_S, connect, run_turn, turn
from harness.cluster import Cluster
from harness.raw import SESSIONS, Metadata, assert_refused, exchange

LIST = SESSIONS + "ListSessions"


async def listed(
    channel: aio.Channel, prefix: str, *, agent: str = "", page_size: int = 0, metadata: Metadata = ()
) -> list[list[session_pb2.Session]]:
    """The pages."""
    pages: list[list[session_pb2.Session]] = []
    request = session_pb2.ListSessionsRequest(session_id_prefix=prefix, agent=agent, page_size=page_size)
    while not pages or request.page_token:
        page = await SessionServiceStub(channel).ListSessions(request, timeout=TIMEOUT_S, metadata=metadata)
        pages.append(list(page.sessions))
        request.page_token = page.next_page_token
    return pages


def ids(pages: list[list[session_pb2.Session]]) -> list[list[str]]:
    return [[session.session_id for session in page] for page in pages]


def tenant(name: str) -> Metadata:
    return (("x-tenant-id", name),)


def token(*said: object) -> str:
    return base64.urlsafe_b64encode(json.dumps(said).encode()).decode()


async def test_all_nodes_sessions_are_listed_page_by_page(cluster: Cluster, channel: aio.Channel, name: str) -> None:
    names = [f"{name}-{number}" for number in range(9)]
    async with connect(cluster.router) as routed:  # half of them on either node
        for each in names:
            await run_turn(routed, each, turn("hi"))
    pages = await listed(channel, f"{name}-", page_size=4)
    assert ids(pages) == [names[:4], names[4:8], names[8:]]
    assert ids(await listed(channel, f"{name}-", page_size=9)) == [names]
    assert ids(await listed(channel, f"{name}-3")) == [[names[3]]]
    assert ids(await listed(channel, f"{name}-none")) == [[]]
    for page in pages:
        for session in page:
            assert (session.agent, session.turns_completed, session.closed) == ("echo", 1, False)
            assert session.node_id in cluster.nodes


async def test_a_list_says_of_a_session_what_its_owner_says(channel: aio.Channel, name: str) -> None:
    stub = SessionServiceStub(channel)
    for text in ("one", "two"):
        await run_turn(channel, name, turn(text))
    known = (await stub.GetSession(session_pb2.GetSessionRequest(session_id=name), timeout=TIMEOUT_S)).session
    assert await listed(channel, name) == [[known]]
    await stub.CloseSession(session_pb2.CloseSessionRequest(session_id=name), timeout=TIMEOUT_S)
    (page,) = await listed(channel, name)
    assert [session.closed for session in page] == [True]


async def test_the_agent_is_a_filter(channel: aio.Channel, name: str, cluster: Cluster) -> None:
    async with connect(cluster.router) as routed:
        await run_turn(routed, f"{name}-1", turn("hi"))
        await run_turn(routed, f"{name}-2", turn("hi"), agent="assistant")
    assert ids(await listed(channel, name, agent="assistant")) == [[f"{name}-2"]]
    assert ids(await listed(channel, name, agent="echo", page_size=1)) == [[f"{name}-1"]]
    assert ids(await listed(channel, name, agent="nobodys")) == [[]]


async def test_another_tenants_sessions_are_never_listed(cluster: Cluster, channel: aio.Channel, name: str) -> None:
    """Also not with a page token of theirs, nor with one that was made up."""
    async with connect(cluster.router) as routed:
        for number in range(3):
            await run_turn(routed, f"{name}-{number}", turn("mine"))
            await run_turn(routed, f"{name}-{number}", turn("theirs"), metadata=tenant("theirs"))
        await run_turn(routed, f"{name}-secret", turn("theirs"), metadata=tenant("theirs"))
    assert ids(await listed(channel, name)) == [[f"{name}-{number}" for number in range(3)]]
    (theirs,) = ids(await listed(channel, name, metadata=tenant("theirs")))
    assert theirs[-1] == f"{name}-secret"
    assert ids(await listed(channel, name, metadata=tenant("nobody"))) == [[]]

    stub = SessionServiceStub(channel)
    request = session_pb2.ListSessionsRequest(session_id_prefix=name, page_size=2)
    request.page_token = (await stub.ListSessions(request, metadata=tenant("theirs"))).next_page_token
    for made in (request.page_token, token(name, "", f"{name}-3"), token(name, "", f"{name}-secre")):
        request.page_token = made
        await assert_refused(exchange(channel, LIST, request), InvalidPageToken())


@pytest.mark.parametrize(
    "wrong",
    [
        *("x", "====", "%", "\N{LATIN SMALL LETTER E WITH ACUTE}", "0" * 100_000),
        *(token(), token("", ""), token("", "", 5), token("", "", "a\0b"), token("", "", ""), token("", "other", "a")),
        *(token("p", "", "a"), token({}), base64.urlsafe_b64encode(b"\xff").decode()),
        base64.urlsafe_b64encode(b"[" * 50_000).decode(),
    ],
    ids=lambda wrong: wrong[:16],
)
async def test_a_token_that_is_not_of_this_list_is_refused(channel: aio.Channel, wrong: str) -> None:
    await assert_refused(exchange(channel, LIST, session_pb2.ListSessionsRequest(page_token=wrong)), InvalidPageToken())


@pytest.mark.parametrize("prefix", ["a/b", "a b", "a\0", "x" * 129, "\N{CYRILLIC SMALL LETTER A}"])
async def test_a_prefix_that_no_id_has_is_refused(channel: aio.Channel, prefix: str) -> None:
    request = session_pb2.ListSessionsRequest(session_id_prefix=prefix)
    await assert_refused(exchange(channel, LIST, request), InvalidSessionId())


@pytest.mark.parametrize("prefix", [".", "..", "x" * 128])
async def test_a_prefix_that_is_no_id_itself_is_none_the_less_a_prefix(channel: aio.Channel, prefix: str) -> None:
    assert ids(await listed(channel, prefix, metadata=tenant("without-sessions"))) == [[]]


@pytest.mark.parametrize(
    "request_",
    [
        session_pb2.ListSessionsRequest(page_size=-1),
        session_pb2.ListSessionsRequest(agent="a\0b"),
        session_pb2.ListSessionsRequest(agent="a\nb"),
    ],
    ids=["size", "zero", "line"],
)
async def test_what_makes_no_sense_is_refused(channel: aio.Channel, request_: session_pb2.ListSessionsRequest) -> None:
    await assert_refused(exchange(channel, LIST, request_), MalformedRequest())


async def test_garbage_and_a_bad_tenant_are_refused(channel: aio.Channel) -> None:
    await assert_refused(exchange(channel, LIST, b"\xff\xff\xff"), MalformedRequest())
    await assert_refused(exchange(channel, LIST, b"", metadata=tenant("a/b")), InvalidTenantId())


async def test_a_page_is_as_large_as_it_may_be_at_most(channel: aio.Channel, name: str) -> None:
    await run_turn(channel, name, turn("hi"))
    for page_size in (0, 1_000, 1_001, (1 << 31) - 1):
        assert ids(await listed(channel, name, page_size=page_size)) == [[name]]
