"""Which calls are lines of the access log, and what they say the calls are about."""

from typing import Any, cast

import pytest

from agentring import metadata
from agentring.audit.access_log import AccessLog
from agentring.audit.calls import RecordedCalls, RelayedCalls
from agentring.auth.identity import Identity
from agentring.errors import AgentringError, MalformedRequest
from agentring.rpc.request_head import RequestHead

ANN = Identity("acme", "ann", frozenset(), "k1", None)
TURN = "/agentring.v1.SessionService/RunTurn"


class Written:
    """In place of the log."""

    def __init__(self) -> None:
        self.lines: list[tuple[Any, ...]] = []

    def record(self, *said: Any) -> None:
        self.lines.append(said)


class Said:
    """In place of a call's headers."""

    def __init__(self, method: str, refusal: AgentringError | None = None, **fields: str) -> None:
        self.method, self.refusal = method, refusal
        self.metadata = {name.replace("_", "-"): value for name, value in fields.items()}


@pytest.fixture
def written() -> Written:
    return Written()


def test_a_nodes_call_is_a_line_that_says_what_it_is_about(written: Written) -> None:
    calls = RecordedCalls(cast(AccessLog, written))
    once = "/agentring.v1.OnceService/GetRun"
    for head in (
        Said(TURN, x_session_id="s", x_tenant_id="acme"),
        Said("/agentring.v1.TaskService/GetTask", x_task_key="k/1"),
        Said(once, x_task_key="k/1"),
        Said("/agentring.v1.NodeService/Drain"),
        Said(TURN, MalformedRequest(), x_session_id="s"),
        Said("/grpc.health.v1.Health/Check"),
    ):
        calls.opened(cast(RequestHead, head), "10.0.0.1:5", ANN)
    calls.named(cast(RequestHead, Said(once)), "10.0.0.1:5", ANN, "default", "once/k")
    assert written.lines == [
        (ANN, TURN, "acme", "session/s", "10.0.0.1:5", ""),
        (ANN, "/agentring.v1.TaskService/GetTask", "acme", "task/k/1", "10.0.0.1:5", ""),
        (ANN, once, "acme", "once/k/1", "10.0.0.1:5", ""),
        (ANN, "/agentring.v1.NodeService/Drain", "acme", "", "10.0.0.1:5", ""),
        (ANN, TURN, "acme", "session/s", "10.0.0.1:5", "MALFORMED_REQUEST"),
        (ANN, once, "default", "once/k", "10.0.0.1:5"),
    ]


def test_behind_a_relay_only_what_a_message_names_is_a_line(written: Written) -> None:
    calls = RecordedCalls(cast(AccessLog, written), is_relayed=True)
    drain = Said("/agentring.v1.ClusterService/DrainNode")
    calls.opened(cast(RequestHead, drain), "", None)
    calls.named(cast(RequestHead, drain), "", ANN, "", "node/n1")
    calls.refused(cast(RequestHead, drain), "", ANN, "TENANT_FOREIGN")
    assert written.lines == [
        (ANN, drain.method, "", "node/n1", ""),
        (ANN, drain.method, "acme", "", "", "TENANT_FOREIGN"),
    ]


def test_a_relay_writes_what_it_lets_in_and_what_it_does_not(written: Written) -> None:
    calls = RelayedCalls(cast(AccessLog, written))
    calls.opened(TURN, {metadata.SESSION_ID: "s", metadata.TENANT_ID: "acme"}, "p:1", ANN)
    calls.opened("/x.Y/Z", {}, "p:1", None, "METHOD_NOT_IMPLEMENTED")
    calls.opened("/grpc.health.v1.Health/Watch", {}, "p:1", None)
    assert written.lines == [
        (ANN, TURN, "acme", "session/s", "p:1", ""),
        (None, "/x.Y/Z", "default", "", "p:1", "METHOD_NOT_IMPLEMENTED"),
    ]
