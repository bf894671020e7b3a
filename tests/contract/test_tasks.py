"""What the task service promises: lists, looks and cancels of tasks, through a router and on a node itself."""

import uuid

import pytest
from grpc import StatusCode, aio

from agentring.v1 import task_pb2
from agentring.v1.task_pb2 import (
    TASK_STATE_CANCELLED,
    TASK_STATE_COMPLETED,
    TASK_STATE_FAILED,
    CancelTaskRequest,
    GetTaskRequest,
    ListTasksRequest,
    WatchTaskRequest,
)
from agentring.v1.task_pb2_grpc import TaskServiceStub
from harness.client import TIMEOUT_S, error_of, run_task


async def listed(
    channel: aio.Channel, tenant: str, request: ListTasksRequest
) -> tuple[list[task_pb2.Task], task_pb2.ListTasksResponse]:
    answer = await TaskServiceStub(channel).ListTasks(request, timeout=TIMEOUT_S, metadata=(("x-tenant-id", tenant),))
    return list(answer.tasks), answer


async def run_for(channel: aio.Channel, tenant: str, key: str, agent: str = "echo", text: str = "hi") -> None:
    request = task_pb2.RunTaskRequest(task_key=key, agent=agent)
    request.input.text = text
    async for _ in TaskServiceStub(channel).RunTask(request, timeout=TIMEOUT_S, metadata=(("x-tenant-id", tenant),)):
        pass


async def test_tasks_are_listed_a_page_at_a_time_and_to_their_tenant_alone(channel: aio.Channel, name: str) -> None:
    keys = [f"{name}/{number}" for number in range(5)]
    for key in keys:
        await run_for(channel, name, key)
    await run_for(channel, name, f"{name}/failed", "faulty", "raise")
    found, answer = await listed(channel, name, ListTasksRequest(task_key_prefix=name, page_size=4))
    more, last = await listed(
        channel, name, ListTasksRequest(task_key_prefix=name, page_size=4, page_token=answer.next_page_token)
    )
    assert [task.task_key for task in (*found, *more)] == [*keys, f"{name}/failed"]
    assert last.next_page_token == ""
    assert (found[0].state, found[0].agent, found[0].attempt) == (TASK_STATE_COMPLETED, "echo", 1)
    assert found[0].node_id in ("n1", "n2")
    assert found[0].end_time.ToNanoseconds() >= found[0].create_time.ToNanoseconds() > 0
    failed, _ = await listed(channel, name, ListTasksRequest(state=TASK_STATE_FAILED))
    assert [task.task_key for task in failed] == [f"{name}/failed"]
    assert await listed(channel, uuid.uuid4().hex, ListTasksRequest()) == ([], task_pb2.ListTasksResponse())


@pytest.mark.parametrize("token", ["%", "e30=", "W10=", "WyIiLCIiLDAsMV0=", "another list's"])
async def test_a_token_of_no_page_is_refused(channel: aio.Channel, name: str, token: str) -> None:
    if token == "another list's":
        for number in range(2):
            await run_for(channel, name, f"{name}/{number}")
        token = (await listed(channel, name, ListTasksRequest(page_size=1)))[1].next_page_token
        assert token
    request = ListTasksRequest(task_key_prefix=name, page_token=token)
    report = await error_of(TaskServiceStub(channel).ListTasks(request, timeout=TIMEOUT_S))
    assert (report.code, report.reason) == (StatusCode.INVALID_ARGUMENT, "INVALID_PAGE_TOKEN")


async def test_a_page_of_fewer_than_no_tasks_is_refused(channel: aio.Channel) -> None:
    report = await error_of(TaskServiceStub(channel).ListTasks(ListTasksRequest(page_size=-1), timeout=TIMEOUT_S))
    assert (report.code, report.reason) == (StatusCode.INVALID_ARGUMENT, "MALFORMED_REQUEST")


async def test_an_ended_task_is_found_watched_and_cancelled_in_vain(channel: aio.Channel, name: str) -> None:
    received = await run_task(channel, name, text="hi there")
    stub = TaskServiceStub(channel)
    task = (await stub.GetTask(GetTaskRequest(task_key=name), timeout=TIMEOUT_S)).task
    assert (task.state, task.text, task.epoch, task.node_id) == (
        TASK_STATE_COMPLETED,
        received.text,
        received.epoch,
        received.node,
    )
    watched = [
        event
        async for response in stub.WatchTask(WatchTaskRequest(task_key=name, after_seq=1), timeout=TIMEOUT_S)
        for event in response.events
    ]
    assert watched == [event for event in received.events if event.seq > 1]
    cancelled = await stub.CancelTask(CancelTaskRequest(task_key=name), timeout=TIMEOUT_S)
    assert cancelled.state == TASK_STATE_COMPLETED


async def test_another_tenants_task_is_none(channel: aio.Channel, name: str) -> None:
    await run_for(channel, name, name)
    stub = TaskServiceStub(channel)
    for call in (
        stub.GetTask(GetTaskRequest(task_key=name), timeout=TIMEOUT_S),
        stub.CancelTask(CancelTaskRequest(task_key=name), timeout=TIMEOUT_S),
        stub.WatchTask(WatchTaskRequest(task_key=name), timeout=TIMEOUT_S),
    ):
        report = await error_of(call)
        assert (report.code, report.reason) == (StatusCode.NOT_FOUND, "TASK_NOT_FOUND")


async def test_a_caller_that_leaves_cancels_nothing_and_a_cancel_is_told_to_all(
    channel: aio.Channel, name: str
) -> None:
    stub = TaskServiceStub(channel)
    request = task_pb2.RunTaskRequest(task_key=name, agent="holding")
    leaving = stub.RunTask(request, timeout=TIMEOUT_S)
    await leaving.initial_metadata()
    leaving.cancel()
    joining = stub.RunTask(request, timeout=TIMEOUT_S)
    responses = aiter(joining)
    first = await anext(responses)
    assert first.disposition == task_pb2.DISPOSITION_JOINED
    assert first.acked_frame == 1
    cancelled = await stub.CancelTask(CancelTaskRequest(task_key=name), timeout=TIMEOUT_S)
    assert cancelled.state == TASK_STATE_CANCELLED
    events = [*first.events, *[event async for response in responses for event in response.events]]
    assert events[0].seq == 1
    assert events[-1].turn_cancelled.reason == "CLIENT"
    repeated = stub.RunTask(request, timeout=TIMEOUT_S)
    replayed = [response async for response in repeated]
    assert replayed[0].disposition == task_pb2.DISPOSITION_REPLAYED
    assert [event for response in replayed for event in response.events][-1] == events[-1]
