"""Halts on a cluster of real processes: by the command, while etcd takes nothing, over restarts, on a frozen node."""

import asyncio
import json
import signal
from collections.abc import Callable
from pathlib import Path

import pytest
from grpc.aio import AioRpcError

from agentring.rpc.status import read_error
from agentring.v1 import halt_pb2, halt_pb2_grpc
from harness.agents import FLAGS
from harness.client import connect, run_task, run_turn, turn
from harness.cluster import Cluster
from harness.up_process import agentring


async def test_what_is_halted_ends_stays_halted_over_restarts_and_goes_on_when_it_is_resumed(
    make_cluster: Callable[..., Cluster], tmp_path: Path
) -> None:
    cluster = make_cluster(nodes=2, flags=(*FLAGS, f"--store=sqlite:///{tmp_path / 'store.db'}"))
    here = ("--router", cluster.router)
    async with connect(cluster.router) as channel:
        running = asyncio.create_task(run_turn(channel, "s", turn(str(tmp_path / "never")), agent="released"))
        await cluster.until_audited("turn_started", 1)
        status, out, _ = await agentring("ps", "--json", *here)
        (work,) = json.loads(out)["running"]
        assert (status, work["session_id"], work["agent"], work["attempt"]) == (0, "s", "released", 1)
        assert work["state"] == "WORK_STATE_RUNNING"

        status, out, err = await agentring("halt", "--agent", "released", "--json", *here)
        answer = json.loads(out)
        assert (status, err) == (0, "")
        assert answer["confirmed"] == ["n1", "n2"]
        assert (answer["kept"]["in_etcd"], answer["kept"]["in_store"]) == (True, True)
        ended = await running
        assert ended.events[-1].turn_cancelled.reason == "HALTED"

        for member in cluster.nodes.values():
            member.process.stop(signal.SIGKILL)
        for name in ("n1", "n2"):
            cluster.start_node(name, *FLAGS, f"--store=sqlite:///{tmp_path / 'store.db'}")
        with pytest.raises(AioRpcError) as refused:
            await run_turn(channel, "other", turn("x"), agent="released")
        report = read_error(refused.value)
        assert report.reason == "HALTED"
        assert report.variables["what"] == "--agent released --tenant default"
        assert (await run_turn(channel, "free", turn("x"), agent="faulty")).result == {"turns": 1}

        # A node that does not answer is named, and the others stop all the same.
        cluster.nodes["n2"].process.send(signal.SIGSTOP)
        everything = halt_pb2.HaltScope(kind=halt_pb2.HALT_KIND_ALL)
        request = halt_pb2.HaltRequest(scope=everything, hold=True, timeout_s=0.5)
        held = await halt_pb2_grpc.HaltServiceStub(channel).Halt(request, timeout=10)
        assert [each.node_id for each in held.unconfirmed] == ["n2"]
        assert list(held.confirmed) == ["n1"]
        cluster.nodes["n2"].process.send(signal.SIGCONT)
        with pytest.raises(AioRpcError) as refused:
            await run_task(channel, "k", tokens=1)
        assert read_error(refused.value).reason in ("HALTED", "NODE_FENCED", "SESSION_MOVING")

        status, out, _ = await agentring("resume", "--all", *here)
        assert status == 0, out
        status, out, _ = await agentring("resume", "--all", *here)
        assert (status, out) == (0, "nothing was halted\n")
        status, out, _ = await agentring("halts", "--json", *here)
        assert [each["scope"]["agent"] for each in json.loads(out)["halts"]] == ["released"]
        assert (await agentring("resume", "--agent", "released", *here))[0] == 0
        (tmp_path / "may").touch()
        assert (await run_turn(channel, "last", turn(str(tmp_path / "may")), agent="released")).result
