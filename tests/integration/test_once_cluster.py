"""Steps that run once, on real nodes: one run for many turns, holders that die, and what must not run twice."""

import asyncio
import json
import os
import signal
import subprocess
import sys
from collections.abc import Callable
from typing import Any

from grpc import aio

from agentring.v1 import once_pb2, once_pb2_grpc
from agentring.v1.task_pb2 import TASK_STATE_COMPLETED, TASK_STATE_FAILED
from harness.client import Received, connect, run_task, run_turn, turn
from harness.cluster import Cluster
from harness.conditions import until
from harness.paying import FLAGS

TURNS = 100


class Payments:
    """A cluster, and what the agents' steps write."""

    def __init__(self, cluster: Cluster) -> None:
        self.cluster = cluster

    def runs(self, key: str) -> list[dict[str, Any]]:
        file = self.cluster.directory / "runs"
        lines = file.read_text().splitlines() if file.exists() else []
        return [line for line in map(json.loads, lines) if line["key"] == key]

    async def until_run(self, key: str, times: int = 1) -> None:
        await until(lambda: len(self.runs(key)) >= times, f"{key} was not run {times} times")

    def go(self, key: str) -> None:
        (self.cluster.directory / f"go-{key}").touch()

    def begin(self, channel: aio.Channel, session: str, key: str, **data: Any) -> "asyncio.Task[Received]":
        sent = turn(key=key, directory=str(self.cluster.directory), **data)
        return asyncio.create_task(run_turn(channel, session, sent, agent="paying"))

    async def on_node(self, channel: aio.Channel, node: str, sessions: int) -> list[str]:
        """So many sessions of this node."""
        self.go("where")
        names = [f"s{number}" for number in range(30)]
        received = await asyncio.gather(*(self.begin(channel, name, "where") for name in names))
        found = [name for name, each in zip(names, received, strict=True) if each.node == node]
        assert len(found) >= sessions
        return found[:sessions]

    def command(self, *arguments: str) -> Any:
        """What `agentring once` prints."""
        command = [sys.executable, "-m", "agentring.cli", "once", *arguments, "--json", "--router", self.cluster.router]
        ended = subprocess.run(
            command, capture_output=True, text=True, timeout=20, check=False, env={**os.environ, "PYTHONPATH": "."}
        )
        assert ended.returncode == 0, ended.stderr
        return json.loads(ended.stdout)


async def test_a_hundred_turns_on_two_nodes_are_one_run(make_cluster: Callable[..., Cluster]) -> None:
    cluster = make_cluster(nodes=2, routers=2, flags=FLAGS)
    pay = Payments(cluster)
    async with connect(cluster.routers["r1"].address) as one, connect(cluster.routers["r2"].address) as two:
        turns = [pay.begin(one if i % 2 else two, f"s{i}", "order") for i in range(TURNS)]
        task = asyncio.create_task(run_task(one, "task", agent="paying", key="order", directory=str(cluster.directory)))
        await pay.until_run("order")
        await cluster.until_audited("turn_started", TURNS)
        pay.go("order")
        received = await asyncio.gather(*turns, task)
        late = await pay.begin(two, "late", "order")
        failing = [pay.begin(one, f"s{i}", "bad", raises="no such account") for i in range(10)]
        pay.go("bad")
        errors = await asyncio.gather(*failing)
        pages = [await once_pb2_grpc.OnceServiceStub(one).ListRuns(once_pb2.ListRunsRequest(page_size=1), timeout=5)]
        again = once_pb2.ListRunsRequest(page_size=1, page_token=pages[0].next_page_token)
        pages.append(await once_pb2_grpc.OnceServiceStub(two).ListRuns(again, timeout=5))

    assert {each.node for each in received} == {"n1", "n2"}
    (run,) = pay.runs("order")
    assert [each.result for each in (*received, late)] == [{"value": {"paid_by": run["node"]}}] * (TURNS + 2)
    assert len(pay.runs("bad")) == 1
    text = "the step bad failed: LookupError: no such account"
    assert [each.result for each in errors] == [{"error": "OnceFailed", "text": text}] * 10
    assert [line["once"] for line in cluster.audit("once_started")] == ["order", "bad"]
    listed = [(run.once_key, run.state, run.HasField("result")) for page in pages for run in page.runs]
    assert listed == [("bad", TASK_STATE_FAILED, False), ("order", TASK_STATE_COMPLETED, False)]
    assert pages[1].next_page_token == ""


async def test_a_killed_holders_step_is_run_again_unless_it_must_not_be(make_cluster: Callable[..., Cluster]) -> None:
    """Then it is unknown, until somebody resolves it."""
    cluster = make_cluster(nodes=2, flags=FLAGS)
    pay = Payments(cluster)
    async with connect(cluster.router) as channel:
        here = await pay.on_node(channel, "n1", 2)
        there = await pay.on_node(channel, "n2", 2)
        holders = [pay.begin(channel, here[0], "order"), pay.begin(channel, here[1], "charge", idempotent=False)]
        await pay.until_run("order")
        await pay.until_run("charge")
        waiting = [pay.begin(channel, f"waiting{i}", "order") for i in range(20)]
        waiting += [pay.begin(channel, there[0], "order"), pay.begin(channel, there[1], "charge", idempotent=False)]
        await cluster.until_audited("turn_started", len(cluster.audit("turn_committed")) + 24)
        cluster.nodes["n1"].process.stop(signal.SIGKILL)
        await pay.until_run("order", 2)
        pay.go("order")
        *paid, charged = await asyncio.gather(holders[0], *waiting)
        charging = await holders[1]  # its turn is run again on n2
        (unknown,) = (await asyncio.to_thread(pay.command, "list", "--state", "unknown"))["runs"]
        settled = await asyncio.to_thread(pay.command, "resolve", "charge", "--result", '{"paid_by": "hand"}')
        after = await pay.begin(channel, there[1], "charge", idempotent=False)
        shown = await asyncio.to_thread(pay.command, "show", "charge")

    first, second = pay.runs("order")
    assert (first["node"], second["node"]) == ("n1", "n2")
    assert first["idempotency_key"] == second["idempotency_key"]
    assert first["token"] < second["token"]
    assert [each.result for each in paid] == [{"value": {"paid_by": "n2"}}] * 22

    assert len(pay.runs("charge")) == 1
    assert [each.result["error"] for each in (charging, charged)] == ["OnceUnknown", "OnceUnknown"]
    for each in (charging, charged):
        (event,) = [event for event in each.events if event.HasField("run_unknown")]
        assert event.run_unknown.once_key == "charge"
    assert {line["once"] for line in cluster.audit("once_unknown")} == {"charge"}
    assert (unknown["once_key"], unknown["session_id"]) == ("charge", here[1])
    assert (settled["state"], settled["result"]) == ("TASK_STATE_COMPLETED", {"paid_by": "hand"})
    assert shown == settled
    assert after.result == {"value": {"paid_by": "hand"}}


async def test_of_two_steps_on_two_nodes_that_wait_for_each_other_one_is_refused(
    make_cluster: Callable[..., Cluster],
) -> None:
    cluster = make_cluster(nodes=2, flags=FLAGS)
    pay = Payments(cluster)
    async with connect(cluster.router) as channel:
        (here,), (there,) = [await pay.on_node(channel, node, 1) for node in ("n1", "n2")]
        one = pay.begin(channel, here, "a", inside="b")
        other = pay.begin(channel, there, "b", inside="a")
        await pay.until_run("a")
        await pay.until_run("b")
        pay.go("a")
        pay.go("b")
        received = await asyncio.gather(one, other)
    assert all(each.result["error"] == "OnceFailed" for each in received)
    assert all("TaskCycle" in each.result["text"] for each in received)


async def test_a_step_whose_turn_does_not_run_again_is_ended(make_cluster: Callable[..., Cluster]) -> None:
    cluster = make_cluster(nodes=2, flags=(*FLAGS, "--max-turn-attempts=1"), lease_ttl_s=2)
    pay = Payments(cluster)
    async with connect(cluster.router) as channel:
        (session,) = await pay.on_node(channel, "n1", 1)
        holder = pay.begin(channel, session, "order")
        await pay.until_run("order")
        cluster.nodes["n1"].process.stop(signal.SIGKILL)
        assert (await holder).kinds[-1] == "turn_failed"
        await cluster.until_audited("once_failed", 1)
        stub = once_pb2_grpc.OnceServiceStub(channel)
        run = (await stub.GetRun(once_pb2.GetRunRequest(once_key="order"), timeout=5)).run
    assert (run.state, run.error_type, run.session_id) == (TASK_STATE_FAILED, "TurnEnded", session)
    assert len(pay.runs("order")) == 1
