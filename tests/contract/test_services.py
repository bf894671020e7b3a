"""What a router serves itself: health, reflection and the view of its cluster; and a node's own health."""

from typing import Any

import pytest
from google.protobuf import descriptor_pb2
from grpc import aio
from grpc_health.v1 import health_pb2, health_pb2_grpc
from grpc_reflection.v1alpha import reflection_pb2, reflection_pb2_grpc

from agentring.errors import ServiceNotFound
from agentring.v1 import cluster_pb2, cluster_pb2_grpc, node_pb2, node_pb2_grpc
from harness.client import TIMEOUT_S, run_turn, turn
from harness.cluster import Cluster
from harness.raw import assert_refused, exchange

SERVING = health_pb2.HealthCheckResponse.SERVING
SERVICES = {
    "agentring.v1.BlobService",
    "agentring.v1.ClusterService",
    "agentring.v1.HaltService",
    "agentring.v1.OnceService",
    "agentring.v1.SessionService",
    "agentring.v1.TaskService",
    "grpc.health.v1.Health",
    "grpc.reflection.v1.ServerReflection",
    "grpc.reflection.v1alpha.ServerReflection",
}


async def test_healthy(channel: aio.Channel) -> None:
    health: Any = health_pb2_grpc.HealthStub(channel)
    assert (await health.Check(health_pb2.HealthCheckRequest(), timeout=TIMEOUT_S)).status == SERVING
    call = health.Watch(health_pb2.HealthCheckRequest(), timeout=TIMEOUT_S)
    assert (await call.read()).status == SERVING
    call.cancel()


async def test_health_of_each_service(routed: aio.Channel, direct: aio.Channel) -> None:
    for channel, service in ((routed, "ClusterService"), (direct, "SessionService"), (direct, "TaskService")):
        request = health_pb2.HealthCheckRequest(service=f"agentring.v1.{service}")
        health: Any = health_pb2_grpc.HealthStub(channel)
        assert (await health.Check(request, timeout=TIMEOUT_S)).status == SERVING


async def test_health_of_what_is_not_there(channel: aio.Channel) -> None:
    request = health_pb2.HealthCheckRequest(service="agentring.v1.Nothing")
    await assert_refused(exchange(channel, "/grpc.health.v1.Health/Check", request), ServiceNotFound())
    health: Any = health_pb2_grpc.HealthStub(channel)
    call = health.Watch(request, timeout=TIMEOUT_S)
    assert (await call.read()).status == health_pb2.HealthCheckResponse.SERVICE_UNKNOWN
    call.cancel()


async def _reflect(channel: Any, **asked: Any) -> reflection_pb2.ServerReflectionResponse:
    stub: Any = reflection_pb2_grpc.ServerReflectionStub(channel)
    call = stub.ServerReflectionInfo(timeout=TIMEOUT_S)
    await call.write(reflection_pb2.ServerReflectionRequest(**asked))
    await call.done_writing()
    answers: list[reflection_pb2.ServerReflectionResponse] = []
    while (answer := await call.read()) is not aio.EOF:
        answers.append(answer)
    assert len(answers) == 1
    return answers[0]


async def test_reflection_lists_what_clients_can_call(routed: aio.Channel) -> None:
    listed = await _reflect(routed, list_services="")
    assert {service.name for service in listed.list_services_response.service} == SERVICES


@pytest.mark.parametrize("service", ["SessionService", "BlobService", "TaskService", "OnceService", "ClusterService"])
async def test_reflection_describes_each_service(routed: aio.Channel, service: str) -> None:
    answer = await _reflect(routed, file_containing_symbol=f"agentring.v1.{service}")
    files = [
        descriptor_pb2.FileDescriptorProto.FromString(raw)
        for raw in answer.file_descriptor_response.file_descriptor_proto
    ]
    assert service in {each.name for file in files for each in file.service}
    defined = {file.name for file in files}
    assert {dependency for file in files for dependency in file.dependency} <= defined


async def test_reflection_of_what_is_not_there(routed: aio.Channel) -> None:
    answer = await _reflect(routed, file_containing_symbol="agentring.v1.Nothing")
    assert answer.error_response.error_code == 5


async def test_a_watched_cluster_is_first_told_as_it_is(cluster: Cluster, routed: aio.Channel) -> None:
    stub = cluster_pb2_grpc.ClusterServiceStub(routed)
    call = stub.WatchCluster(cluster_pb2.WatchClusterRequest(), timeout=TIMEOUT_S)
    first: Any = await call.read()
    call.cancel()
    listed = await stub.ListNodes(cluster_pb2.ListNodesRequest(), timeout=TIMEOUT_S)
    assert (first.revision, list(first.nodes)) == (listed.revision, list(listed.nodes))
    assert {node.node_id: node.address for node in first.nodes} == {
        member.name: member.address for member in cluster.nodes.values()
    }
    for node in first.nodes:
        ours = {"faulty", "holding", "blocking", "asking", "calling", "released"}
        assert set(node.agents) == {"echo", "assistant", "openai"} | ours
        assert (node.state, node.weight) == (cluster_pb2.NODE_STATE_ACTIVE, 1)
    assert len({node.incarnation for node in first.nodes}) == 2


async def test_the_ring_is_told(cluster: Cluster, routed: aio.Channel) -> None:
    ring = await cluster_pb2_grpc.ClusterServiceStub(routed).GetRing(cluster_pb2.GetRingRequest(), timeout=TIMEOUT_S)
    assert [member.node_id for member in ring.members] == sorted(cluster.nodes)
    assert sum(member.share for member in ring.members) == pytest.approx(1)
    assert {member.points for member in ring.members} == {ring.points_per_weight}
    assert ring.checksum


async def test_a_session_is_located_before_and_after_it_is_made(routed: aio.Channel, name: str) -> None:
    stub = cluster_pb2_grpc.ClusterServiceStub(routed)
    request = cluster_pb2.LocateSessionRequest(session_id=name, agent="echo")
    before = await stub.LocateSession(request, timeout=TIMEOUT_S)
    assert (before.node_id, before.epoch) == ("", 0)
    assert [candidate.accepted for candidate in before.candidates] == [True, True]
    received = await run_turn(routed, name, turn("hi"))
    after = await stub.LocateSession(request, timeout=TIMEOUT_S)
    assert (after.node_id, after.epoch) == (received.node, received.epoch)
    assert after.node_id == before.candidates[0].node_id
    assert (after.ring_position, after.candidates) == (before.ring_position, before.candidates)


async def test_a_node_says_how_it_is(direct: aio.Channel, name: str) -> None:
    stub = node_pb2_grpc.NodeServiceStub(direct)
    before = await stub.GetNodeStatus(node_pb2.GetNodeStatusRequest(), timeout=TIMEOUT_S)
    await run_turn(direct, name, turn("hi"))
    after = await stub.GetNodeStatus(node_pb2.GetNodeStatusRequest(), timeout=TIMEOUT_S)
    assert (after.node_id, after.incarnation) == ("n1", before.incarnation)
    assert after.sessions == before.sessions + 1
    assert 0 < after.fence_in_s <= 3
