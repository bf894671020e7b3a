"""The relay where it asks who calls: what a node is sent then, what a client is refused, and when a call ends."""

import gc
from collections.abc import Iterator
from dataclasses import replace
from types import MappingProxyType

import pytest

from agentring import metadata
from agentring.auth.access import AccessControl
from agentring.auth.caller_fields import caller_pairs
from agentring.auth.signatures import ClusterSecret, SignatureCheck, Signer
from agentring.errors import NodeFenced, NotAuthenticated
from agentring.http2.limits import Limits
from agentring.http2.peer import Peer
from agentring.ids import Incarnation
from harness.credentials import ADA, OPERATOR, SpokenWords
from harness.http2 import Wire
from harness.http2_frames import CONVERSE, FOREIGN, message
from harness.memberships import node
from router.relay.access import RelayAccess

SECRET = ClusterSecret([b"s" * 32], "c")
GET = "/agentring.v1.SessionService/GetSession"
RING = "/agentring.v1.ClusterService/GetRing"


class Guarded:
    """A wire whose relay asks who calls."""

    def __init__(self, *nodes: str) -> None:
        self.words = SpokenWords()
        self.clock = [1_000.0]
        control = AccessControl(self.words, lambda: self.clock[0])
        self.access = RelayAccess(control, Signer(SECRET, "router/1"), uses_tls=False)
        self.wire = Wire(*nodes, limits=Limits())
        self.wire.context.routing.access = self.access
        self.wire.view.set(
            *(
                replace(
                    node(name),
                    address=f"127.0.0.1:{at}",
                    incarnation=Incarnation(10 + at),
                    labels=MappingProxyType({"zone": "eu"}),
                )
                for at, name in enumerate(nodes)
            )
        )
        self.client = self.wire.client()

    def open(self, method: str, *fields: tuple[str, str], said: tuple[str, ...] = ("Bearer ada",)) -> int:
        number = self.client.open(method, *fields, *((metadata.AUTHORIZATION, word) for word in said))
        self.client.send(number, message(b""))
        self.wire.settle()
        return number

    def sent_to(self, node: str = "a", stream: int = 1) -> list[tuple[str, str]]:
        return self.wire.node(node).streams[stream].headers


@pytest.fixture
def guarded() -> Iterator[Guarded]:
    yield (found := Guarded("a", "b"))
    found.client.lose()
    found.wire.close()
    assert len(found.access._open_calls) == 0


def test_nothing_is_held_of_a_message_whose_call_was_refused(guarded: Guarded) -> None:
    before = refusals()
    number = guarded.client.open(GET, (metadata.SESSION_ID, "s"))
    whole = message(b"x" * 50_000)
    guarded.client.send(number, whole[:3])
    guarded.client.send(number, whole[3:40_000])
    guarded.wire.settle()
    assert guarded.wire.context.budget.used_bytes == 0
    (error,) = [each for each in refusals() if not any(each is old for old in before)]
    assert error.__traceback__ is None, "its frames hold what was read"
    assert "grpc-status" not in dict(guarded.client.streams[number].headers)
    guarded.client.send(number, whole[40_000:])
    guarded.wire.settle()
    assert dict(guarded.client.streams[number].headers)["grpc-status"] == "16"


def refusals() -> list[NotAuthenticated]:
    """All there are in this process, other tests' too."""
    return [each for each in gc.get_objects() if issubclass(type(each), NotAuthenticated)]


def where(guarded: Guarded) -> str:
    return next(name for name, peers in guarded.wire.nodes.items() if peers[-1].streams)


def check(fields: list[tuple[str, str]], method: str, incarnation: int) -> str:
    """The peer's name, by what a node would check."""
    names = [name for name, _ in fields]
    signed = {n: v for n, v in fields if n in metadata.ROUTING or n.startswith(metadata.INTERNAL_PREFIX)}
    assert all(names.count(name) == 1 for name in signed)
    return SignatureCheck(SECRET, lambda: incarnation).peer_of(method, signed)


def incarnation(guarded: Guarded, name: str) -> int:
    return next(n.incarnation for n in guarded.wire.view.snapshot.nodes.values() if n.node_id == name)


@pytest.mark.parametrize("method", [CONVERSE, FOREIGN])
def test_a_node_is_told_who_calls_and_is_never_sent_the_credential(guarded: Guarded, method: str) -> None:
    forged = (*((name, "forged") for name, _ in caller_pairs(OPERATOR)), (metadata.PEER, "router/9"))
    guarded.open(method, *forged, (metadata.NODE_LABELS, "zone=eu"), ("x-mine", "kept"))
    name = where(guarded)
    fields = guarded.sent_to(name)
    assert set(caller_pairs(ADA)) < set(fields)
    assert {("x-tenant-id", "acme"), ("x-session-id", "s"), ("x-mine", "kept")} < set(fields)
    assert not any("forged" in value or "Bearer" in value or "router/9" in value for _, value in fields)
    assert metadata.AUTHORIZATION not in dict(fields)
    assert check(fields, method, incarnation(guarded, name)) == "router/1"
    with pytest.raises(NodeFenced):
        check(fields, method, incarnation(guarded, name) + 1)
    with pytest.raises(NotAuthenticated):
        check([(n, v if n != "x-session-id" else "t") for n, v in fields], method, incarnation(guarded, name))


@pytest.mark.parametrize("said", [(), ("Bearer mallory",), ("Bearer ada", "Bearer ada"), ("",)])
@pytest.mark.parametrize("method", [CONVERSE, GET, RING, FOREIGN, "/agentring.v1.NodeService/Drain"])
def test_who_is_not_known_is_refused_and_no_node_hears_of_it(
    guarded: Guarded, method: str, said: tuple[str, ...]
) -> None:
    number = guarded.open(method, said=said)
    assert guarded.client.streams[number].status == "16"
    assert guarded.wire.nodes == {}


@pytest.mark.parametrize(
    ("method", "said", "fields", "status"),
    [
        (RING, "Bearer ada", (), "7"),
        (CONVERSE, "Bearer olga", (), "7"),
        (CONVERSE, "Bearer ada", (("x-tenant-id", "globex"),), "7"),
        (GET, "Bearer ada", (("x-tenant-id", "acme"), ("x-tenant-id", "globex")), "7"),
        ("/agentring.v1.NodeService/WatchRun", "Bearer olga", (), "7"),
    ],
)
def test_who_may_not_is_refused(
    guarded: Guarded, method: str, said: str, fields: tuple[tuple[str, str], ...], status: str
) -> None:
    number = guarded.open(method, *fields, said=(said,))
    assert guarded.client.streams[number].status == status
    assert guarded.wire.nodes == {}


def test_an_operator_names_the_tenant_and_sees_the_node(guarded: Guarded) -> None:
    number = guarded.open(GET, ("x-tenant-id", "acme"), said=("Bearer olga",))
    name = where(guarded)
    assert ("x-tenant-id", "acme") in guarded.sent_to(name)
    assert (metadata.CALLER_TENANT, "ops") in guarded.sent_to(name)
    guarded.wire.node(name).accept(1)
    guarded.wire.settle()
    assert guarded.client.streams[number].fields[metadata.NODE] == name


def test_a_user_does_not_see_which_node_it_was(guarded: Guarded) -> None:
    number = guarded.open(CONVERSE)
    guarded.wire.node(where(guarded)).accept(1)
    guarded.wire.settle()
    seen = guarded.client.streams[number].fields
    assert metadata.EPOCH in seen
    assert not {metadata.NODE, metadata.RING} & seen.keys()


def lose_node(guarded: Guarded) -> str:
    """Accepts the one call, and loses its node; the name of the other one."""
    name = where(guarded)
    guarded.wire.node(name).accept(1)
    guarded.wire.settle()
    guarded.wire.node(name).lose()
    del guarded.wire.nodes[name]
    guarded.wire.settle()
    guarded.wire.clock.advance(1)
    guarded.wire.settle()
    return name


def test_a_stream_that_goes_on_at_another_node_is_signed_anew_for_that_one(guarded: Guarded) -> None:
    number = guarded.open(CONVERSE)
    before = dict(guarded.sent_to(where(guarded)))
    lose_node(guarded)
    name = where(guarded)
    fields = guarded.sent_to(name)
    assert metadata.FRAMES in dict(fields)
    assert dict(fields)[metadata.SIGNATURE] != before[metadata.SIGNATURE]
    assert dict(fields)[metadata.STREAM_ID] == before[metadata.STREAM_ID]
    assert check(fields, CONVERSE, incarnation(guarded, name)) == "router/1"
    assert guarded.client.streams[number].status is None


def test_a_stream_whose_credential_was_revoked_goes_on_nowhere(guarded: Guarded) -> None:
    number = guarded.open(CONVERSE)
    guarded.words.revoke("ada")
    lose_node(guarded)
    assert not any(peers[-1].streams for peers in guarded.wire.nodes.values())
    assert guarded.client.streams[number].status == "16"


def test_an_open_stream_ends_with_its_credential(guarded: Guarded, monkeypatch: pytest.MonkeyPatch) -> None:
    clock = guarded.clock
    monkeypatch.setattr("router.relay.access.time.time", lambda: clock[0])
    guarded.words.known["Bearer ada"] = replace(ADA, expires_at=1_100.0)
    number = guarded.open(CONVERSE)
    guarded.wire.node(where(guarded)).accept(1)
    guarded.wire.settle()
    for now_s, heard in ((1_069.0, False), (1_070.0, True)):
        clock[0] = now_s
        guarded.access.tick()
        guarded.wire.settle()
        assert (b"CREDENTIAL_ENDS" in guarded.client.streams[number].data) is heard
    clock[0] = 1_100.0
    guarded.access.tick()
    guarded.wire.settle()
    assert guarded.client.streams[number].status == "16"


def test_a_node_that_the_membership_does_not_know_is_sent_nothing(guarded: Guarded) -> None:
    number = guarded.open(GET)
    guarded.wire.node(where(guarded)).redirect(1, "z")
    guarded.wire.settle()
    assert guarded.wire.node("z").streams == {}
    assert guarded.client.streams[number].status == "14"


def test_over_tls_a_node_is_said_who_calls_without_a_signature(guarded: Guarded) -> None:
    """The connection's other end has shown the node's certificate (node_pool.py), and has seen the router's."""
    guarded.access._uses_tls = True
    guarded.open(CONVERSE)
    fields = guarded.sent_to(where(guarded))
    assert set(caller_pairs(ADA)) < set(fields)
    assert not {metadata.SIGNATURE, metadata.PEER, metadata.AUTHORIZATION} & dict(fields).keys()


def test_a_certificates_holder_is_known_by_its_name_unless_the_call_has_a_credential(guarded: Guarded) -> None:
    guarded.words.by_name["URI:spiffe://c/client/olga"] = OPERATOR
    client = guarded.client.connection
    client.peer_certificate = Peer(("spiffe://c/client/olga",), (), 2e9, ("URI:spiffe://c/client/olga",))
    guarded.open(GET, ("x-tenant-id", "acme"), said=())
    assert set(caller_pairs(OPERATOR)) < set(guarded.sent_to(where(guarded)))
    number = guarded.open(GET, said=("Bearer mallory",))
    assert guarded.client.streams[number].status == "16"
