"""ghz, which knows nothing of agentring but what reflection tells it: a load of turns without proto files."""

import asyncio
import json
import uuid

import pytest

from harness.cluster import Cluster
from harness.tools import require_tool

TURNS = 50
TIMEOUT_S = 60


@pytest.mark.parametrize("method", ["agentring.v1.SessionService.RunTurn", "agentring.v1.SessionService/RunTurn"])
async def test_a_load_of_turns_by_reflection(cluster: Cluster, door: str, method: str) -> None:
    address = cluster.router if door == "router" else cluster.nodes["n1"].address
    request = {
        "session_id": f"ghz-{uuid.uuid4().hex[:8]}-{{{{.RequestNumber}}}}",
        "agent": "echo",
        "turn": {"turn_id": "t", "input": {"text": "hello"}},
    }
    process = await asyncio.create_subprocess_exec(
        require_tool("ghz"),
        *("--insecure", "--call", method, "-d", json.dumps(request), "-n", str(TURNS)),
        *("--timeout", f"{TIMEOUT_S}s", "-O", "json", address),
        stdout=asyncio.subprocess.PIPE,
        stderr=asyncio.subprocess.PIPE,
    )
    out, err = await process.communicate()
    assert process.returncode == 0, err.decode()
    report = json.loads(out)
    assert (report["count"], report["statusCodeDistribution"]) == (TURNS, {"OK": TURNS})
