"""HaltService: stops sessions, agents, tenants or everything, ends that, and shows what runs.

Guarantees: a halt is sent to the nodes at the moment in which it is sent to etcd, so that neither waits for the other;
nodes that registered before etcd had it are all asked, and those that register later read it before they serve. What
has not confirmed is named. Nothing of it goes through the ring.
"""

import asyncio
import time
import uuid
from collections import Counter
from collections.abc import AsyncIterator, Callable, Collection, Mapping
from contextlib import asynccontextmanager, suppress

import structlog
from grpc import aio

from agentring import metadata
from agentring.auth.signatures import Signer
from agentring.cluster import halts as records
from agentring.cluster.etcd.client import EtcdClient
from agentring.cluster.etcd.errors import EtcdError
from agentring.cluster.halts import MOST_BY_CHARS, MOST_OF_TENANT, MOST_WHY_CHARS, Halt, HaltScope, read_scope
from agentring.cluster.keys import Keys
from agentring.cluster.membership import Membership
from agentring.cluster.snapshot import Node
from agentring.errors import CoordinatorUnavailable, InvalidHalt, QuotaExceeded
from agentring.ids import NodeId, parse_tenant
from agentring.rpc.channel import PeerCredentials
from agentring.rpc.service import Call
from agentring.v1 import halt_pb2, node_pb2
from router.services.node_calls import NodeCall, ask_all, node_call, unreadable

_WAIT_S, _LONGEST_WAIT_S = 5.0, 60.0
_LIST_S, _LONGEST_LIST_S = 0.8, 10.0
_COUNT_S = 0.2
"""An etcd that does not answer must hold no halt up."""

_log = structlog.get_logger()


class HaltService:
    """The service's methods; see protos/agentring/v1/halt.proto."""

    def __init__(
        self,
        membership: Membership,
        etcd: EtcdClient,
        keys: Keys,
        node_credentials: Callable[[], PeerCredentials | None] = lambda: None,
        signer: Signer | None = None,
    ) -> None:
        """membership: who is asked; node_credentials: read for each call; None of them: plaintext; signer: of calls to
        nodes; None: they ask nobody who he is."""
        self._signer = signer
        self._membership = membership
        self._etcd = etcd
        self._keys = keys
        self._node_credentials = node_credentials
        self._last_known: Mapping[NodeId, Node] = {}
        self._under_way: Counter[str] = Counter()
        """Halts that are being made, by their tenants."""

    async def Halt(self, request: halt_pb2.HaltRequest, call: Call) -> halt_pb2.HaltResponse:
        """Halts a scope, everywhere."""
        timeout_s = _timeout(request.timeout_s, _WAIT_S, _LONGEST_WAIT_S)
        if len(request.by) > MOST_BY_CHARS or len(request.why) > MOST_WHY_CHARS:
            raise InvalidHalt(f"`by` has at most {MOST_BY_CHARS} characters, `why` {MOST_WHY_CHARS}")
        scope = _named(call, _scope(request.scope, call))
        by = (call.caller.identity.subject if call.caller is not None else "") or request.by
        halt = Halt(scope, uuid.uuid4().hex, request.hold, by, time.time_ns(), request.why)
        order = node_pb2.ApplyHaltRequest(halt=halt.to_record())
        in_etcd = False

        async def apply(node: NodeCall) -> node_pb2.ApplyHaltResponse:
            # The node itself waits a second for its store.
            return await node.stub.ApplyHalt(order, timeout=node.within_s + 0.5, metadata=node.said("ApplyHalt"))

        async def write() -> None:
            nonlocal in_etcd
            try:
                await records.write(self._etcd, self._keys, halt)
                in_etcd = True
                await self._look_at_nodes()
            except EtcdError as error:
                _log.warning("halt_not_in_etcd", error=str(error))

        async with self._room_for(scope, call):
            answers = await ask_all(self._nodes, self._node_credentials, self._signer, apply, timeout_s, write)
        kept = halt_pb2.HaltKept(
            in_etcd=in_etcd,
            in_store=any(each.stored for each in answers.by_node.values()),
            store_is_volatile=_is_volatile(answers.by_node.values()),
        )
        confirmed = sorted(answers.by_node)
        _log.warning("halted", scope=scope.what, hold=halt.hold, nodes=len(confirmed), silent=sorted(answers.silent))
        return halt_pb2.HaltResponse(
            halt=halt.to_record(), confirmed=confirmed, unconfirmed=answers.unconfirmed, kept=kept
        )

    async def Resume(self, request: halt_pb2.ResumeRequest, call: Call) -> halt_pb2.ResumeResponse:
        """Ends a halt, everywhere."""
        timeout_s = _timeout(request.timeout_s, _WAIT_S, _LONGEST_WAIT_S)
        scope = _named(call, _scope(request.scope, call))
        try:
            was_halted = await records.remove(self._etcd, self._keys, scope)
            await self._look_at_nodes()
        except EtcdError:
            raise CoordinatorUnavailable from None
        order = node_pb2.LiftHaltRequest(scope=scope.to_message())

        async def lift(node: NodeCall) -> node_pb2.LiftHaltResponse:
            return await node.stub.LiftHalt(order, timeout=node.within_s + 1.0, metadata=node.said("LiftHalt"))

        answers = await ask_all(self._nodes, self._node_credentials, self._signer, lift, timeout_s)
        for node_id in [node_id for node_id, each in answers.by_node.items() if each.is_halted]:
            answers.silent[node_id] = "it is halted by what its store still says"
            was_halted = was_halted or answers.by_node[node_id].was_halted
            del answers.by_node[node_id]
        said = answers.by_node.values()
        _log.warning("resumed", scope=scope.what, nodes=len(said), silent=sorted(answers.silent))
        return halt_pb2.ResumeResponse(
            was_halted=was_halted or any(each.was_halted for each in said),
            confirmed=sorted(answers.by_node),
            unconfirmed=answers.unconfirmed,
            removed=halt_pb2.HaltKept(
                in_etcd=True,
                in_store=any(each.removed for each in said),
                store_is_volatile=_is_volatile(said),
            ),
        )

    async def ListHalts(self, request: halt_pb2.ListHaltsRequest, call: Call) -> halt_pb2.ListHaltsResponse:
        """What is halted, as etcd and the nodes have it."""
        tenant = _asked(call, request.tenant_id, everything=request.all_tenants)
        found: dict[HaltScope, halt_pb2.HaltRecord] = {}

        async def from_etcd() -> None:
            try:
                state = await self._etcd.range(self._keys.halts)
            except EtcdError:
                return
            for halt in records.decoded(state.kvs).values():
                found.setdefault(halt.scope, halt.to_record())

        async def ask(node: NodeCall) -> node_pb2.ListNodeHaltsResponse:
            request, said = node_pb2.ListNodeHaltsRequest(), node.said("ListNodeHalts")
            return await node.stub.ListNodeHalts(request, timeout=node.within_s, metadata=said)

        answers = await ask_all(self._nodes, self._node_credentials, self._signer, ask, _LIST_S, from_etcd)
        for answer in answers.by_node.values():
            for record in answer.halts:
                found[read_scope(record.scope)] = record
        shown = [record for scope, record in sorted(found.items()) if tenant in ("", scope.tenant) or not scope.tenant]
        return halt_pb2.ListHaltsResponse(halts=shown, silent=answers.unconfirmed)

    async def ListRunning(self, request: halt_pb2.ListRunningRequest, call: Call) -> None:
        """What each node says that it runs, as it comes."""
        tenant = _asked(call, request.tenant_id, everything=request.all_tenants)
        within_s = _timeout(request.timeout_s, _LIST_S, _LONGEST_LIST_S)
        order = node_pb2.ListNodeRunningRequest(tenant_id=tenant)
        silent: dict[NodeId, str] = {}
        sending = asyncio.Lock()

        async def one(node: Node) -> None:
            try:
                async with node_call(node, self._node_credentials(), self._signer, within_s) as asked:
                    said = asked.said("ListNodeRunning")
                    async for page in asked.stub.ListNodeRunning(order, timeout=within_s, metadata=said):
                        async with sending:
                            await call.send(halt_pb2.ListRunningResponse(node_id=node.node_id, running=page.running))
            except aio.AioRpcError as error:
                silent[node.node_id] = error.code().name
            except OSError as error:
                silent[node.node_id] = unreadable(error)

        async with asyncio.TaskGroup() as group:
            for node in self._nodes().values():
                group.create_task(one(node))
        unconfirmed = [halt_pb2.UnconfirmedNode(node_id=node_id, why=why) for node_id, why in sorted(silent.items())]
        await call.send(halt_pb2.ListRunningResponse(silent=unconfirmed))

    @asynccontextmanager
    async def _room_for(self, scope: HaltScope, call: Call) -> AsyncIterator[None]:
        """One tenant's halts must not end the nodes of all, and those that are made at one moment count each other.
        Raises QuotaExceeded."""
        if call.caller is None or call.caller.is_operator:
            yield
            return
        self._under_way[scope.tenant] += 1
        try:
            has_room = True
            with suppress(EtcdError, TimeoutError):
                async with asyncio.timeout(_COUNT_S):
                    has_room = await records.has_room(self._etcd, self._keys, scope, self._under_way[scope.tenant])
            if not has_room:
                raise QuotaExceeded("halts", str(MOST_OF_TENANT), "tenant")
            yield
        finally:
            self._under_way[scope.tenant] -= 1
            if not self._under_way[scope.tenant]:
                del self._under_way[scope.tenant]

    def _nodes(self) -> Mapping[NodeId, Node]:
        """Those of the membership; where that is closed, those that were known last."""
        if (current := self._membership.current) is not None:
            self._last_known = current.nodes
        return self._last_known

    async def _look_at_nodes(self) -> None:
        """Returns once the membership has all that etcd had when this was called, or within a second. Raises
        EtcdError."""
        state = await self._etcd.range(self._keys.nodes)
        wanted = {kv.key: kv.create_revision for kv in state.kvs}
        snapshot = None
        try:
            async with asyncio.timeout(1.0):
                while True:
                    snapshot = await self._membership.next(snapshot)
                    known = {self._keys.node(node_id): node.incarnation for node_id, node in snapshot.nodes.items()}
                    if snapshot.revision >= state.revision or wanted.items() <= known.items():
                        return
        except TimeoutError:
            _log.warning("nodes_not_seen", missing=sorted(wanted.keys() - self._nodes().keys()))


def _is_volatile(said: Collection[node_pb2.ApplyHaltResponse] | Collection[node_pb2.LiftHaltResponse]) -> bool:
    """Whether the nodes have no store that outlives them: where none has answered nobody knows."""
    return bool(said) and not any(each.durable for each in said)


def _scope(said: halt_pb2.HaltScope, call: Call) -> HaltScope:
    """Raises InvalidHalt, InvalidTenantId, InvalidSessionId, TenantForeign."""
    caller = call.caller
    scope = read_scope(said, call.metadata.get(metadata.TENANT_ID, "") if caller is None else caller.tenant)
    if caller is not None:
        caller.check_tenant(scope.tenant)
    return scope


def _named(call: Call, scope: HaltScope) -> HaltScope:
    """For the access log."""
    call.named(scope.tenant, scope.what)
    return scope


def _asked(call: Call, tenant: str, *, everything: bool) -> str:
    """The tenant that is asked for; empty: all. Raises InvalidTenantId, TenantForeign."""
    caller = call.caller
    own = call.metadata.get(metadata.TENANT_ID, "") if caller is None else caller.tenant
    asked = "" if everything else parse_tenant(tenant or own)
    if caller is not None:
        caller.check_tenant(asked)
    call.named(asked, "" if asked else "everything")
    return asked


def _timeout(asked_s: float, default_s: float, longest_s: float) -> float:
    """Raises InvalidHalt."""
    if not 0 <= asked_s <= longest_s:
        raise InvalidHalt(f"the time to wait is at most {longest_s:g} s")
    return asked_s or default_s
