"""Runs of steps on real nodes that are killed in the middle, again and again: no finished step runs twice, and the run
comes to the end that it has without a fault."""

import asyncio
import json
import random
import signal
from collections import Counter, defaultdict
from collections.abc import Callable
from typing import Any

import pytest
from google.protobuf import json_format
from grpc import aio

from agentring.v1 import session_pb2, session_pb2_grpc, task_pb2, task_pb2_grpc
from harness.client import connect
from harness.cluster import Cluster
from harness.conditions import until
from harness.postgres import PostgresProcess
from harness.stepping import FLAGS, expected

STEPS = 80
LASTS_S = 0.06
KILLS = 5
PATIENCE_S = 120.0


@pytest.fixture(params=["sqlite", "postgresql"])
def flags(request: pytest.FixtureRequest) -> tuple[str, ...]:
    """Of each node."""
    if request.param == "sqlite":
        return (*FLAGS, "--max-turn-attempts=3")
    postgres: PostgresProcess = request.getfixturevalue("postgres")
    return (*FLAGS, "--max-turn-attempts=3", f"--store={postgres.database()}")


def asked(cluster: Cluster, name: str, **data: Any) -> session_pb2.Input:
    turn_input = session_pb2.Input()
    turn_input.data.update(
        {"name": name, "steps": STEPS, "lasts_s": LASTS_S, "directory": str(cluster.directory), **data}
    )
    return turn_input


async def run(channel: aio.Channel, turn_input: session_pb2.Input, *, as_task: bool = False) -> session_pb2.Event:
    """The last event of a turn, or of a task, which the client gets whatever becomes of the nodes."""
    name = str(dict(turn_input.data)["name"])
    last = session_pb2.Event()
    if as_task:
        request = task_pb2.RunTaskRequest(task_key=name, agent="stepping", input=turn_input)
        async for response in task_pb2_grpc.TaskServiceStub(channel).RunTask(request, timeout=PATIENCE_S):
            last = response.events[-1] if response.events else last
    else:
        sent = session_pb2.Turn(turn_id="t", input=turn_input)
        asking = session_pb2.RunTurnRequest(session_id=name, agent="stepping", turn=sent)
        async for turned in session_pb2_grpc.SessionServiceStub(channel).RunTurn(asking, timeout=PATIENCE_S):
            last = turned.events[-1] if turned.events else last
    return last


def result_of(end: session_pb2.Event) -> Any:
    assert end.WhichOneof("body") == "turn_completed", end
    return json_format.MessageToDict(end.turn_completed.result)


def effects(cluster: Cluster) -> list[dict[str, Any]]:
    """What the steps did, in order."""
    file = cluster.directory / "steps"
    return [json.loads(line) for line in file.read_text().splitlines()] if file.exists() else []


def check_effects(cluster: Cluster, kills: int) -> None:
    """No step did anything after an outcome of it was committed, which the audit log has with its epoch; and no more
    was done than a step for each kill and for each of two side by side."""
    done = effects(cluster)
    tokens: dict[str, set[int]] = defaultdict(set)
    for line in cluster.audit("step_recorded"):
        if line["state"] != "STARTED":
            tokens[line["step"]].add(line["epoch"])
    assert all(len(epochs) == 1 for epochs in tokens.values()), "a step has two outcomes"
    for line in done:
        step = line["key"].rpartition("/")[2]
        if step in tokens:
            assert line["token"] <= min(tokens[step]), "a step ran again after its outcome was committed"
    times = Counter(line["key"] for line in done)
    assert sum(times.values()) - len(times) <= 2 * kills * len({line["name"].partition("-")[0] for line in done})


@pytest.mark.parametrize("as_task", [False, True], ids=["turn", "task"])
async def test_no_finished_step_runs_twice_whenever_its_node_is_killed(
    make_cluster: Callable[..., Cluster], flags: tuple[str, ...], as_task: bool
) -> None:
    cluster = make_cluster(nodes=2, lease_ttl_s=2, flags=flags)
    chance = random.Random(7)
    async with connect(cluster.router) as channel:
        running = [
            asyncio.create_task(run(channel, asked(cluster, name), as_task=as_task)) for name in ("one", "two", "three")
        ]
        for kill in range(KILLS):
            seen = len(effects(cluster))
            await until(lambda seen=seen: len(effects(cluster)) > seen + 4, "the steps do not go on", 60)  # type: ignore[misc]
            await asyncio.sleep(chance.random() * LASTS_S)  # any instant of a step
            name = f"n{kill % 2 + 1}"
            cluster.nodes[name].process.stop(signal.SIGKILL)
            cluster.start_node(name, *flags)
        ends = await asyncio.gather(*running)
    for name, end in zip(("one", "two", "three"), ends, strict=True):
        result = result_of(end)
        unknown = int(result["unknown"])
        wanted = expected(name, STEPS)
        assert [(found, want) for found, want in zip(result["names"], wanted, strict=True) if found != want] == [
            ("unknown", want) for found, want in zip(result["names"], wanted, strict=True) if found == "unknown"
        ]
        assert unknown <= KILLS
    assert max(int(result_of(end)["attempt"]) for end in ends) > 1
    check_effects(cluster, KILLS)


async def test_a_drained_node_s_run_goes_on_at_its_last_finished_step(make_cluster: Callable[..., Cluster]) -> None:
    cluster = make_cluster(nodes=2, flags=(*FLAGS, "--drain-timeout-s=0.3"))
    async with connect(cluster.router) as channel:
        running = asyncio.create_task(run(channel, asked(cluster, "one")))
        await until(lambda: len(effects(cluster)) > 6, "the steps do not go on", 30)
        (claimed,) = [line["node"] for line in cluster.audit("turn_accepted")]
        cluster.nodes[claimed].process.stop(signal.SIGTERM)
        end = await running
    result = result_of(end)
    assert (result["attempt"], result["unknown"]) in ((2.0, 0.0), (2.0, 1.0))
    check_effects(cluster, 1)


async def test_on_a_volatile_store_a_turn_has_steps_while_its_node_lives(make_cluster: Callable[..., Cluster]) -> None:
    """Where the node dies, a turn that is sent again runs all its steps again."""
    cluster = make_cluster(nodes=2, lease_ttl_s=2, flags=(*FLAGS, "--store=memory:"))
    async with connect(cluster.router) as channel:
        end = await run(channel, asked(cluster, "one", lasts_s=0))
        assert list(result_of(end)["names"]) == expected("one", STEPS)
        assert max(Counter(line["key"] for line in effects(cluster)).values()) == 1
        running = asyncio.create_task(run(channel, asked(cluster, "two")))
        await until(lambda: any(line["name"] == "two-8" for line in effects(cluster)), "the steps do not go on", 30)
        owner = cluster.audit("turn_accepted")[-1]["node"]
        cluster.nodes[owner].process.stop(signal.SIGKILL)
        with pytest.raises(aio.AioRpcError):
            await running
        before = {line["name"] for line in effects(cluster)}
        end = await run(channel, asked(cluster, "two", lasts_s=0))
    assert list(result_of(end)["names"]) == expected("two", STEPS)
    times = Counter(line["name"] for line in effects(cluster))
    assert {name for name, count in times.items() if count == 2} == {name for name in before if name[:3] == "two"}
