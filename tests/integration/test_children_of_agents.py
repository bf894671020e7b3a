"""Child processes that an agent leaves: its node can be killed, started again and stopped as if there were none."""

import asyncio
import os
import signal
import sys
from collections.abc import Callable, Iterator
from contextlib import contextmanager, suppress
from pathlib import Path

import pytest

from harness import leaving
from harness.client import connect, run_turn, turn
from harness.cluster import AGENTS_PATH, Cluster
from harness.up_process import Watched, running_up

pytestmark = pytest.mark.skipif(sys.platform != "linux", reason="looks into /proc")


async def make_child(address: str, kind: str, session: str = "s") -> int:
    """Has the agent make a child; its pid."""
    async with connect(address) as channel:
        return int((await run_turn(channel, session, turn(kind), agent="leaving")).result["pid"])


@contextmanager
def ended_at_last(*pids: int) -> Iterator[None]:
    """The agent's children are killed with the test."""
    try:
        yield
    finally:
        for pid in pids:
            with suppress(ProcessLookupError):
                os.kill(pid, signal.SIGKILL)


@pytest.mark.parametrize("kind", ["fork", "subprocess"])
async def test_a_killed_node_starts_again_on_its_directory_and_port_while_a_child_lives(
    make_cluster: Callable[..., Cluster], kind: str
) -> None:
    cluster = make_cluster(nodes=1, flags=(f"--agent={leaving.FLAG}",))
    node = cluster.nodes["n1"]
    with ended_at_last(await make_child(cluster.router, kind)):
        node.process.stop(signal.SIGKILL)
        again = cluster.start_node("n1", f"--agent={leaving.FLAG}", f"--listen={node.address}")
        assert again.address == node.address
        async with connect(again.address) as channel:
            assert (await run_turn(channel, "another", turn("hi"))).text == "hi"


async def test_up_notices_the_end_of_a_node_whose_children_live_and_stops_at_once(tmp_path: Path) -> None:
    env = {"AGENTRING_AGENT": leaving.FLAG, "PYTHONPATH": AGENTS_PATH}
    async with running_up(tmp_path, "--nodes", "2", "--lease-ttl-s", "2", env=env) as up:
        await up.until_line("ready")
        nodes = [node["address"] for node in up.cluster["nodes"]]
        pids = [
            await make_child(address, kind, f"{address} {kind}".replace(" ", "-").replace(":", "-"))
            for address in nodes
            for kind in ("fork", "subprocess")
        ]
        with ended_at_last(*pids):
            pid = up.cluster["nodes"][1]["pid"]
            os.kill(pid, signal.SIGKILL)
            assert await up.until_line("n2") == (
                f"n2 (pid {pid}) was killed by SIGKILL; log: {tmp_path / 'logs' / 'n2.log'}"
            )
            watched = Watched(*up.children())
            up.send(signal.SIGINT)
            async with asyncio.timeout(30):  # a node that joins its agent's child has 10 s of it
                assert await up.ended() == 0
            assert watched.living() == []
            await watched.all_gone()
            assert up.lines[-1] == "stopped"
            assert not any("Traceback" in line for line in up.lines)
        for name in ("n1", "n2"):
            log = (tmp_path / "logs" / f"{name}.log").read_text()
            assert "printed at import" in log
            assert "printed in a turn" in log
