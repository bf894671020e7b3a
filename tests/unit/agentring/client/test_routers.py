"""How a client connects: addresses, certificates, routers that say goodbye."""

from collections.abc import AsyncIterator

import grpc
import pytest
import trustme
from grpc import aio

from agentring.client import RetryPolicy, RingUnreachable, Tls, connect
from agentring.client.routers import Routers
from agentring.errors import InvalidSessionId, InvalidTaskKey, InvalidTenantId, InvalidTurnId
from agentring.v1.session_pb2 import Event, GoAway, RunTurnRequest, RunTurnResponse
from agentring.v1.session_pb2_grpc import add_SessionServiceServicer_to_server
from harness.breaking import Breaking, breaking, serving


class Goodbye(Breaking):
    """A router that stops before the turn has ended, and stays open for a while."""

    async def RunTurn(
        self, request: RunTurnRequest, context: "aio.ServicerContext[RunTurnRequest, RunTurnResponse]"
    ) -> AsyncIterator[RunTurnResponse]:
        """The turn's beginning and a go_away."""
        responses = 0
        async for response in super().RunTurn(request, context):
            yield response
            responses += 1
            if responses == 3:
                going = Event(go_away=GoAway(reason="ROUTER_STOPPING", resume_seq=responses))
                yield RunTurnResponse(through_seq=responses, acked_frame=1, events=[going])
                await self.left.wait()
                return


async def test_a_goodbye_is_followed_at_once() -> None:
    stopping = Goodbye(["one ", "two ", "three"], [])  # type: ignore[abstract]  # as in `breaking`
    async with serving(stopping) as first, serving(breaking(["one ", "two ", "three"], [])) as second:
        async with connect(f"{first},{second}", policy=RetryPolicy(jitter=lambda: 0.0)) as ring:
            assert (await ring.session("ada", agent="echo").run("hello")).text == "one two three"
        assert len(stopping.turn_ids) == 1
        stopping.left.set()


async def test_certificates_on_both_sides() -> None:
    authority = trustme.CA()
    issued, ours = authority.issue_cert("localhost"), authority.issue_cert("client")
    ca = authority.cert_pem.bytes()
    key, chain = issued.private_key_pem.bytes(), b"".join(pem.bytes() for pem in issued.cert_chain_pems)
    server = aio.server()
    add_SessionServiceServicer_to_server(breaking(["safe"], []), server)
    credentials = grpc.ssl_server_credentials([(key, chain)], ca, require_client_auth=True)
    target = f"localhost:{server.add_secure_port('localhost:0', credentials)}"
    await server.start()
    try:
        tls = Tls(ca, b"".join(pem.bytes() for pem in ours.cert_chain_pems), ours.private_key_pem.bytes())
        async with connect(target, tls=tls) as ring:
            assert (await ring.session("ada", agent="echo").run("hello")).text == "safe"
        impatient = RetryPolicy(reconnect_s=0.3)
        for other in (Tls(ca), None):
            async with connect(target, tls=other, policy=impatient) as ring:
                with pytest.raises(RingUnreachable):
                    await ring.session("ada", agent="echo").run("hello")
    finally:
        await server.stop(0)


async def test_names_are_checked_before_anything_is_sent() -> None:
    with pytest.raises(ValueError, match="address"):
        connect(" , ")
    with pytest.raises(InvalidTenantId):
        connect("127.0.0.1:1", tenant="a b")
    async with connect("127.0.0.1:1") as ring:
        with pytest.raises(InvalidSessionId):
            ring.session("a b")
        with pytest.raises(InvalidTurnId):
            ring.session("ada").send("hello", turn_id="a b")
        with pytest.raises(InvalidTaskKey):
            ring.task("a b", agent="echo")


async def test_metadata_of_ones_own_goes_with_every_call() -> None:
    routers = Routers("127.0.0.1:1", None, "acme", {"x-user": "ada", "x-locale": "nb"})
    assert await routers.metadata() == (("x-tenant-id", "acme"), ("x-locale", "nb"), ("x-user", "ada"))


@pytest.mark.parametrize(
    ("name", "value"),
    [
        ("X-User", "a"),
        ("x user", "a"),
        ("x-bin", "a"),
        ("x-session-id", "a"),
        ("x-agentring-epoch", "1"),
        ("x-user", "é\n"),
    ],
)
def test_metadata_that_is_none_or_not_ones_own_is_refused(name: str, value: str) -> None:
    with pytest.raises(ValueError, match="metadata"):
        connect("127.0.0.1:1", metadata={name: value})
