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
from agentring.v1.task_pb2 import TASK_STATE_COMPLETED, TASK_STATE_FAILED, TASK_STATE_UNKNOWN
from harness.client import Told, connect, run_task, run_turn, turn
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

    def begin(self, channel: aio.Channel, session: str, key: str, **data: Any) -> "asyncio.Task[Told]":
        given = turn(key=key, directory=str(self.cluster.directory), **data)
        return asyncio.create_task(run_turn(channel, session, given, agent="paying"))

    async def on_each_node(self, channel: aio.Channel) -> dict[str, str]:
        """A session on each node, by node."""
        self.go("where")
        found: dict[str, str] = {}
        for number in range(50):
            told = await self.begin(channel, f"s{number}", "where")
            found.setdefault(told.node, f"s{number}")
            if len(found) == len(self.cluster.nodes):
                return found
        raise AssertionError(f"all sessions are on {list(found)}")

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
        told = await asyncio.gather(*turns, task)
        late = await pay.begin(two, "late", "order")
        failing = [pay.begin(one, f"s{i}", "bad", raises="no such account") for i in range(10)]
        pay.go("bad")
        errors = await asyncio.gather(*failing)

    assert {each.node for each in told} == {"n1", "n2"}
    (run,) = pay.runs("order")
    assert [each.result for each in (*told, late)] == [{"value": {"paid_by": run["node"]}}] * (TURNS + 2)
    assert len(pay.runs("bad")) == 1
    text = "the step bad failed: LookupError: no such account"
    assert [each.result for each in errors] == [{"error": "OnceFailed", "text": text}] * 10
    assert [line["once"] for line in cluster.audit("once_started")] == ["order", "bad"]


async def test_a_killed_holders_step_is_run_again_and_all_get_its_result(make_cluster: Callable[..., Cluster]) -> None:
    cluster = make_cluster(nodes=2, flags=FLAGS)
    pay = Payments(cluster)
    async with connect(cluster.router) as channel:
        sessions = await pay.on_each_node(channel)
        holder = pay.begin(channel, sessions["n1"], "order")
        await pay.until_run("order")
        waiting = [pay.begin(channel, f"waiting{i}", "order") for i in range(20)]
        waiting.append(pay.begin(channel, sessions["n2"], "order"))
        await cluster.until_audited("turn_started", len(cluster.audit("turn_committed")) + 22)
        cluster.nodes["n1"].process.stop(signal.SIGKILL)
        await pay.until_run("order", 2)
        pay.go("order")
        told = await asyncio.gather(holder, *waiting)

    first, second = pay.runs("order")
    assert (first["node"], second["node"]) == ("n1", "n2")
    assert first["idempotency_key"] == second["idempotency_key"]
    assert first["token"] < second["token"]
    assert [each.result for each in told] == [{"value": {"paid_by": "n2"}}] * len(told)


async def test_what_must_not_run_twice_is_unknown_until_somebody_resolves_it(
    make_cluster: Callable[..., Cluster],
) -> None:
    cluster = make_cluster(nodes=2, flags=FLAGS)
    pay = Payments(cluster)
    async with connect(cluster.router) as channel:
        sessions = await pay.on_each_node(channel)
        holder = pay.begin(channel, sessions["n1"], "order", idempotent=False)
        await pay.until_run("order")
        waiting = pay.begin(channel, sessions["n2"], "order", idempotent=False)
        await cluster.until_audited("turn_started", len(cluster.audit("turn_committed")) + 2)
        cluster.nodes["n1"].process.stop(signal.SIGKILL)
        told = await asyncio.gather(holder, waiting)  # the holder's turn is run again on n2
        assert [each.result["error"] for each in told] == ["OnceUnknown", "OnceUnknown"]
        unknown = [
            event.run_unknown.once_key for each in told for event in each.events if event.HasField("run_unknown")
        ]
        assert unknown == ["order", "order"]
        assert {line["once"] for line in cluster.audit("once_unknown")} == {"order"}

        (run,) = (await asyncio.to_thread(pay.command, "list", "--state", "unknown"))["runs"]
        assert (run["once_key"], run["state"], run["session_id"]) == ("order", "TASK_STATE_UNKNOWN", sessions["n1"])
        settled = await asyncio.to_thread(pay.command, "resolve", "order", "--result", '{"paid_by": "hand"}')
        assert (settled["state"], settled["result"]) == ("TASK_STATE_COMPLETED", {"paid_by": "hand"})
        after = await pay.begin(channel, sessions["n2"], "order", idempotent=False)
        shown = await asyncio.to_thread(pay.command, "show", "order")
    assert after.result == {"value": {"paid_by": "hand"}}
    assert len(pay.runs("order")) == 1
    assert shown == settled


async def test_of_two_steps_on_two_nodes_that_wait_for_each_other_one_is_refused(
    make_cluster: Callable[..., Cluster],
) -> None:
    cluster = make_cluster(nodes=2, flags=FLAGS)
    pay = Payments(cluster)
    async with connect(cluster.router) as channel:
        sessions = await pay.on_each_node(channel)
        one = pay.begin(channel, sessions["n1"], "a", inside="b")
        other = pay.begin(channel, sessions["n2"], "b", inside="a")
        await pay.until_run("a")
        await pay.until_run("b")
        pay.go("a")
        pay.go("b")
        told = await asyncio.gather(one, other)
    assert all(each.result["error"] == "OnceFailed" for each in told)
    assert all("TaskCycle" in each.result["text"] for each in told)


async def test_a_step_whose_turn_was_cancelled_with_its_node_is_ended_by_the_sweep(
    make_cluster: Callable[..., Cluster],
) -> None:
    """The node dies, and the session is closed before its turn runs again."""
    cluster = make_cluster(nodes=2, flags=(*FLAGS, "--max-turn-attempts=1"))
    pay = Payments(cluster)
    async with connect(cluster.router) as channel:
        sessions = await pay.on_each_node(channel)
        turns = [
            pay.begin(channel, sessions["n1"], "again"),
            asyncio.create_task(
                run_task(
                    channel, "task", agent="paying", key="never", idempotent=False, directory=str(cluster.directory)
                )
            ),
        ]
        await pay.until_run("again")
        await pay.until_run("never")
        cluster.nodes["n1"].process.stop(signal.SIGKILL)
        pay.go("never")
        told = (await asyncio.gather(*turns, return_exceptions=True))[0]
        assert isinstance(told, Told)
        assert told.kinds[-1] == "turn_failed"
        stub = once_pb2_grpc.OnceServiceStub(channel)
        while True:
            run = (await stub.GetRun(once_pb2.GetRunRequest(once_key="again"), timeout=5)).run
            if run.state == TASK_STATE_FAILED:
                break
            await asyncio.sleep(0.05)
        assert run.error_type == "TurnEnded"
        task_run = (await stub.GetRun(once_pb2.GetRunRequest(once_key="never"), timeout=5)).run
        assert task_run.task_key == "task"
        assert task_run.state in (TASK_STATE_COMPLETED, TASK_STATE_UNKNOWN)
