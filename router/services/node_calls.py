"""Asks all registered nodes the same at once, for HaltService.

Guarantees: a node that does not answer holds the others up by nothing, and is named once the time is over; one that
leaves the membership meanwhile owes no answer; one that joins meanwhile is asked, too. A call that fails is made again
until then, and so is one for which the certificates cannot be read: what is `settled` beside does not wait for that.
"""

import asyncio
from collections.abc import AsyncIterator, Awaitable, Callable, Mapping
from contextlib import asynccontextmanager
from dataclasses import dataclass, field
from typing import TYPE_CHECKING, Generic, TypeVar

from grpc import aio

from agentring.auth.caller_fields import Pairs
from agentring.auth.peer_calls import peer_metadata
from agentring.auth.signatures import Signer
from agentring.cluster.snapshot import Node
from agentring.ids import NodeId
from agentring.rpc.channel import PeerCredentials, open_node_channel
from agentring.v1.halt_pb2 import UnconfirmedNode
from agentring.v1.node_pb2_grpc import NodeServiceStub

if TYPE_CHECKING:
    from agentring.v1.node_pb2_grpc import NodeServiceAsyncStub

_TRY_S = 1.0
"""How long one try may take."""
_PAUSE_S = 0.1

T = TypeVar("T")

Nodes = Callable[[], Mapping[NodeId, Node]]
"""Those that are registered, as far as is known."""


@dataclass(slots=True)
class Answers(Generic[T]):
    """What all nodes said."""

    by_node: dict[NodeId, T] = field(default_factory=dict)
    silent: dict[NodeId, str] = field(default_factory=dict)
    """Why there is none, by the node."""

    @property
    def unconfirmed(self) -> list[UnconfirmedNode]:
        """In the order of their ids."""
        return [UnconfirmedNode(node_id=node_id, why=why) for node_id, why in sorted(self.silent.items())]


@dataclass(frozen=True, slots=True)
class NodeCall:
    """A call to make."""

    node: Node
    stub: "NodeServiceAsyncStub"
    signer: Signer | None
    within_s: float

    def said(self, method: str) -> Pairs:
        """The metadata that tell the node who calls this method."""
        path = f"/agentring.v1.NodeService/{method}"
        return peer_metadata(self.signer, path, self.node.address, self.node.incarnation)


@asynccontextmanager
async def node_call(
    node: Node, credentials: PeerCredentials | None, signer: Signer | None, within_s: float
) -> AsyncIterator[NodeCall]:
    """A call of the node's own service. credentials: None: nodes serve plaintext; signer: None: they ask nobody who he
    is."""
    async with open_node_channel(node, credentials) as channel:
        yield NodeCall(node, NodeServiceStub(channel), signer, within_s)


async def ask_all(
    nodes: Nodes,
    credentials: Callable[[], PeerCredentials | None],
    signer: Signer | None,
    ask: Callable[[NodeCall], Awaitable[T]],
    timeout_s: float,
    settled: Callable[[], Awaitable[object]] | None = None,
) -> Answers[T]:
    """The nodes' answers. credentials: read for each call; None of them: nodes serve plaintext; signer: as node_call;
    ask: one node, within its seconds; settled: awaited beside it: those that are registered once it has returned are
    asked, too."""
    loop = asyncio.get_running_loop()
    until_s = loop.time() + timeout_s
    answers: Answers[T] = Answers()

    async def one(node: Node) -> None:
        why = "it was not reached"
        while (left_s := until_s - loop.time()) > 0:
            if (now := nodes().get(node.node_id)) is None:
                return
            try:
                async with node_call(now, credentials(), signer, min(_TRY_S, left_s)) as call:
                    answers.by_node[node.node_id] = await ask(call)
                return
            except aio.AioRpcError as error:
                why = error.code().name
            except OSError as error:
                why = unreadable(error)
            await asyncio.sleep(_PAUSE_S)
        answers.silent[node.node_id] = why

    async with asyncio.TaskGroup() as group:
        asked = {node_id: group.create_task(one(node)) for node_id, node in nodes().items()}
        if settled is not None:
            await settled()
        while True:
            for node_id, node in nodes().items():
                if node_id not in asked:
                    asked[node_id] = group.create_task(one(node))
            if all(each.done() for each in asked.values()):
                break
            await asyncio.wait(asked.values(), return_when=asyncio.ALL_COMPLETED)
    return answers


def unreadable(error: OSError) -> str:
    """Why a node was not asked: the files of the router's certificates."""
    return f"{error.filename}: {error.strerror}"
