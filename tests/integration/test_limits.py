"""Limits of tenants on a cluster of real processes: a greedy one, another beside it, and a file that changes."""

import asyncio
from collections.abc import Callable
from pathlib import Path

from grpc import StatusCode
from grpc.aio import AioRpcError

from agentring.rpc.status import read_error
from agentring.v1 import session_pb2, session_pb2_grpc, task_pb2, task_pb2_grpc
from harness.agents import FLAGS
from harness.client import connect, error_of, run_turn, turn
from harness.cluster import Cluster
from harness.conditions import metrics, until
from harness.processes import free_port

CALLERS = 60
GREEDY = (("x-tenant-id", "greedy"),)
OTHER = (("x-tenant-id", "other"),)
LIMITS = """
[tenants.greedy]
sessions = 12
streams = 10
running_turns = 2
"""


async def test_a_greedy_tenant_is_refused_while_anothers_turns_go_on_and_a_changed_file_counts(
    make_cluster: Callable[..., Cluster], tmp_path: Path
) -> None:
    file, released, watched = tmp_path / "limits.toml", tmp_path / "released", f"127.0.0.1:{free_port()}"
    file.write_text(LIMITS)
    flags = (*FLAGS, f"--limits={file}", "--tenant-metrics=true", f"--metrics-listen={watched}")
    cluster = make_cluster(nodes=1, flags=flags)
    async with connect(cluster.router) as channel:
        sessions, tasks = session_pb2_grpc.SessionServiceStub(channel), task_pb2_grpc.TaskServiceStub(channel)
        calls = [
            asyncio.create_task(run_turn(channel, f"g{number}", turn(str(released)), agent="released", metadata=GREEDY))
            for number in range(CALLERS)
        ]
        await until(lambda: sum(call.done() for call in calls) == CALLERS - 10, "all but ten are refused")
        for _ in range(3):
            assert (await run_turn(channel, "o", turn("hi"), agent="echo", metadata=OTHER)).text == "hi"

        errors = [call.exception() for call in calls if call.done()]
        reports = [read_error(error) for error in errors if isinstance(error, AioRpcError)]
        assert len(reports) == CALLERS - 10
        for report in reports:
            assert (report.code, report.reason) == (StatusCode.RESOURCE_EXHAUSTED, "QUOTA")
            assert report.variables == {"what": "streams", "limit": "10", "scope": "tenant", "wait_ms": "1000"}
            assert report.retry_after_s == 1.0
        watch = session_pb2.WatchSessionRequest(session_id="o", agent="echo")
        assert (await error_of(sessions.WatchSession(watch, metadata=GREEDY, timeout=9))).reason == "QUOTA"
        task = task_pb2.RunTaskRequest(task_key="k", agent="echo")
        assert (await error_of(tasks.RunTask(task, metadata=GREEDY, timeout=9))).reason == "QUOTA"
        # Turns that nobody watches count as well.
        ends = []
        for number in range(5):
            request = session_pb2.SubmitTurnRequest(session_id=f"h{number}", agent="echo", turn=turn("hi"))
            try:
                await sessions.SubmitTurn(request, metadata=GREEDY, timeout=9)
            except AioRpcError as error:
                ends.append(read_error(error).variables["what"])
        assert ends == ["sessions"] * 3
        counted = await asyncio.to_thread(metrics, watched)
        assert counted["agentring_node_quota_held{streams}"] == 10
        assert counted["agentring_node_quota_held{running_turns}"] == 2
        assert counted["agentring_node_quota_held{open_turns}"] == 12
        assert counted["agentring_node_quota_refused_total{sessions}"] == 3
        assert counted["agentring_node_quota_refused_tenant_total{greedy}"] == CALLERS - 10 + 2 + 3

        file.write_text("[tenants.greedy]\nstreams = 'many'")
        log = cluster.nodes["n1"].process.log
        await until(lambda: "tenants.greedy.streams" in log.read_text(), "the broken file is named")
        assert (await error_of(sessions.WatchSession(watch, metadata=GREEDY, timeout=9))).reason == "QUOTA"
        file.write_text("[tenants.greedy]\nstreams = 100")
        await until(lambda: "file_reloaded" in log.read_text(), "the mended file is in use")
        released.touch()
        await asyncio.wait(calls)
        ended = [call.result().result for call in calls if call.exception() is None]
        assert ended == [{"released": True}] * 10
        assert (await run_turn(channel, "more", turn("hi"), metadata=GREEDY)).text == "hi"
        counted = await asyncio.to_thread(metrics, watched)
        for what in ("streams", "open_turns", "running_turns", "tasks"):
            assert counted[f"agentring_node_quota_held{{{what}}}"] == 0
