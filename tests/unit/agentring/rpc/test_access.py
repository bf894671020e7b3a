"""A node's own services where it asks who calls: clients as at a router, peers by their signatures, and nobody else."""

import asyncio
from dataclasses import replace

import pytest

from agentring import metadata
from agentring.auth.access import AccessControl
from agentring.auth.caller_fields import Pairs, caller_pairs
from agentring.auth.identity import Identity
from agentring.auth.signatures import ClusterSecret, SignatureCheck, Signer
from agentring.http2 import frames
from agentring.http2.budget import Budget
from agentring.http2.hpack import block
from agentring.http2.limits import Limits
from agentring.http2.peer import Peer
from agentring.rpc.access import NodeAccess, RelayedAccess
from agentring.rpc.call_tasks import CallAccess, CallTasks
from agentring.rpc.service import Call, methods
from agentring.rpc.service_connection import ServerContext, ServiceConnection
from agentring.v1 import node_pb2, session_pb2
from harness.byte_client import request_fields
from harness.credentials import ADA, OPERATOR, SpokenWords
from harness.http2_frames import message, opening
from harness.http2_raw import drain, feed

SECRET = ClusterSecret([b"s" * 32], "c")
GET = "/agentring.v1.SessionService/GetSession"
RUN = "/agentring.v1.SessionService/RunTurn"
STATUS = "/agentring.v1.NodeService/GetNodeStatus"
WATCH = "/agentring.v1.NodeService/WatchRun"
BEARER = (metadata.AUTHORIZATION, "Bearer ada")


class Served:
    """Every method of a node's that the tests call; who called what."""

    def __init__(self) -> None:
        self.callers: list[tuple[str, tuple[Identity, str] | None]] = []
        self.seen: list[dict[str, str]] = []
        self.waits = asyncio.Event()

    def _heard(self, name: str, call: Call) -> None:
        caller = call.caller
        self.callers.append((name, (caller.identity, caller.tenant) if caller is not None else None))
        self.seen.append(dict(call.metadata))

    async def GetSession(self, _request: object, call: Call) -> session_pb2.GetSessionResponse:
        self._heard("GetSession", call)
        return session_pb2.GetSessionResponse()

    async def RunTurn(self, _request: object, call: Call) -> None:
        self._heard("RunTurn", call)
        await self.waits.wait()

    async def GetNodeStatus(self, _request: object, call: Call) -> node_pb2.GetNodeStatusResponse:
        self._heard("GetNodeStatus", call)
        return node_pb2.GetNodeStatusResponse()

    async def WatchRun(self, _request: object, call: Call) -> None:
        self._heard("WatchRun", call)


class Node:
    """A node's server without a socket, as incarnation 7."""

    def __init__(self, access: CallAccess | None = None) -> None:
        self.words = SpokenWords()
        self.served = Served()
        self.clock = [1_000.0]
        control = AccessControl(self.words, lambda: self.clock[0])
        self.access = access or NodeAccess(control, SignatureCheck(SECRET, lambda: 7), "c")
        loop = asyncio.get_running_loop()
        served = {
            path: method
            for service in (
                session_pb2.DESCRIPTOR.services_by_name["SessionService"],
                node_pb2.DESCRIPTOR.services_by_name["NodeService"],
            )
            for path, method in methods(service, self.served).items()
        }
        self.tasks = CallTasks(served, loop, first_frame_timeout_s=60, access=self.access)
        context = ServerContext("node", Limits(), Budget(1 << 20), loop, self.tasks.begin)
        self.connection = ServiceConnection(context, loop.time(), lambda: None)
        self._next_id = 1
        feed(self.connection, opening(), loop.time())
        drain(self.connection)

    async def call(self, path: str, *fields: tuple[str, str]) -> str:
        """The status, empty while there is none, and the reason."""
        stream_id, self._next_id = self._next_id, self._next_id + 2
        said = frames.headers(stream_id, block(request_fields(path, *fields)), end_stream=False)
        now_s = asyncio.get_running_loop().time()
        feed(self.connection, said + frames.data(stream_id, message(b""), end_stream=True), now_s)
        return await self.heard()

    async def heard(self) -> str:
        for _ in range(6):
            await asyncio.sleep(0)
        raw = drain(self.connection)
        at = raw.find(b"grpc-status")
        return raw[at + 12 : at + 12 + raw[at + 11]].decode() if at >= 0 else ""

    async def close(self) -> None:
        self.served.waits.set()
        await self.tasks.wait(5)
        assert len(self.tasks) == 0


def signed(path: str, *pairs: tuple[str, str], name: str = "router/1", incarnation: int = 7) -> Pairs:
    return (*pairs, *Signer(SECRET, name).pairs(path, pairs, incarnation))


async def test_who_calls_a_node_directly_is_asked_as_at_a_router() -> None:
    node = Node()
    assert await node.call(GET) == "16"
    assert await node.call(GET, (metadata.AUTHORIZATION, "Bearer mallory")) == "16"
    assert await node.call(GET, BEARER, BEARER) == "16"
    assert await node.call(GET, BEARER, (metadata.TENANT_ID, "globex")) == "7"
    assert await node.call(STATUS, BEARER) == "7"
    assert await node.call(STATUS, (metadata.AUTHORIZATION, "Bearer olga")) == "7"
    assert await node.call("/no.Such/Method") == "16"
    assert node.served.callers == []
    assert await node.call(GET, BEARER) == "0"
    assert node.served.callers == [("GetSession", (ADA, "acme"))]
    assert metadata.AUTHORIZATION not in node.served.seen[0]
    await node.close()


FORGED = [
    (metadata.CALLER_TENANT, "acme"),
    (metadata.STREAM_ID, "1"),
    (metadata.AFTER_SEQ, "1"),
    (metadata.PEER, "router/1"),
    ("x-agentring-anything", "1"),
]


@pytest.mark.parametrize("field", FORGED)
async def test_what_peers_alone_may_set_is_refused_of_others(field: tuple[str, str]) -> None:
    node = Node()
    assert await node.call(GET, BEARER, field) == "7"
    assert await node.call(STATUS, *caller_pairs(OPERATOR)) == "7"
    assert node.served.callers == []
    await node.close()


async def test_a_peer_says_who_calls_and_is_itself_where_it_does_not() -> None:
    node = Node()
    relayed = signed(GET, (metadata.TENANT_ID, "acme"), ("x-session-id", "s"), *caller_pairs(ADA))
    assert await node.call(GET, *relayed, BEARER) == "0"
    assert node.served.callers == [("GetSession", (ADA, "acme"))]
    assert metadata.AUTHORIZATION not in node.served.seen[0]
    assert await node.call(GET, *relayed) == "16"  # once
    for fields, status in (
        (signed(GET, (metadata.TENANT_ID, "globex"), *caller_pairs(ADA)), "7"),
        (signed(RUN, *caller_pairs(OPERATOR)), "16"),  # it was signed for another method
        (signed(GET), "7"),  # routers have no sessions
        (signed(GET, *caller_pairs(ADA), incarnation=8), "14"),
        ((*signed(GET, *caller_pairs(ADA)), ("x-session-id", "s")), "16"),
        ((*signed(GET, *caller_pairs(ADA)), (metadata.AFTER_SEQ, "1")), "16"),
    ):
        assert await node.call(GET, *fields) == status
    assert len(node.served.callers) == 1
    assert await node.call(STATUS, *signed(STATUS)) == "0"
    assert await node.call(WATCH, *signed(WATCH)) == "7"
    assert await node.call(WATCH, *signed(WATCH, name="node/n2")) == "0"
    assert [name for name, _ in node.served.callers] == ["GetSession", "GetNodeStatus", "WatchRun"]
    await node.close()


async def test_a_clients_call_ends_with_its_credential_and_a_relayed_one_does_not(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    node = Node()
    monkeypatch.setattr("agentring.rpc.access.time.time", lambda: node.clock[0])
    node.words.known["Bearer ada"] = replace(ADA, expires_at=1_010.0)
    assert await node.call(RUN, BEARER) == ""
    for now_s, status in ((1_009.0, ""), (1_010.0, "16")):
        node.clock[0] = now_s
        node.access.tick()
        assert await node.heard() == status
    await node.close()


def certified(*names: str) -> Peer:
    """What the certificate of a connection's other end says."""
    uris = tuple(name.removeprefix("URI:") for name in names if name.startswith("URI:"))
    return Peer(uris, (), 2e9, names)


async def test_a_peers_certificate_takes_a_signatures_place() -> None:
    node = Node()
    node.connection.peer_certificate = certified("URI:spiffe://c/router/r1")
    assert await node.call(GET, (metadata.TENANT_ID, "acme"), *caller_pairs(ADA)) == "0"
    assert await node.call(STATUS) == "0"
    assert node.served.callers[0] == ("GetSession", (ADA, "acme"))
    for path, fields, status in (
        (GET, (), "7"),  # routers have no sessions
        (WATCH, (), "7"),  # nodes alone
        (GET, (*caller_pairs(ADA), (metadata.TENANT_ID, "globex")), "7"),
        (GET, caller_pairs(ADA)[:2], "16"),  # it does not say all
        (STATUS, (BEARER,), "7"),  # where there is a credential, that alone decides
    ):
        assert await node.call(path, *fields) == status
    node.connection.peer_certificate = certified("URI:spiffe://c/node/n2")
    assert await node.call(WATCH) == "0"
    assert [name for name, _ in node.served.callers] == ["GetSession", "GetNodeStatus", "WatchRun"]
    await node.close()


@pytest.mark.parametrize(
    "names",
    [
        ("URI:spiffe://c/client/ada",),
        ("URI:spiffe://other/router/r1",),
        ("URI:spiffe://c/router/r1", "URI:spiffe://c/node/n1"),
        ("URI:spiffe://c/routers/r1",),
        ("DNS:spiffe://c/router/r1",),
        ("URI:https://c/router/r1",),
    ],
)
async def test_another_certificate_makes_no_peer(names: tuple[str, ...]) -> None:
    node = Node()
    node.connection.peer_certificate = certified(*names)
    assert await node.call(STATUS) == "16"
    assert await node.call(GET, *caller_pairs(ADA)) == "7"
    assert node.served.callers == []
    node.words.by_name[names[0]] = ADA
    assert await node.call(GET) == "0"
    assert node.served.callers == [("GetSession", (ADA, "acme"))]
    assert await node.call(GET, (metadata.AUTHORIZATION, "Bearer mallory")) == "16"
    await node.close()


async def test_nobody_is_asked_where_nothing_was_set_up() -> None:
    node = Node()
    node.tasks._access = None
    assert await node.call(GET, *FORGED) == "0"
    assert node.served.callers == [("GetSession", None)]
    await node.close()


async def test_behind_a_router_the_relays_word_counts_and_nothing_else() -> None:
    node = Node(RelayedAccess())
    assert await node.call(GET) == "16"
    assert await node.call(GET, BEARER) == "16"
    assert await node.call(GET, *caller_pairs(ADA), (metadata.TENANT_ID, "acme")) == "0"
    assert await node.call(STATUS, *caller_pairs(OPERATOR)) == "7"
    assert node.served.callers == [("GetSession", (ADA, "acme"))]
    await node.close()
