"""OnceService and WatchRun: bad names, bad pages, resolutions that are none, and steps that nobody has run."""

import asyncio
import base64
import math
from typing import Any

import pytest
from google.protobuf import struct_pb2
from google.protobuf.empty_pb2 import Empty
from google.protobuf.message import Message
from grpc import aio

from agentring.errors import (
    AgentringError,
    InvalidPageToken,
    InvalidTaskKey,
    InvalidTenantId,
    MalformedRequest,
    MessageTooLarge,
    RouteMismatch,
    RouteMissing,
    RunNotFound,
)
from agentring.v1 import node_pb2, once_pb2
from harness.agents import nested
from harness.cluster import Cluster
from harness.raw import NODE, STEPS, Metadata, assert_refused, exchange

METHODS = ("GetRun", "ResolveRun", "ListRuns")
KEYED = METHODS[:2]
BAD_KEYS = ("k" * 257, " ", "a b", "a\0b", "a\n", "\x7f", "ke\u0443")
GARBAGE = (b"\xff\xff\xff", b"\x00", b"\x0a\x05ab", b"\x0a\x02\xff\xfe", bytes(range(256)))


def resolving(key: str, value: float | str | dict[str, Any] | None = None) -> once_pb2.ResolveRunRequest:
    """Settles a step: with a value, or (None) so that it is run again."""
    if value is None:
        return once_pb2.ResolveRunRequest(once_key=key, run_again=Empty())
    request = once_pb2.ResolveRunRequest(once_key=key)
    struct = struct_pb2.Struct()
    struct.update({"value": value})
    request.result.CopyFrom(struct.fields["value"])
    return request


def request(method: str, key: str) -> Message:
    """In order but for what the caller makes wrong."""
    match method:
        case "GetRun":
            return once_pb2.GetRunRequest(once_key=key)
        case "ResolveRun":
            return resolving(key)
        case _:
            return once_pb2.ListRunsRequest(once_key_prefix=key)


async def refused(
    channel: aio.Channel, method: str, message: Message | bytes, error: AgentringError, metadata: Metadata = ()
) -> None:
    await assert_refused(exchange(channel, STEPS + method, message, metadata=metadata), error)


@pytest.mark.parametrize("method", METHODS)
async def test_garbage_is_malformed_also_with_a_route(channel: aio.Channel, name: str, method: str) -> None:
    for garbage in GARBAGE:
        await refused(channel, method, garbage, MalformedRequest())
    await refused(channel, method, GARBAGE[0], MalformedRequest(), (("x-task-key", name),))


@pytest.mark.parametrize("method", METHODS)
async def test_a_bad_key_is_refused(channel: aio.Channel, method: str) -> None:
    await asyncio.gather(*(refused(channel, method, request(method, bad), InvalidTaskKey()) for bad in BAD_KEYS))


@pytest.mark.parametrize("method", KEYED)
async def test_a_key_in_the_metadata_is_held_to_the_same(channel: aio.Channel, name: str, method: str) -> None:
    await refused(channel, method, b"", RouteMissing())
    for bad in ("k" * 257, "a b"):
        await refused(channel, method, request(method, ""), InvalidTaskKey(), (("x-task-key", bad),))
    await refused(channel, method, request(method, name), RouteMismatch(), (("x-task-key", f"{name}-other"),))


@pytest.mark.parametrize("method", METHODS)
async def test_a_bad_tenant_is_refused(channel: aio.Channel, name: str, method: str) -> None:
    for bad in ("../x", "..", "t" * 129, "a/b", "a b"):
        await refused(channel, method, request(method, name), InvalidTenantId(), (("x-tenant-id", bad),))


async def test_what_was_never_run_is_not_found_and_not_made(cluster: Cluster, channel: aio.Channel, name: str) -> None:
    await refused(channel, "GetRun", request("GetRun", name), RunNotFound())
    await refused(channel, "ResolveRun", resolving(name), RunNotFound())
    await refused(channel, "ResolveRun", resolving(name, "paid"), RunNotFound())
    assert [line for line in cluster.audit("claimed") if line.get("once") == name] == []


async def test_a_resolution_that_is_none_is_malformed(channel: aio.Channel, name: str) -> None:
    await refused(channel, "ResolveRun", once_pb2.ResolveRunRequest(once_key=name), MalformedRequest())
    for bad in (math.nan, math.inf, nested(32)):  # a Run with such an object in it could not be read by everybody
        await refused(channel, "ResolveRun", resolving(name, bad), MalformedRequest())
    nothing = once_pb2.ResolveRunRequest(once_key=name, result=struct_pb2.Value())
    await refused(channel, "ResolveRun", nothing, MalformedRequest())


@pytest.mark.parametrize("size_bytes", [(256 << 10) + 1, 2 << 20])
async def test_a_result_that_is_too_large_is_refused(channel: aio.Channel, name: str, size_bytes: int) -> None:
    await refused(channel, "ResolveRun", resolving(name, "x" * size_bytes), MessageTooLarge())


async def test_bad_pages_are_refused(channel: aio.Channel) -> None:
    await refused(channel, "ListRuns", once_pb2.ListRunsRequest(page_size=-1), MalformedRequest())
    for token in ("x", "a b", "é", base64.urlsafe_b64encode(b'["p", 0, "k"]').decode(), "A" * 5_000):
        await refused(channel, "ListRuns", once_pb2.ListRunsRequest(page_token=token), InvalidPageToken())


async def test_bad_waits_for_another_nodes_step_are_refused(direct: aio.Channel, name: str) -> None:
    async def wait_refused(message: Message | bytes, error: AgentringError) -> None:
        await assert_refused(exchange(direct, NODE + "WatchRun", message), error)

    for garbage in GARBAGE:
        await wait_refused(garbage, MalformedRequest())
    for bad in ("", *BAD_KEYS):
        await wait_refused(node_pb2.WatchRunRequest(task_key=bad), InvalidTaskKey())
        await wait_refused(node_pb2.WatchRunRequest(task_key=name, held_task_keys=["good", bad]), InvalidTaskKey())
    await wait_refused(node_pb2.WatchRunRequest(task_key=name, tenant_id="a/b"), InvalidTenantId())
    await wait_refused(node_pb2.WatchRunRequest(task_key=name, held_task_keys=[name]), RunNotFound())
