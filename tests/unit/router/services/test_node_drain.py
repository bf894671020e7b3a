"""How far a node's drain is, as the node says it and as its registration shows it."""

import asyncio
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from typing import Any, cast

import pytest

from agentring.cluster.membership import Membership
from agentring.cluster.snapshot import MembershipSnapshot, Node
from agentring.errors import NodeDraining, NodeUnreachable
from agentring.ids import Incarnation
from agentring.rpc.server import Server
from agentring.rpc.service import Call
from agentring.v1 import node_pb2
from harness.memberships import node, snapshot
from harness.processes import free_port
from router.services import node_drain
from router.services.node_drain import drain_node, progress_of


class Draining:
    """A node's own service: tells so many sessions as are left, and ends as it is told to."""

    def __init__(self, *left: int, done: bool = True) -> None:
        self.left = left
        self.done = done

    async def Drain(self, _request: node_pb2.DrainRequest, call: Call) -> None:
        for left in self.left:
            await call.send(node_pb2.DrainResponse(sessions_left=left))
        if not self.done:
            raise NodeDraining
        await call.send(node_pb2.DrainResponse(done=True))

    async def GetNodeStatus(self, _request: node_pb2.GetNodeStatusRequest, _call: Call) -> Any:
        if not self.left:
            raise NodeDraining
        return node_pb2.GetNodeStatusResponse(sessions=self.left[0], turns_running=2)


class Members:
    """A membership that changes when the test says so."""

    def __init__(self, current: MembershipSnapshot) -> None:
        self.current = current
        self.changed = asyncio.Event()

    def change(self, current: MembershipSnapshot) -> None:
        self.current = current
        self.changed.set()

    async def next(self, after: MembershipSnapshot | None) -> MembershipSnapshot:
        while self.current is after:
            await self.changed.wait()
        return self.current


@asynccontextmanager
async def serving(service: Draining, name: str = "n1") -> AsyncIterator[Node]:
    """A node that serves it."""
    services = {node_pb2.DESCRIPTOR.services_by_name["NodeService"]: service}
    server = Server("127.0.0.1:0", services, first_frame_timeout_s=5.0)
    await server.start()
    try:
        yield at(server.address, name)
    finally:
        await server.stop(0)


def at(address: str, name: str = "n1") -> Node:
    there = node(name, active=False)
    return Node(there.node_id, address, there.agents, 1, there.labels, there.active, there.incarnation)


async def progress_seen(of: Node, members: Members) -> list[tuple[int, bool]]:
    drain = drain_node(of, cast(Membership, members), None)
    return [(progress.sessions_left, progress.done) async for progress in drain]


async def test_progress_is_passed_on_to_the_end() -> None:
    async with serving(Draining(3, 1)) as draining:
        assert await progress_seen(draining, Members(snapshot(draining))) == [(3, False), (1, False), (0, True)]


@pytest.mark.parametrize("left", [True, False])
async def test_a_node_that_falls_silent_is_done_only_if_it_has_left(
    left: bool, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(node_drain, "_LEAVES_WITHIN_S", 5.0 if left else 0.05)
    async with serving(Draining(3, done=False)) as draining:
        members = Members(snapshot(draining))
        telling = asyncio.ensure_future(progress_seen(draining, members))
        if left:
            members.change(snapshot())
            assert await telling == [(3, False), (0, True)]
        else:
            with pytest.raises(NodeUnreachable):
                await telling


async def test_a_node_that_cannot_be_reached_and_is_registered_anew_has_left() -> None:
    left = at(f"127.0.0.1:{free_port()}")
    restarted = Node(
        left.node_id, left.address, left.agents, left.weight, left.labels, active=True, incarnation=Incarnation(2)
    )
    assert await progress_seen(left, Members(snapshot(restarted))) == [(0, True)]


async def test_of_those_that_drain_the_ones_that_answer_are_told() -> None:
    async with serving(Draining(7), "n1") as one, serving(Draining(), "n2") as other:
        found = await progress_of([one, other, at(f"127.0.0.1:{free_port()}", "n3")], None)
    assert [(each.node_id, each.sessions_left, each.turns_running) for each in found] == [("n1", 7, 2)]
