"""Which agent a session is bound to, for LocateSession: only nodes read the store, so one of them is asked.

Guarantees: nothing is claimed or made by the question; it takes ANSWERS_WITHIN_S at most. Where somebody owns the
session, that node is asked: others would only say so. Called by cluster.py.
"""

from collections.abc import Iterable
from itertools import islice

from grpc import aio

from agentring import metadata
from agentring.auth.identity import Identity
from agentring.auth.peer_calls import peer_metadata
from agentring.auth.signatures import Signer
from agentring.cluster.owners import Owner, UnreadableClaim
from agentring.cluster.snapshot import MembershipSnapshot, Node
from agentring.ids import SessionRef
from agentring.rpc.channel import PeerCredentials, open_node_channel
from agentring.v1 import session_pb2, session_pb2_grpc

ANSWERS_WITHIN_S = 1.0
_ASKED = 2
_GET_SESSION = "/agentring.v1.SessionService/GetSession"


async def bound_agent(
    ref: SessionRef,
    owner: Owner | UnreadableClaim | None,
    snapshot: MembershipSnapshot,
    ring_order: Iterable[Node],
    credentials: PeerCredentials | None,
    signer: Signer | None = None,
    identity: Identity | None = None,
) -> str:
    """The agent; empty: there is no such session, or nobody could say. ring_order: whom to ask where nobody owns it;
    credentials: None: nodes serve plaintext; signer: None: nobody is asked who he is; identity: who wants to know."""
    registered = snapshot.nodes.get(owner.node_id) if isinstance(owner, Owner) else None
    owned = registered is not None and isinstance(owner, Owner) and registered.incarnation == owner.incarnation
    asked = [registered] if owned and registered is not None else list(islice(ring_order, _ASKED))
    for node in asked:
        if agent := await _ask(node, ref, credentials, ANSWERS_WITHIN_S / len(asked), signer, identity):
            return agent
    return ""


async def _ask(
    node: Node,
    ref: SessionRef,
    credentials: PeerCredentials | None,
    timeout_s: float,
    signer: Signer | None,
    identity: Identity | None,
) -> str:
    request = session_pb2.GetSessionRequest(session_id=ref.session_id)
    routing = ((metadata.TENANT_ID, ref.tenant),)
    said = peer_metadata(signer, _GET_SESSION, node.address, node.incarnation, routing=routing, identity=identity)
    async with open_node_channel(node, credentials) as channel:
        call = session_pb2_grpc.SessionServiceStub(channel).GetSession
        try:
            answer = await call(request, timeout=timeout_s, metadata=said)
        except aio.AioRpcError:
            return ""
    return answer.session.agent
