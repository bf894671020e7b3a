"""Halts as a router's service has them: nodes that answer, are silent, come and go; etcd that takes nothing."""

import asyncio
from collections.abc import AsyncIterator, Awaitable, Callable, Sequence
from contextlib import AsyncExitStack, asynccontextmanager
from typing import Any, cast

import pytest

from agentring import metadata
from agentring.auth.access import Caller
from agentring.cluster.etcd.errors import EtcdUnavailable
from agentring.cluster.etcd.types import KeyValue, Put, RangeResult, TxnResult
from agentring.cluster.halts import Halt, HaltScope, of_record, read_scope
from agentring.cluster.keys import Keys
from agentring.cluster.records import encode
from agentring.cluster.snapshot import MembershipSnapshot, Node
from agentring.errors import AgentringError, CoordinatorUnavailable, InvalidHalt, TenantForeign
from agentring.ids import Incarnation, Revision
from agentring.rpc.server import Server
from agentring.rpc.service import Call
from agentring.v1 import halt_pb2, node_pb2
from harness.credentials import ADA
from harness.halts import EVERYTHING, halted, session, tenant
from harness.memberships import node, snapshot
from harness.processes import free_port
from router.services.halts import HaltService

KEYS = Keys("c")
SHORT_S = 0.2


class Etcd:
    """Keys, and what happens when somebody writes."""

    def __init__(self) -> None:
        self.values: dict[str, bytes] = {}
        self.reachable = True
        self.on_write: Callable[[], None] = lambda: None

    async def range(self, prefix: str) -> RangeResult:
        if not self.reachable:
            raise EtcdUnavailable
        found = [kv(key, value) for key, value in self.values.items() if key.startswith(prefix)]
        return RangeResult(Revision(1), tuple(found))

    async def txn(self, _compares: object, puts: Sequence[Put]) -> TxnResult:
        if not self.reachable:
            raise EtcdUnavailable
        self.values |= {put.key: put.value for put in puts}
        self.on_write()
        return TxnResult(True, Revision(2), ())

    async def delete(self, key: str) -> bool:
        if not self.reachable:
            raise EtcdUnavailable
        return self.values.pop(key, None) is not None


def kv(key: str, value: bytes) -> KeyValue:
    return KeyValue(key, value, Revision(1), Revision(1), 0)


class Members:
    """The membership: the nodes that a test has put there."""

    def __init__(self) -> None:
        self.nodes: list[Node] = []

    @property
    def current(self) -> MembershipSnapshot:
        return snapshot(*self.nodes, revision=9)

    async def next(self, _after: object) -> MembershipSnapshot:
        return self.current


class Served:
    """A node's own service."""

    def __init__(self, *, stored: bool = True, stays: bool = False) -> None:
        self.halts: dict[HaltScope, Halt] = {}
        self.stored, self.stays = stored, stays
        self.answers = True
        self.running = [halt_pb2.RunningWork(session_id="s")]

    async def ApplyHalt(self, request: node_pb2.ApplyHaltRequest, _call: Call) -> node_pb2.ApplyHaltResponse:
        if not self.answers:
            await asyncio.Event().wait()
        halt = of_record(request.halt)
        self.halts[halt.scope] = halt
        return node_pb2.ApplyHaltResponse(durable=True, stored=self.stored)

    async def LiftHalt(self, request: node_pb2.LiftHaltRequest, _call: Call) -> node_pb2.LiftHaltResponse:
        scope = read_scope(request.scope)
        was = scope in self.halts
        if not self.stays:
            self.halts.pop(scope, None)
        return node_pb2.LiftHaltResponse(
            durable=True, removed=not self.stays, was_halted=was, is_halted=scope in self.halts
        )

    async def ListNodeHalts(self, _request: object, _call: Call) -> node_pb2.ListNodeHaltsResponse:
        return node_pb2.ListNodeHaltsResponse(halts=[halt.to_record() for halt in self.halts.values()])

    async def ListNodeRunning(self, request: node_pb2.ListNodeRunningRequest, call: Call) -> None:
        work = [each for each in self.running if request.tenant_id in ("", each.tenant_id)]
        await call.send(node_pb2.ListNodeRunningResponse(running=work))


class Asking:
    """A call of the router's service."""

    def __init__(self, caller: Caller | None = None, tenant: str = "") -> None:
        self.metadata, self.caller = {metadata.TENANT_ID: tenant}, caller
        self.sent: list[halt_pb2.ListRunningResponse] = []
        self.targets: list[tuple[str, str]] = []

    def named(self, tenant: str, target: str) -> None:
        self.targets.append((tenant, target))

    async def send(self, response: Any) -> None:
        self.sent.append(response)


class Cluster:
    """A router's service, and the nodes around it."""

    def __init__(self, stack: AsyncExitStack) -> None:
        self.etcd, self.members = Etcd(), Members()
        self.service = HaltService(cast(Any, self.members), cast(Any, self.etcd), KEYS)
        self._stack = stack

    async def serve(self, name: str, served: Served) -> Node:
        server = Server(
            "127.0.0.1:0", {node_pb2.DESCRIPTOR.services_by_name["NodeService"]: served}, first_frame_timeout_s=5.0
        )
        await server.start()
        self._stack.push_async_callback(server.stop, 0)
        return at(server.address, name)

    async def add(self, name: str, **how: bool) -> Served:
        served = Served(**how)
        self.members.nodes.append(await self.serve(name, served))
        return served

    async def halt(self, scope: HaltScope = EVERYTHING, call: Asking | None = None, **more: Any) -> Any:
        request = halt_pb2.HaltRequest(scope=scope.to_message(), **({"timeout_s": 5.0} | more))
        return await self.service.Halt(request, cast(Call, call or Asking()))

    async def resume(self, scope: HaltScope = EVERYTHING, timeout_s: float = 5.0) -> halt_pb2.ResumeResponse:
        request = halt_pb2.ResumeRequest(scope=scope.to_message(), timeout_s=timeout_s)
        return await self.service.Resume(request, cast(Call, Asking()))


def at(address: str, name: str) -> Node:
    there = node(name)
    return Node(there.node_id, address, there.agents, 1, there.labels, there.active, Incarnation(1))


@asynccontextmanager
async def around() -> AsyncIterator[Cluster]:
    async with AsyncExitStack() as stack:
        yield Cluster(stack)


@pytest.fixture
async def cluster() -> AsyncIterator[Cluster]:
    async with around() as made:
        yield made


async def test_every_node_is_asked_and_etcd_and_the_store_have_it(cluster: Cluster) -> None:
    nodes = [await cluster.add("n2"), await cluster.add("n1")]
    asking = Asking()
    answer = await cluster.halt(session("s"), asking, hold=True, by="ada", why="a test")
    assert list(answer.confirmed) == ["n1", "n2"]
    assert not answer.unconfirmed
    assert (answer.kept.in_etcd, answer.kept.in_store, answer.kept.store_is_volatile) == (True, True, False)
    (halt,) = nodes[0].halts.values()
    assert (halt, halt.hold, halt.by, halt.why) == (of_record(answer.halt), True, "ada", "a test")
    assert asking.targets == [("default", "session s of tenant default")]
    found = await cluster.service.ListHalts(halt_pb2.ListHaltsRequest(), cast(Call, Asking()))
    assert list(found.halts) == [answer.halt]
    assert (await cluster.resume(session("s"))).was_halted
    assert not nodes[1].halts
    assert not (await cluster.resume(session("s"))).was_halted


async def test_nodes_are_halted_though_etcd_takes_nothing_and_not_resumed(cluster: Cluster) -> None:
    served = await cluster.add("n1", stored=False)
    cluster.etcd.reachable = False
    answer = await cluster.halt()
    assert list(answer.confirmed) == ["n1"]
    assert (answer.kept.in_etcd, answer.kept.in_store, answer.kept.store_is_volatile) == (False, False, False)
    found = await cluster.service.ListHalts(halt_pb2.ListHaltsRequest(), cast(Call, Asking()))
    assert len(found.halts) == 1
    with pytest.raises(CoordinatorUnavailable):
        await cluster.resume()
    assert list(served.halts) == [EVERYTHING]


async def test_where_no_node_answers_nobody_says_that_there_is_no_store(cluster: Cluster) -> None:
    kept = (await cluster.halt()).kept
    assert (kept.in_etcd, kept.in_store, kept.store_is_volatile) == (True, False, False)


async def test_what_does_not_answer_is_named_and_holds_nobody_up(cluster: Cluster) -> None:
    served = await cluster.add("n1")
    cluster.members.nodes.append(at(f"127.0.0.1:{free_port()}", "n2"))
    (await cluster.add("n3")).answers = False
    answer = await cluster.halt(timeout_s=SHORT_S)
    assert list(answer.confirmed) == ["n1"]
    why = {each.node_id: each.why for each in answer.unconfirmed}
    assert why == {"n2": "UNAVAILABLE", "n3": "DEADLINE_EXCEEDED"}
    assert list(served.halts) == [EVERYTHING]


async def test_who_registers_while_etcd_is_written_is_asked_and_who_leaves_owes_nothing(cluster: Cluster) -> None:
    await cluster.add("n1")
    cluster.members.nodes.append(at(f"127.0.0.1:{free_port()}", "gone"))
    late = Served()
    newcomer = await cluster.serve("n2", late)

    def registered() -> None:
        cluster.members.nodes = [cluster.members.nodes[0], newcomer]

    cluster.etcd.on_write = registered
    answer = await cluster.halt()
    assert list(answer.confirmed) == ["n1", "n2"]
    assert not answer.unconfirmed
    assert list(late.halts) == [EVERYTHING]


async def test_a_node_whose_store_still_says_it_is_named_by_the_resume(cluster: Cluster) -> None:
    await cluster.add("n1", stays=True)
    await cluster.add("n2")
    await cluster.halt()
    answer = await cluster.resume()
    assert (answer.was_halted, list(answer.confirmed)) == (True, ["n2"])
    assert [each.node_id for each in answer.unconfirmed] == ["n1"]


async def test_halts_of_others_are_not_listed(cluster: Cluster) -> None:
    await cluster.add("n1")
    for halt in (halted(tenant("acme")), halted(session("s", "other"))):
        cluster.etcd.values[halt.scope.key(KEYS)] = encode(halt.to_record())
    cluster.etcd.values[f"{KEYS.halts}odd"] = b"no record"

    async def listed(**request: Any) -> list[str]:
        found = await cluster.service.ListHalts(halt_pb2.ListHaltsRequest(**request), cast(Call, Asking()))
        return [record.scope.tenant_id for record in found.halts]

    assert await listed(tenant_id="acme") == ["acme"]
    assert await listed() == []
    assert sorted(await listed(all_tenants=True)) == ["acme", "other"]


async def test_what_runs_is_listed_by_node_and_the_silent_come_last(cluster: Cluster) -> None:
    (await cluster.add("n1")).running = [halt_pb2.RunningWork(tenant_id="acme", session_id="s")]
    (await cluster.add("n2")).running = [halt_pb2.RunningWork(tenant_id="other", session_id="t")]
    cluster.members.nodes.append(at(f"127.0.0.1:{free_port()}", "n3"))
    asking = Asking(tenant="acme")
    await cluster.service.ListRunning(halt_pb2.ListRunningRequest(), cast(Call, asking))
    *pages, last = asking.sent
    assert {page.node_id: [work.session_id for work in page.running] for page in pages} == {"n1": ["s"], "n2": []}
    assert [(each.node_id, each.why) for each in last.silent] == [("n3", "UNAVAILABLE")]


REFUSED: dict[str, tuple[dict[str, Any], type[AgentringError]]] = {
    "waits too long": ({"timeout_s": 60.1}, InvalidHalt),
    "waits less than nothing": ({"timeout_s": -1.0}, InvalidHalt),
    "no number": ({"timeout_s": float("nan")}, InvalidHalt),
    "by is long": ({"by": "x" * 257}, InvalidHalt),
    "why is long": ({"why": "x" * 1_001}, InvalidHalt),
}


@pytest.mark.parametrize("name", REFUSED)
async def test_what_cannot_be_meant_is_refused_and_nothing_is_halted(cluster: Cluster, name: str) -> None:
    served = await cluster.add("n1")
    more, error = REFUSED[name]
    with pytest.raises(error):
        await cluster.halt(**more)
    assert (served.halts, cluster.etcd.values) == ({}, {})


async def test_the_credentials_tenant_alone_is_halted(cluster: Cluster) -> None:
    served = await cluster.add("n1")
    caller = Caller(ADA, ADA.tenant)
    asking = Asking(caller)
    steps: list[Awaitable[Any]] = [cluster.halt(scope, asking) for scope in (EVERYTHING, tenant("zeta"))]
    for step in steps:
        with pytest.raises(TenantForeign):
            await step
    assert (served.halts, asking.targets) == ({}, [])
    answer = await cluster.halt(tenant(ADA.tenant), asking, by="somebody else")
    assert answer.halt.by == ADA.subject
    assert asking.targets == [(ADA.tenant, f"tenant {ADA.tenant}")]
