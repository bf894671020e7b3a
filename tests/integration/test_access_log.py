"""The access logs of a cluster's processes: who did what, through a router and straight at a node; sealed, anchored in
the store, and checked by `agentring audit verify`."""

import asyncio
import json
import os
import signal
import subprocess
import sys
from collections import Counter
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest
from grpc import aio

from agentring.errors import MethodNotImplemented, NotAuthenticated, TenantForeign
from agentring.v1 import cluster_pb2, cluster_pb2_grpc, halt_pb2, halt_pb2_grpc, session_pb2, session_pb2_grpc
from harness.api_keys import Keys, bearer
from harness.client import TIMEOUT_S, connect, run_turn, turn
from harness.cluster import Cluster
from harness.raw import exchange

FORGED = 20
RUN_TURN = "/agentring.v1.SessionService/RunTurn"


def lines(directory: Path, process: str) -> list[dict[str, Any]]:
    return [
        json.loads(line)
        for path in sorted(directory.glob(f"access-{process}*"))
        for line in path.read_text().splitlines()
    ]


def check(directory: Path, key: Path, store: Path) -> subprocess.CompletedProcess[str]:
    command = [sys.executable, "-m", "agentring.cli", "audit", "verify", str(directory), "--key", str(key), "--json"]
    env = {**os.environ, "AGENTRING_STORE": f"sqlite:///{store}"}
    return subprocess.run(command, capture_output=True, text=True, env=env, timeout=60, check=False)


async def test_what_was_done_is_written_anchored_and_cannot_be_changed(
    make_cluster: Callable[..., Cluster], tmp_path: Path
) -> None:
    directory, key = tmp_path / "access", tmp_path / "access.key"
    key.write_bytes(os.urandom(32))
    keys = Keys(tmp_path)
    boss = keys.add("boss", "acme", "admin")
    flags = (f"--access-log={directory}", f"--access-log-key={key}", *keys.flags)
    cluster = make_cluster(nodes=1, flags=flags, router_flags=flags, metadata=bearer(keys.olga))
    ada, olga = bearer(keys.ada), bearer(keys.olga)
    async with connect(cluster.router) as routed, connect(cluster.nodes["n1"].address) as direct:
        await run_turn(routed, "s1", turn("do not write this down"), metadata=ada)
        get = session_pb2.GetSessionRequest(session_id="s1")
        await session_pb2_grpc.SessionServiceStub(routed).GetSession(get, metadata=ada, timeout=TIMEOUT_S)
        await session_pb2_grpc.SessionServiceStub(direct).GetSession(get, metadata=ada, timeout=TIMEOUT_S)
        nobody = cluster_pb2.DrainNodeRequest(node_id="nobody")
        drain = cluster_pb2_grpc.ClusterServiceStub(routed).DrainNode(nobody, metadata=olga)
        with pytest.raises(aio.AioRpcError):
            await drain.read()
        with pytest.raises(aio.AioRpcError):
            await exchange(routed, "/x.Y/Z", b"", metadata=ada).read()
        forged = bearer(keys.ada[:-1] + ("0" if keys.ada[-1] != "0" else "1"))
        for _ in range(FORGED):
            with pytest.raises(aio.AioRpcError):
                await session_pb2_grpc.SessionServiceStub(routed).GetSession(get, metadata=forged, timeout=TIMEOUT_S)
        scope = halt_pb2.HaltScope(kind=halt_pb2.HALT_KIND_TENANT, tenant_id="globex")
        with pytest.raises(aio.AioRpcError):
            await halt_pb2_grpc.HaltServiceStub(routed).Halt(
                halt_pb2.HaltRequest(scope=scope), metadata=bearer(boss), timeout=TIMEOUT_S
            )
    (member,) = cluster.routers.values()
    await asyncio.to_thread(member.process.stop, signal.SIGTERM)
    (member,) = cluster.nodes.values()
    await asyncio.to_thread(member.process.stop, signal.SIGTERM)

    written = [line for line in lines(directory, "router") if line["event"] == "access"]
    said = [(line["method"].rpartition("/")[2], line["target_tenant"], line["target"]) for line in written]
    assert ("RunTurn", "acme", "session/s1") in said
    assert ("GetSession", "acme", "session/s1") in said
    assert ("DrainNode", "", "node/nobody") in said
    assert [(line["subject"], line["credential"]) for line in written if line["method"] == RUN_TURN] == [
        ("ada", keys.id_of("ada"))
    ]
    refused = [line for line in written if not line["allowed"]]
    counts = Counter[tuple[str, str, str]]()
    for line in refused:
        counts[line["subject"], line["method"].rpartition("/")[2], line["reason"]] += line.get("count", 1)
    assert counts == {
        ("", "GetSession", NotAuthenticated.reason): FORGED,
        ("ada", "Z", MethodNotImplemented.reason): 1,
        ("boss", "Halt", TenantForeign.reason): 1,
    }
    assert len(refused) < FORGED / 2, "those of one kind are counted"
    assert {line["peer"].rpartition(":")[0] for line in written if line["peer"]} == {"127.0.0.1"}
    at_node = [line for line in lines(directory, "node") if line["event"] == "access"]
    assert [line["target"] for line in at_node if line["method"] == RUN_TURN] == ["session/s1"]
    direct_gets = [line["target"] for line in at_node if line["method"].endswith("/GetSession")]
    assert direct_gets == ["session/s1", "", "session/s1"], "what only its message names is a second line"
    contents = b"".join(path.read_bytes() for path in directory.iterdir())
    assert b"do not write this down" not in contents
    assert keys.ada.rpartition("_")[2].encode()[:-1] not in contents

    store = cluster.directory / "store.db"
    done = await asyncio.to_thread(check, directory, key, store)
    assert done.returncode == 0, done.stdout + done.stderr
    chains = json.loads(done.stdout)["chains"]
    assert {chain["process"].partition("/")[0] for chain in chains} == {"node", "router"}
    assert [chain["notes"] for chain in chains] == [[], []], "both have ended, and their heads are kept"
    file = next(directory.glob("access-node*"))
    file.write_bytes(b"".join(file.read_bytes().splitlines(keepends=True)[:-2]))
    done = await asyncio.to_thread(check, directory, key, store)
    assert done.returncode == 1
    assert "cut off" in done.stdout


async def test_a_log_that_cannot_be_written_ends_the_start(
    etcd_url: str, tmp_path: Path, capfd: pytest.CaptureFixture[str]
) -> None:
    key = tmp_path / "key"
    key.write_bytes(b"short")
    command = [sys.executable, "-m", "router", f"--etcd={etcd_url}", f"--access-log={tmp_path}"]
    process = await asyncio.create_subprocess_exec(*command, f"--access-log-key={key}", "--listen=127.0.0.1:0")
    async with asyncio.timeout(30):
        assert await process.wait() == 1
    assert "has 5 bytes, and must have 32 or more" in capfd.readouterr().err
