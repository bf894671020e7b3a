"""ClusterService: the cluster as this router sees it."""

import asyncio
from collections.abc import Callable
from contextlib import aclosing

from agentring import metadata
from agentring.auth.signatures import Signer
from agentring.cluster.etcd.client import EtcdClient
from agentring.cluster.keys import Keys
from agentring.cluster.membership import Membership
from agentring.cluster.owners import read_owner
from agentring.cluster.ring import POINTS_PER_WEIGHT
from agentring.cluster.snapshot import Node
from agentring.errors import NodeNotFound
from agentring.ids import DEFAULT_TENANT, NodeId, parse_session
from agentring.rpc.channel import PeerCredentials
from agentring.rpc.service import Call
from agentring.v1 import cluster_pb2
from router.routing.explanation import explain
from router.routing.owner import OwnerLookup
from router.routing.ring_view import RingView
from router.services.bound_agent import bound_agent
from router.services.node_drain import drain_node, progress_of, undrain_node

_AWAY_S = 2.0


class ClusterService:
    """The service's methods; see protos/agentring/v1/cluster.proto."""

    def __init__(
        self,
        view: RingView,
        lookup: OwnerLookup,
        membership: Membership,
        etcd: EtcdClient,
        keys: Keys,
        node_credentials: Callable[[], PeerCredentials | None] = lambda: None,
        signer: Signer | None = None,
    ) -> None:
        """view: the ring that is reported; lookup: what is known of refusals; membership: what the ring is built from;
        node_credentials: read for each call, so that they may change; None of them: nodes serve plaintext; signer: of
        calls to nodes; None: they ask nobody who he is."""
        self._signer = signer
        self._node_credentials = node_credentials
        self._view = view
        self._lookup = lookup
        self._membership = membership
        self._etcd = etcd
        self._keys = keys

    async def ListNodes(self, _request: cluster_pb2.ListNodesRequest, _call: Call) -> cluster_pb2.ListNodesResponse:
        """The nodes of the snapshot that the current ring was built from."""
        snapshot = self._view.snapshot
        nodes = [node for _, node in sorted(snapshot.nodes.items())]
        under_way = (node for node in nodes if not node.active and not node.drained)
        draining = await progress_of(under_way, self._node_credentials(), self._signer)
        infos = [node.to_info() for node in nodes]
        return cluster_pb2.ListNodesResponse(revision=snapshot.revision, nodes=infos, draining=draining)

    async def GetRing(self, _request: cluster_pb2.GetRingRequest, _call: Call) -> cluster_pb2.GetRingResponse:
        """The current ring."""
        ring = self._view.ring
        shares = ring.shares()
        return cluster_pb2.GetRingResponse(
            revision=ring.revision,
            checksum=ring.checksum,
            points_per_weight=POINTS_PER_WEIGHT,
            members=[
                cluster_pb2.RingMember(
                    node_id=node.node_id,
                    weight=node.weight,
                    points=ring.points(node.node_id),
                    share=shares[node.node_id],
                )
                for node in ring.nodes
            ],
        )

    async def LocateSession(
        self, request: cluster_pb2.LocateSessionRequest, call: Call
    ) -> cluster_pb2.LocateSessionResponse:
        """What the ring proposes and what the claim says."""
        tenant = request.tenant_id or call.metadata.get(metadata.TENANT_ID, "")
        call.named(tenant or DEFAULT_TENANT, f"session/{request.session_id}")
        ref = parse_session(tenant, request.session_id)
        owner = await read_owner(self._etcd, self._keys, self._membership.history.generation, ref)
        view = self._view
        ring, snapshot = view.ring, view.snapshot
        identity = call.caller.identity if call.caller is not None else None
        candidates = ring.candidates(ref.ring_key)
        bound = await bound_agent(ref, owner, snapshot, candidates, self._node_credentials(), self._signer, identity)
        held, overloaded_s = view.flapping.held, self._lookup.overloaded_s()
        return explain(ref, request.agent, owner, ring, snapshot, held, overloaded_s, bound=bound)

    async def DrainNode(self, request: cluster_pb2.DrainNodeRequest, call: Call) -> None:
        """Passes on the progress of the node's drain."""
        call.named("", f"node/{request.node_id}")
        node = self._registered(request.node_id)
        draining = drain_node(node, self._membership, self._node_credentials(), self._signer, force=request.force)
        async with aclosing(draining) as drain:
            async for progress in drain:
                await call.send(
                    cluster_pb2.DrainNodeResponse(
                        sessions_left=progress.sessions_left, turns_running=progress.turns_running, done=progress.done
                    )
                )

    async def UndrainNode(self, request: cluster_pb2.UndrainNodeRequest, call: Call) -> cluster_pb2.UndrainNodeResponse:
        """Has the node come back."""
        call.named("", f"node/{request.node_id}")
        node = await self._registered_soon(request.node_id)
        incarnation = await undrain_node(node, self._node_credentials(), self._signer)
        return cluster_pb2.UndrainNodeResponse(incarnation=incarnation)

    async def _registered_soon(self, node_id: str) -> Node:
        """One that has drained is away for a moment, between its registration and the one as drained. Raises
        NodeNotFound."""
        snapshot = None
        try:
            async with asyncio.timeout(_AWAY_S):
                while True:
                    snapshot = await self._membership.next(snapshot)
                    if (node := snapshot.nodes.get(NodeId(node_id))) is not None:
                        return node
        except TimeoutError:
            raise NodeNotFound from None

    def _registered(self, node_id: str) -> Node:
        """Raises NodeNotFound."""
        if (node := self._view.snapshot.nodes.get(NodeId(node_id))) is None:
            raise NodeNotFound
        return node

    async def WatchCluster(self, _request: cluster_pb2.WatchClusterRequest, call: Call) -> None:
        """The membership, and each change of it."""
        snapshot = None
        while True:
            snapshot = await self._membership.next(snapshot)
            nodes = [node.to_info() for _, node in sorted(snapshot.nodes.items())]
            await call.send(cluster_pb2.WatchClusterResponse(revision=snapshot.revision, nodes=nodes))
