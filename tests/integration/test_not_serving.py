"""A process that lives, and does not serve: it notices, says why, gives up what it holds, and ends."""

import json
import os
import signal
import time
from collections.abc import Callable
from pathlib import Path

import pytest

from agentring.process.self_check import EXIT_NOT_SERVING
from harness.client import connect, run_turn, turn
from harness.cluster import AGENTS_PATH, Cluster
from harness.processes import Process, wait_until

UNSERVING = Path(__file__).parents[1] / "harness" / "unserving"
QUICK = ("--self-check-s=0.2", "--self-check-patience-s=3")
END_S = 40.0


@pytest.fixture
def breakable(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> Callable[[int, str], None]:
    """Breaks a process that a test has started, by its pid."""
    monkeypatch.setenv("BREAK_IN", str(tmp_path))
    monkeypatch.setenv("PYTHONPATH", f"{UNSERVING}{os.pathsep}{AGENTS_PATH}")
    monkeypatch.setattr("harness.cluster.AGENTS_PATH", f"{UNSERVING}{os.pathsep}{AGENTS_PATH}")

    def break_it(pid: int, how: str) -> None:
        (tmp_path / "new").write_text(how)
        (tmp_path / "new").rename(tmp_path / str(pid))

    return break_it


def log_line(process: Process, event: str) -> dict[str, object]:
    """The newest line of this event in the process's log."""
    lines = [line for line in process.log.read_text().splitlines() if f'"{event}"' in line]
    assert lines, process.log.read_text()[-4_000:]
    found: dict[str, object] = json.loads(lines[-1])
    return found


async def test_a_node_whose_port_is_closed_ends_and_its_sessions_go_on_elsewhere_at_once(
    make_cluster: Callable[..., Cluster], breakable: Callable[[int, str], None]
) -> None:
    cluster = make_cluster(nodes=2, flags=QUICK, lease_ttl_s=120)
    async with connect(cluster.router) as channel:
        owner = (await run_turn(channel, "s", turn("hi"))).node
        process = cluster.nodes[owner].process
        breakable(process.pid, "close port")
        assert process.wait(END_S) == EXIT_NOT_SERVING
        ended_s = time.monotonic()
        assert (await run_turn(channel, "s", turn("there"))).node != owner
        assert time.monotonic() - ended_s < 20.0  # of a lease that lasts for 120 s
    assert process.log.read_text().splitlines()[-1].startswith("agent_node: nobody listens on 127.0.0.1:")
    assert [line["reason"] for line in cluster.audit("fenced")] == ["NOT_SERVING"]
    assert "Traceback" not in process.log.read_text()


def test_a_node_without_a_free_descriptor_ends_if_that_lasts(
    make_cluster: Callable[..., Cluster], breakable: Callable[[int, str], None]
) -> None:
    process = make_cluster(nodes=1, routers=0, flags=QUICK).nodes["n1"].process
    wait_until(lambda: "self_check_failed" not in process.log.read_text(), "it fails by itself")
    breakable(process.pid, "exhaust descriptors")
    assert process.wait(END_S) == EXIT_NOT_SERVING
    assert log_line(process, "self_check_failed")["descriptors"]
    assert "Too many open files" in process.log.read_text()


@pytest.mark.parametrize("how", ["close port", "exhaust descriptors"])
def test_a_router_that_nobody_can_connect_to_ends(
    make_cluster: Callable[..., Cluster], breakable: Callable[[int, str], None], how: str
) -> None:
    process = make_cluster(nodes=0, router_flags=(*QUICK, "--stop-grace-s=0")).routers["r1"].process
    breakable(process.pid, how)
    assert process.wait(END_S) == EXIT_NOT_SERVING
    assert "router: " in process.log.read_text().splitlines()[-1]


def test_a_router_whose_event_loop_stands_still_ends_and_says_where(
    make_cluster: Callable[..., Cluster], breakable: Callable[[int, str], None]
) -> None:
    process = make_cluster(nodes=0, router_flags=(*QUICK, "--stop-grace-s=0")).routers["r1"].process
    breakable(process.pid, "block")
    assert process.wait(END_S) == EXIT_NOT_SERVING
    printed = log_line(process, "ended_not_serving")
    assert "gave no answer within" in str(printed["why"])
    assert printed["stands_in"]


def test_a_worker_whose_port_is_closed_is_replaced(
    make_cluster: Callable[..., Cluster], breakable: Callable[[int, str], None]
) -> None:
    cluster = make_cluster(nodes=0, router_flags=(*QUICK, "--workers=2", "--stop-grace-s=0"))
    router = cluster.routers["r1"].process
    children = Path(f"/proc/{router.pid}/task/{router.pid}/children")
    first, second = children.read_text().split()
    breakable(int(first), "close port")
    wait_until(lambda: first not in children.read_text().split(), "the worker did not end", END_S)
    wait_until(lambda: len(children.read_text().split()) == 2, "the worker was not replaced", END_S)
    assert second in children.read_text().split()
    assert f'"status": {EXIT_NOT_SERVING}' in router.log.read_text()


def test_a_process_that_stood_still_for_long_goes_on(
    make_cluster: Callable[..., Cluster],
) -> None:
    cluster = make_cluster(nodes=0, router_flags=QUICK)
    router = cluster.routers["r1"].process
    router.freeze()
    time.sleep(5.0)  # longer than its patience
    router.send(signal.SIGCONT)
    for _ in range(10):
        assert router.returncode is None
        time.sleep(0.2)
    assert router.stop() == 0


def first_child_of(pid: int) -> int:
    return int(Path(f"/proc/{pid}/task/{pid}/children").read_text().split()[0])


async def test_a_node_that_can_fork_no_child_process_any_more_hands_on_what_it_has_and_ends(
    make_cluster: Callable[..., Cluster],
) -> None:
    """As where the machine has run out of memory, and the process was ended for it that forks the others: a turn that
    was cut off would fail there."""
    cluster = make_cluster(nodes=2, lease_ttl_s=120)
    async with connect(cluster.router) as channel:
        owner = (await run_turn(channel, "s", turn("hi"))).node
        process = cluster.nodes[owner].process
        os.kill(first_child_of(process.pid), signal.SIGKILL)
        assert process.wait(END_S) == EXIT_NOT_SERVING
        assert (await run_turn(channel, "s", turn("there"))).node != owner
    assert [line["node"] for line in cluster.audit("drain_done")] == [owner]
    assert not cluster.audit("fenced")
    assert process.log.read_text().splitlines()[-1] == (
        "agent_node: the process that forks those of the runs apart has ended"
    )
