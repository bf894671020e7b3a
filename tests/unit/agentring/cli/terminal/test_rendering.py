"""What the commands print of ClusterService's answers, and of its errors."""

import io
from datetime import UTC, datetime, timedelta

import grpc
import pytest
from grpc import aio
from rich.console import Console, RenderableType

from agentring.cli.calls import explain
from agentring.cli.commands import locate, ring, sessions, status, tasks
from agentring.cli.commands.up import summary
from agentring.cli.local.cluster_file import ClusterFile, NodeEntry, RouterEntry
from agentring.cli.options import DEFAULT_DATA_DIR
from agentring.cli.terminal.printing import to_fields
from agentring.errors import AgentNotFound
from agentring.ids import NodeId
from agentring.rpc.status import trailers
from agentring.v1.cluster_pb2 import (
    NODE_STATE_ACTIVE,
    NODE_STATE_DRAINING,
    Candidate,
    DrainProgress,
    GetRingResponse,
    ListNodesResponse,
    LocateSessionResponse,
    NodeInfo,
    RingMember,
)
from agentring.v1.session_pb2 import ListSessionsResponse, Session
from agentring.v1.task_pb2 import TASK_STATE_CANCELLED, TASK_STATE_RUNNING, ListTasksResponse, Task


def printed(what: RenderableType) -> list[str]:
    """The words of each printed line, without the tables' frames."""
    console = Console(file=io.StringIO(), width=120, markup=False, highlight=False)
    console.print(what)
    assert isinstance(console.file, io.StringIO)
    lines = (
        " ".join(line.replace("│", " ").replace("┃", " ").split()) for line in console.file.getvalue().splitlines()
    )
    return [line for line in lines if any(char.isalnum() for char in line)]


def test_status() -> None:
    membership = ListNodesResponse(
        revision=7,
        nodes=[
            NodeInfo(
                node_id="n1",
                address="127.0.0.1:1",
                agents=["echo", "assistant"],
                weight=1,
                state=NODE_STATE_ACTIVE,
                incarnation=3,
            ),
            NodeInfo(node_id="[red]n2", address="127.0.0.1:2", weight=2, state=NODE_STATE_DRAINING, incarnation=4),
            NodeInfo(node_id="n3", address="127.0.0.1:3", weight=1, state=NODE_STATE_DRAINING, incarnation=5),
        ],
        draining=[DrainProgress(node_id="n3", sessions_left=12, turns_running=2)],
    )
    healths = [status.RouterHealth("127.0.0.1:7700", "SERVING"), status.RouterHealth("127.0.0.1:7701", "UNAVAILABLE")]
    assert printed(status.render(healths, membership)) == [
        "router health",
        "127.0.0.1:7700 SERVING",
        "127.0.0.1:7701 UNAVAILABLE",
        "nodes at revision 7:",
        "node address state agents weight incarnation",
        "n1 127.0.0.1:1 ACTIVE assistant, echo 1 3",
        "[red]n2 127.0.0.1:2 DRAINING 2 4",
        "n3 127.0.0.1:3 DRAINING 1 5",
        "n3 drains: 12 sessions left, 2 turns running",
    ]
    assert "data plane: compiled" in printed(status.render(healths, membership, "compiled"))


def test_locate_an_owned_session() -> None:
    found = LocateSessionResponse(
        node_id="n2",
        address="127.0.0.1:2",
        epoch=1099511627782,
        incarnation=4,
        ring_position=255,
        ring_revision=7,
        candidates=[
            Candidate(node_id="n2", accepted=True, reason="stands on the ring"),
            Candidate(node_id="n1", reason="does not host the agent"),
        ],
        why="n2 holds the claim",
    )
    assert printed(locate.render("ada", found)) == [
        "ada is on n2 at 127.0.0.1:2, epoch 1099511627782",
        "n2 holds the claim",
        "candidates from ring position 00000000000000ff on, revision 7:",
        "node accepted reason",
        "n2 yes stands on the ring",
        "n1 no does not host the agent",
    ]


def test_locate_says_since_when_a_session_is_there() -> None:
    found = LocateSessionResponse(node_id="n2", address="127.0.0.1:2", epoch=5)
    found.claim_time.FromJsonString("2026-01-02T03:04:05Z")
    (owner, *_) = printed(locate.render("ada", found))
    assert owner.startswith("ada is on n2 at 127.0.0.1:2, epoch 5, since 2026-01-02 03:04:05 UTC (")


@pytest.mark.parametrize(
    ("age_s", "received"), [(-5, "0 s"), (0, "0 s"), (59, "59 s"), (90, "2 min"), (7_200, "2 h"), (200_000, "2 d")]
)
def test_an_age_is_told_in_one_unit(age_s: int, received: str) -> None:
    assert locate.to_age(timedelta(seconds=age_s)) == received


def test_locate_shows_the_steps_that_run() -> None:
    now = Session(running_turn_id="t1")
    for name, depth, attempt in (("plan", 0, 1), ("look_up", 1, 2)):
        now.open_steps.add(name=name, depth=depth, attempt=attempt).begin_time.FromDatetime(
            datetime.now(UTC) - timedelta(seconds=12)
        )
    lines = printed(locate.render("ada", LocateSessionResponse(why="held"), (), now))
    assert [line for line in lines if "runs" in line] == [
        "turn t1 runs plan for 12 s",
        "turn t1 runs look_up for 12 s, attempt 2",
    ]


def test_locate_a_session_without_an_owner() -> None:
    assert printed(locate.render("ada", LocateSessionResponse(why="nobody holds the claim")))[:2] == [
        "ada has no owner",
        "nobody holds the claim",
    ]


def test_sessions() -> None:
    found = ListSessionsResponse(
        sessions=[
            Session(session_id="[b]ada", agent="echo", node_id="n1", turns_completed=3),
            Session(session_id="bob", agent="echo", node_id="n2", running_turn_id="t", waiting_turns=2),
            Session(session_id="cy", agent="assistant", turns_completed=1),
            Session(session_id="dan", agent="assistant", closed=True),
            Session(session_id="eve", agent="echo", waiting_turns=1),
        ]
    )
    for session in found.sessions:
        session.create_time.FromJsonString("2026-01-02T03:04:05Z")
    made = "2026-01-02 03:04:05"
    lines = [
        "session agent node turns state made (UTC)",
        f"[b]ada echo n1 3 idle {made}",
        f"bob echo n2 0 runs, 2 waiting {made}",
        f"cy assistant 1 passivated {made}",
        f"dan assistant 0 closed {made}",
        f"eve echo 0 1 waiting {made}",
    ]
    assert printed(sessions.render(found)) == lines
    found.next_page_token = "more"
    assert printed(sessions.render(found)) == [*lines, "there are more than 5: --limit says how many are shown"]


def test_tasks() -> None:
    found = ListTasksResponse(
        tasks=[
            Task(task_key="[b]one", agent="echo", state=TASK_STATE_RUNNING, node_id="n1", attempt=2),
            Task(task_key="two", agent="echo", state=TASK_STATE_CANCELLED, attempt=1),
        ]
    )
    for task in found.tasks:
        task.create_time.FromJsonString("2026-01-02T03:04:05Z")
    lines = [
        "task agent state node attempt made (UTC)",
        "[b]one echo running n1 2 2026-01-02 03:04:05",
        "two echo cancelled 1 2026-01-02 03:04:05",
    ]
    assert printed(tasks.render(found)) == lines
    found.next_page_token = "more"
    assert printed(tasks.render(found)) == [*lines, "there are more than 2: --limit says how many are shown"]


def test_ring() -> None:
    found = GetRingResponse(
        revision=7,
        checksum="2e9f",
        points_per_weight=160,
        members=[RingMember(node_id="n1", weight=2, points=320, share=0.66666)],
    )
    assert printed(ring.render(found)) == [
        "ring at revision 7, checksum 2e9f, 160 points per weight",
        "node weight points share",
        "n1 2 320 66.7%",
    ]


def test_json_has_the_protos_names_and_every_field() -> None:
    assert to_fields(LocateSessionResponse(node_id="n1", epoch=5)) == {
        "node_id": "n1",
        "address": "",
        "epoch": "5",
        "incarnation": "0",
        "ring_position": "0",
        "ring_revision": "0",
        "candidates": [],
        "why": "",
        "agent": "",
    }


def test_the_summary_of_a_started_cluster() -> None:
    cluster = ClusterFile(
        router=("127.0.0.1:7700",),
        etcd=("http://127.0.0.1:2379",),
        store="memory:",
        nodes=(NodeEntry(NodeId("n1"), "127.0.0.1:41234", 11),),
        routers=(RouterEntry("127.0.0.1:7700", 21),),
    )
    assert summary(cluster, DEFAULT_DATA_DIR) == [
        "etcd    http://127.0.0.1:2379",
        "node    127.0.0.1:41234  n1, pid 11",
        "router  127.0.0.1:7700  pid 21",
        "logs in .agentring/logs; Ctrl-C stops everything; speak with an agent: agentring chat ada",
    ]
    assert summary(cluster, DEFAULT_DATA_DIR / "b")[-1].endswith(": agentring chat ada --data-dir .agentring/b")


def failed_call(code: grpc.StatusCode, details: str, *trailers: tuple[str, str | bytes]) -> aio.AioRpcError:
    """A call that ended so."""
    return aio.AioRpcError(code, aio.Metadata(), aio.Metadata(*trailers), details)


def test_an_error_of_agentrings_is_one_line_with_its_reason_and_variables() -> None:
    error = AgentNotFound("nope")
    received = explain("r:1", failed_call(error.code, "no node hosts\nthis agent", *trailers(error)))
    assert str(received) == "NOT_FOUND AGENT_NOT_FOUND agent=nope: no node hosts this agent (router r:1)"


@pytest.mark.parametrize("details", [(), (("grpc-status-details-bin", b"\xff"),)])
def test_another_error_is_told_by_its_status(details: tuple[tuple[str, str | bytes], ...]) -> None:
    received = explain("r:1", failed_call(grpc.StatusCode.UNAVAILABLE, "connection refused", *details))
    assert str(received) == "UNAVAILABLE: connection refused (router r:1)"
