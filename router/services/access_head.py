"""Has a node keep the head of this router's access log: the store is the nodes' alone.

One node is asked at a time, another one the next time, so a node that does not answer costs one try. The head is kept
in the store that all of them share.
"""

from collections.abc import Callable
from itertools import count

from grpc import aio

from agentring.audit.anchoring import Keep
from agentring.audit.chain import Head
from agentring.auth.peer_calls import peer_metadata
from agentring.auth.signatures import Signer
from agentring.errors import NoNodes, StoreUnavailable
from agentring.rpc.channel import PeerCredentials, open_node_channel
from agentring.v1 import node_pb2, node_pb2_grpc
from router.routing.ring_view import RingView

_ANSWERS_WITHIN_S = 2.0
_PATH = "/agentring.v1.NodeService/KeepAccessLogHead"


def keep_at_a_node(
    view: RingView, credentials: Callable[[], PeerCredentials | None], signer: Signer | None = None
) -> Keep:
    """view: whose nodes are asked; credentials: read for each call; None: nodes serve plaintext; signer: None: they ask
    nobody who he is."""
    turns = count()

    async def keep(head: Head) -> None:
        """Raises NoNodes, StoreUnavailable, CoordinatorUnavailable."""
        nodes = [node for _, node in sorted(view.snapshot.nodes.items())]
        if not nodes:
            raise NoNodes
        node = nodes[next(turns) % len(nodes)]
        request = node_pb2.KeepAccessLogHeadRequest(
            chain=head.chain, process=head.process, lines=head.lines, mac=head.mac, ended=head.ended
        )
        async with open_node_channel(node, credentials()) as channel:
            try:
                said = peer_metadata(signer, _PATH, node.address, node.incarnation)
                stub = node_pb2_grpc.NodeServiceStub(channel)
                await stub.KeepAccessLogHead(request, timeout=_ANSWERS_WITHIN_S, metadata=said)
            except aio.AioRpcError:
                raise StoreUnavailable from None

    return keep
