"""grpcurl, which knows nothing of agentring but what reflection tells it."""

import asyncio
import json
from pathlib import Path
from typing import Any

import pytest

from agentring.errors import AgentNotFound
from harness.client import TIMEOUT_S
from harness.cluster import Cluster
from harness.tools import require_tool

SERVICE = "agentring.v1.SessionService"


class Grpcurl:
    """grpcurl against one address."""

    def __init__(self, program: Path, address: str) -> None:
        self._program = program
        self._address = address

    async def __call__(self, *arguments: str, stdin: str = "", flags: tuple[str, ...] = ()) -> tuple[int, str, str]:
        """Its exit status, stdout and stderr."""
        process = await asyncio.create_subprocess_exec(
            *(str(self._program), "-plaintext", "-max-time", str(TIMEOUT_S), *flags, self._address, *arguments),
            stdin=asyncio.subprocess.PIPE,
            stdout=asyncio.subprocess.PIPE,
            stderr=asyncio.subprocess.PIPE,
        )
        out, err = await process.communicate(stdin.encode())
        assert process.returncode is not None
        return process.returncode, out.decode(), err.decode()

    async def call(self, method: str, *requests: dict[str, Any]) -> list[dict[str, Any]]:
        """The answers of a call that ends with OK."""
        stdin = "\n".join(json.dumps(request) for request in requests)
        status, out, err = await self(method, stdin=stdin, flags=("-d", "@"))
        assert status == 0, err
        return _documents(out)


def _documents(text: str) -> list[dict[str, Any]]:
    """The JSON objects that stand one after the other in a text."""
    decoder, documents, place = json.JSONDecoder(), [], 0
    while place < len(text):
        document, place = decoder.raw_decode(text, place)
        documents.append(document)
        while text[place : place + 1].isspace():
            place += 1
    return documents


@pytest.fixture
def grpcurl(cluster: Cluster) -> Grpcurl:
    """grpcurl against a router."""
    return Grpcurl(require_tool("grpcurl"), cluster.router)


def _events(answers: list[dict[str, Any]]) -> list[dict[str, Any]]:
    return [event for answer in answers for event in answer.get("events", [])]


def _text(answers: list[dict[str, Any]]) -> str:
    return "".join(event.get("text_delta", {}).get("text", "") for event in _events(answers))


async def test_it_lists_and_describes(grpcurl: Grpcurl) -> None:
    status, out, err = await grpcurl("list")
    assert (status, err) == (0, "")
    assert {"agentring.v1.ClusterService", SERVICE, "agentring.v1.TaskService"} <= set(out.split())
    status, out, err = await grpcurl("list", SERVICE)
    assert (status, err) == (0, "")
    assert f"{SERVICE}.Converse" in out.split()
    status, out, err = await grpcurl("describe", SERVICE)
    assert (status, err) == (0, "")
    assert "rpc Converse ( stream .agentring.v1.ConverseRequest )" in out


async def test_it_lists_through_a_node(cluster: Cluster) -> None:
    status, out, err = await Grpcurl(require_tool("grpcurl"), cluster.nodes["n1"].address)("list")
    assert (status, err) == (0, "")
    assert {SERVICE, "agentring.v1.TaskService", "agentring.v1.NodeService"} <= set(out.split())


BOTH = (
    (f"{SERVICE}.RunTurn", "rpc RunTurn ( .agentring.v1.RunTurnRequest )"),
    ("agentring.v1.RunTurnRequest.session_id", "string session_id = 1;"),
    ("agentring.v1.ConverseRequest.frame", "oneof frame {"),
    ("agentring.v1.OnBusy", "enum OnBusy {"),
    ("agentring.v1.ON_BUSY_REJECT", "ON_BUSY_REJECT = 2;"),
    ("google.rpc.ErrorInfo", "message ErrorInfo {"),
    ("grpc.reflection.v1.ServerReflection.ServerReflectionInfo", "rpc ServerReflectionInfo"),
    ("grpc.health.v1.Health.Check", "rpc Check ( .grpc.health.v1.HealthCheckRequest )"),
)


@pytest.mark.parametrize(
    ("way_in", "symbol", "said"),
    [
        *((way_in, *described) for way_in in ("router", "node") for described in BOTH),
        ("node", "agentring.v1.NodeService.Drain", "rpc Drain ( .agentring.v1.DrainRequest )"),
        ("router", "agentring.v1.ClusterService.DrainNode", "rpc DrainNode ( .agentring.v1.DrainNodeRequest )"),
    ],
)
async def test_it_describes_every_symbol(
    cluster: Cluster, grpcurl: Grpcurl, way_in: str, symbol: str, said: str
) -> None:
    asks = grpcurl if way_in == "router" else Grpcurl(require_tool("grpcurl"), cluster.nodes["n1"].address)
    status, out, err = await asks("describe", symbol)
    assert (status, err) == (0, "")
    assert said in out


async def test_it_runs_a_turn(grpcurl: Grpcurl, name: str) -> None:
    request = {"session_id": name, "agent": "echo", "turn": {"turn_id": "t", "input": {"text": "Grüße, 世界"}}}
    answers = await grpcurl.call(f"{SERVICE}/RunTurn", request)
    assert _text(answers) == "Grüße, 世界"
    completed = _events(answers)[-1]["turn_completed"]
    assert completed == {"result": {"tokens": 2}, "text_bytes": str(len("Grüße, 世界".encode()))}
    assert answers[-1]["acked_frame"] == "1"
    assert answers[-1]["through_seq"] == _events(answers)[-1]["seq"]


async def test_it_converses(grpcurl: Grpcurl, name: str) -> None:
    answers = await grpcurl.call(
        f"{SERVICE}/Converse",
        {"open": {"session_id": name, "agent": "assistant"}},
        {"turn": {"turn_id": "first", "input": {"text": "my name is Ada"}}},
        {"turn": {"turn_id": "second", "input": {"text": "what is my name?"}}},
    )
    events = _events(answers)
    assert events[0]["opened"]["session_id"] == name
    ended = {event["turn_id"]: event["turn_completed"]["result"] for event in events if "turn_completed" in event}
    assert ended == {turn_id: {"intent": "name", "name": "Ada"} for turn_id in ("first", "second")}
    assert answers[-1]["acked_frame"] == "3"


async def test_it_runs_a_task_twice(grpcurl: Grpcurl, name: str) -> None:
    request = {"task_key": name, "agent": "echo", "input": {"data": {"tokens": 3}}}
    answers = await grpcurl.call("agentring.v1.TaskService/RunTask", request)
    dispositions = [answer.get("disposition") for answer in answers]
    assert dispositions == ["DISPOSITION_STARTED"] + [None] * (len(answers) - 1)
    assert _text(answers) == "token0 token1 token2 "
    repeated = await grpcurl.call("agentring.v1.TaskService/RunTask", request)
    assert repeated[0]["disposition"] == "DISPOSITION_REPLAYED"
    assert _text(repeated) == _text(answers)
    assert _events(repeated)[-1] == _events(answers)[-1]


async def test_it_shows_the_ring(grpcurl: Grpcurl) -> None:
    (ring,) = await grpcurl.call("agentring.v1.ClusterService/GetRing", {})
    assert [member["node_id"] for member in ring["members"]] == ["n1", "n2"]
    assert sum(member["share"] for member in ring["members"]) == pytest.approx(1)


async def test_it_shows_the_details_of_an_error(grpcurl: Grpcurl, name: str) -> None:
    request = {"session_id": name, "agent": "nobody", "turn": {"input": {"text": "hi"}}}
    arguments = ("-format-error", "-d", json.dumps(request))
    status, out, err = await grpcurl(f"{SERVICE}/RunTurn", flags=arguments)
    assert status == 64 + 5
    assert out == ""
    error, expected = json.loads(err), AgentNotFound("nobody")
    assert (error["code"], error["message"]) == (expected.code.value[0], expected.sentence)
    (info,) = error["details"]
    assert info["@type"] == "type.googleapis.com/google.rpc.ErrorInfo"
    assert (info["reason"], info["domain"], info["metadata"]) == (expected.reason, "agentring", {"agent": "nobody"})
