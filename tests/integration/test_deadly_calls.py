"""A real router before nodes that die of some calls: nobody else's call is lost, and few nodes are."""

import asyncio
import json
from pathlib import Path
from typing import Any
from urllib.request import urlopen

import pytest
from grpc import StatusCode, aio

from agentring.rpc.status import ErrorReport
from harness.client import connect, error_of
from harness.mortal_nodes import DEADLY, mortal_nodes
from harness.processes import Process, free_port, python

CANCEL_TURN = "/agentring.v1.SessionService/CancelTurn"
HOSTED = "/acme.Shop/Buy"


async def _call(channel: aio.Channel, method: str, call_id: str, *fields: tuple[str, str]) -> ErrorReport | None:
    """The error that the call ends with; none: it has ended with a status OK and no message."""
    metadata = (("x-session-id", "s"), ("call-id", call_id), *fields)
    call: Any = channel.unary_stream(method)(b"", metadata=metadata, timeout=20)  # type: ignore[arg-type]
    return None if await call.code() is StatusCode.OK else await error_of(call)


@pytest.mark.parametrize(("method", "reason", "times"), [(CANCEL_TURN, "CONNECTIONS_LOST", 2), (HOSTED, "", 1)])
async def test_calls_that_end_nodes_take_two_at_most_and_the_others_are_served(
    etcd_url: str, tmp_path: Path, method: str, reason: str, times: int
) -> None:
    deadly, others = 3, 20
    metrics = f"127.0.0.1:{free_port()}"
    async with mortal_nodes(etcd_url, 5, holds_back=deadly + others) as nodes:
        flags = (f"--etcd={etcd_url}", f"--cluster={nodes.cluster}", f"--metrics-listen={metrics}")
        router = Process(python("router", "--listen=127.0.0.1:0", *flags), tmp_path / "router.log")
        try:
            address = (await asyncio.to_thread(router.ready_line))["address"]
            async with connect(address) as channel, asyncio.TaskGroup() as group:
                bad = [group.create_task(_call(channel, method, f"d{n}", (DEADLY, "1"))) for n in range(deadly)]
                good = [group.create_task(_call(channel, CANCEL_TURN, f"g{n}")) for n in range(others)]
            page = (await asyncio.to_thread(lambda: urlopen(f"http://{metrics}/metrics").read())).decode()
        finally:
            router.stop()
    assert [task.result() for task in good] == [None] * others
    assert [report.reason if (report := task.result()) else None for task in bad] == [
        reason or "NODE_UNREACHABLE"
    ] * deadly
    assert {nodes.asked[f"d{n}"] for n in range(deadly)} == {times}
    assert nodes.deaths == times
    outcome = "given_up" if times == 2 else "not_repeatable"
    assert f'agentring_router_lost_calls_total{{outcome="{outcome}"}} {float(deadly)}' in page
    logged = [json.loads(line) for line in (tmp_path / "router.log").read_text().splitlines() if line.startswith("{")]
    printed = [each["method"] for each in logged if each["event"] in ("call_given_up", "call_lost")]
    assert printed == [method] * deadly
