"""A node whose wall clock is an hour off, by libfaketime: nothing runs twice because of it, and it is told."""

import asyncio
from collections.abc import Callable
from glob import glob
from typing import Any

import pytest

from harness.client import Received, connect, run_task, run_turn, turn
from harness.cluster import Cluster, Member
from harness.conditions import metrics
from harness.paying import FLAGS
from harness.processes import Process, free_port

LIBRARIES = [*glob("/usr/lib/*/faketime/libfaketime.so.1"), *glob("/usr/local/lib/faketime/libfaketime.so.1")]
needs_faketime = pytest.mark.skipif(not LIBRARIES, reason="libfaketime is not installed")


def skewed(by: str, *, boot_clock: bool = False) -> dict[str, str]:
    """A process's environment in which its clocks are so far off. boot_clock: the boot clock too, as the library does
    unless it is told not to."""
    return {"LD_PRELOAD": LIBRARIES[0], "FAKETIME": by, **({} if boot_clock else {"FAKETIME_DONT_FAKE_MONOTONIC": "1"})}


def refusal(node: Process) -> str:
    status = node.wait()
    node.stop()
    assert status == 1
    return node.log.read_text().splitlines()[-1]


@needs_faketime
@pytest.mark.parametrize(("by", "boot_clock"), [("+61m", False), ("-61m", True)])
async def test_what_has_ended_is_not_run_again_by_a_node_whose_clock_is_off(
    make_cluster: Callable[..., Cluster], by: str, boot_clock: bool
) -> None:
    cluster = make_cluster(nodes=1, routers=0, flags=FLAGS)
    data: dict[str, Any] = {"key": "charge", "directory": str(cluster.directory), "idempotent": False}
    (cluster.directory / "go-charge").touch()

    async def asked(node: Member, session: str) -> tuple[Received, Received]:
        async with connect(node.address) as channel:
            step = await run_turn(channel, session, turn(**data), agent="paying")
            return step, await run_task(channel, "report", agent="echo", tokens=3)

    first = await asked(cluster.nodes["n1"], "one")
    env = skewed(by, boot_clock=boot_clock)
    printed = await asyncio.to_thread(refusal, cluster.spawn_node("n2", *FLAGS, env=env))
    assert printed.startswith("agent_node: this node's wall clock is 36")
    assert ("ahead of" if by == "+61m" else "behind") in printed

    port = free_port()
    flags = (*FLAGS, "--max-clock-skew-s=100000", f"--metrics-listen=127.0.0.1:{port}")
    spawned = cluster.spawn_node("n2", *flags, env=env)
    cluster.nodes["n2"] = await asyncio.to_thread(Member, "n2", spawned)
    again = await asked(cluster.nodes["n2"], "two")
    assert [each.result for each in again] == [each.result for each in first]
    assert len((cluster.directory / "runs").read_text().splitlines()) == 1
    assert len(cluster.audit("task_started")) == 1
    skew_s = (await asyncio.to_thread(metrics, f"127.0.0.1:{port}"))["agentring_node_clock_skew_seconds"]
    assert 3_650 < abs(skew_s) < 3_670
    assert (skew_s > 0) is (by == "+61m")


@needs_faketime
async def test_a_clock_that_is_a_little_off_is_no_reason_not_to_join(make_cluster: Callable[..., Cluster]) -> None:
    cluster = make_cluster(nodes=1, routers=0)
    spawned = cluster.spawn_node("n2", env=skewed("+20s"))
    cluster.nodes["n2"] = await asyncio.to_thread(Member, "n2", spawned)
    assert "clock_skewed" not in spawned.log.read_text()
