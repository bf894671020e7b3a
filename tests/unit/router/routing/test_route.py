"""What a call is about, and what of its metadata goes on."""

import pytest

from agentring.errors import (
    FirstFrameNotOpen,
    InvalidSessionId,
    InvalidTaskKey,
    InvalidTenantId,
    MalformedRequest,
    RouteMissing,
)
from agentring.ids import parse_session, parse_task
from agentring.v1 import session_pb2, task_pb2
from router.routing import route
from router.routing.route import Destination, Route

SESSION = "/agentring.v1.SessionService/"
TASK = "/agentring.v1.TaskService/"


@pytest.mark.parametrize(
    ("method", "headers", "destination"),
    [
        (SESSION + "Converse", {}, Destination.OWNER),
        (SESSION + "GetSession", {}, Destination.OWNER),
        (SESSION + "ListSessions", {"x-session-id": "s"}, Destination.ANY_NODE),
        (TASK + "RunTask", {}, Destination.OWNER),
        (TASK + "ListTasks", {}, Destination.ANY_NODE),
        ("/agentring.v1.ClusterService/GetRing", {}, Destination.ROUTER),
        ("/grpc.health.v1.Health/Check", {"x-session-id": "s"}, Destination.ROUTER),
        ("/grpc.reflection.v1.ServerReflection/ServerReflectionInfo", {}, Destination.ROUTER),
        ("/agentring.v1.NodeService/Drain", {"x-session-id": "s"}, Destination.NOBODY),
        ("/agentring.v1.SessionService/NoSuch", {"x-session-id": "s"}, Destination.NOBODY),
        ("/my.Service/Method", {}, Destination.NOBODY),
        ("/my.Service/Method", {"x-session-id": "s"}, Destination.OWNER),
    ],
)
def test_who_answers_a_method(method: str, headers: dict[str, str], destination: Destination) -> None:
    assert route.destination(method, headers) is destination


def test_metadata_name_the_session_the_agent_and_the_tenant() -> None:
    headers = {"x-session-id": "s", "x-agent": "echo", "x-tenant-id": "t"}
    assert route.from_headers(SESSION + "Converse", headers) == Route(parse_session("t", "s"), "echo")
    assert route.from_headers(TASK + "RunTask", headers) is None
    assert route.from_headers(TASK + "RunTask", {"x-task-key": "k"}) == Route(parse_task("", "k"), "")


@pytest.mark.parametrize(
    ("method", "headers", "error"),
    [
        (SESSION + "Converse", {"x-session-id": ""}, InvalidSessionId),
        (SESSION + "Converse", {"x-session-id": "../x"}, InvalidSessionId),
        (SESSION + "Converse", {"x-session-id": "s", "x-tenant-id": "a/b"}, InvalidTenantId),
        (TASK + "RunTask", {"x-task-key": "a b"}, InvalidTaskKey),
    ],
)
def test_metadata_that_name_nothing_well_formed_are_refused(
    method: str, headers: dict[str, str], error: type[Exception]
) -> None:
    with pytest.raises(error):
        route.from_headers(method, headers)


def test_the_first_message_names_the_session_in_every_kind_of_request() -> None:
    expected = Route(parse_session("", "s"), "echo")
    opening = session_pb2.ConverseRequest(open=session_pb2.Open(session_id="s", agent="echo"))
    assert route.from_message(SESSION + "Converse", {}, opening.SerializeToString()) == expected
    for name, request in [
        ("RunTurn", session_pb2.RunTurnRequest(session_id="s", agent="echo")),
        ("SubmitTurn", session_pb2.SubmitTurnRequest(session_id="s", agent="echo")),
        ("CancelTurn", session_pb2.CancelTurnRequest(session_id="s", agent="echo")),
        ("WatchSession", session_pb2.WatchSessionRequest(session_id="s", agent="echo")),
        ("GetSession", session_pb2.GetSessionRequest(session_id="s", agent="echo")),
        ("CloseSession", session_pb2.CloseSessionRequest(session_id="s", agent="echo")),
    ]:
        assert route.from_message(SESSION + name, {}, request.SerializeToString()) == expected, name


def test_the_first_message_names_the_task_in_every_kind_of_request() -> None:
    for name, request in [
        ("RunTask", task_pb2.RunTaskRequest(task_key="k", agent="echo")),
        ("GetTask", task_pb2.GetTaskRequest(task_key="k", agent="echo")),
        ("WatchTask", task_pb2.WatchTaskRequest(task_key="k", agent="echo")),
        ("CancelTask", task_pb2.CancelTaskRequest(task_key="k", agent="echo")),
    ]:
        found = route.from_message(TASK + name, {"x-tenant-id": "t"}, request.SerializeToString())
        assert found == Route(parse_task("t", "k"), "echo"), name


@pytest.mark.parametrize(
    ("method", "raw", "error"),
    [
        (SESSION + "Converse", b"\xff\xff\xff", MalformedRequest),
        (SESSION + "Converse", b"", FirstFrameNotOpen),
        (
            SESSION + "Converse",
            session_pb2.ConverseRequest(ack=session_pb2.Ack()).SerializeToString(),
            FirstFrameNotOpen,
        ),
        (SESSION + "RunTurn", b"", RouteMissing),
        (TASK + "RunTask", b"", RouteMissing),
        ("/my.Service/Method", b"", RouteMissing),
    ],
)
def test_a_first_message_that_names_nothing_is_refused(method: str, raw: bytes, error: type[Exception]) -> None:
    with pytest.raises(error):
        route.from_message(method, {}, raw)


def test_labels_are_read_from_the_metadata_whatever_names_the_session() -> None:
    headers = {"x-session-id": "s", "x-node-labels": "zone=eu, gpu=a=b,empty="}
    expected = (("zone", "eu"), ("gpu", "a=b"), ("empty", ""))
    by_headers = route.from_headers(SESSION + "Converse", headers)
    assert by_headers is not None
    assert by_headers.labels == expected
    raw = session_pb2.GetSessionRequest(session_id="s").SerializeToString()
    assert route.from_message(SESSION + "GetSession", {"x-node-labels": "zone=eu"}, raw).labels == (("zone", "eu"),)


@pytest.mark.parametrize("said", ["zone", "=eu", "zone=eu,", ","])
def test_labels_that_are_no_pairs_are_refused(said: str) -> None:
    with pytest.raises(MalformedRequest):
        route.from_headers(SESSION + "Converse", {"x-session-id": "s", "x-node-labels": said})
