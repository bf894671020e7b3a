"""A cluster on an etcd with TLS that checks who calls: made so by the command, and all its work done there."""

import json
import signal
from collections.abc import Iterator
from pathlib import Path

import pytest

from agentring.cluster.access import node_user
from agentring.cluster.keys import Keys
from agentring.ids import NodeId
from harness.agents import FLAGS
from harness.client import connect, run_turn, turn
from harness.cluster import Cluster
from harness.guarded_etcd import GuardedEtcd
from harness.up_process import agentring


@pytest.fixture
def guarded(tmp_path: Path) -> Iterator[GuardedEtcd]:
    directory = tmp_path / "guarded"
    directory.mkdir()
    etcd = GuardedEtcd(directory)
    try:
        yield etcd
    finally:
        etcd.stop()


async def _init(guarded: GuardedEtcd, cluster: str, *more: str) -> list[str]:
    """The steps that the command says it has taken."""
    passwords = guarded.directory / "passwords"
    here = (f"--etcd={guarded.url}", f"--cluster={cluster}", f"--passwords={passwords}", *guarded.flags("root"))
    status, out, err = await agentring("admin", "init", *here, *more, "--json")
    assert (status, err) == (0, "")
    steps = json.loads(out)["steps"]
    assert isinstance(steps, list)
    return steps


def _refused(cluster: Cluster, name: str, *flags: str) -> str:
    """What a node says that does not start."""
    process = cluster.spawn_node(name, *flags)
    assert process.wait() == 1
    process.stop()
    return process.log.read_text()


async def test_a_cluster_does_all_its_work_by_users_that_may_do_no_more(guarded: GuardedEtcd, tmp_path: Path) -> None:
    cluster = Cluster(guarded.url, tmp_path)
    store = f"--store=sqlite:///{tmp_path / 'store.db'}"
    ready = ("--enable-auth", store)
    try:
        would = await _init(guarded, cluster.name, *ready, "--node=n1", "--node=n2", "--dry-run")
        assert "turn on etcd's check of who calls" in would
        assert not (guarded.directory / "passwords").exists()
        done = await _init(guarded, cluster.name, *ready, "--node=n1", "--node=n2")
        assert set(done) == set(would[:-1]) | {"write the record of the cluster's store"}

        n1 = guarded.node_flags(cluster.name, "n1")
        assert "etcd wants to know who calls: give --etcd-user" in _refused(
            cluster, "n1", store, f"--etcd-ca={guarded.ca}"
        )
        assert "agentring admin init" in _refused(cluster, "n3", store, *n1)  # as another's user

        for name in ("n1", "n2"):
            cluster.start_node(name, *FLAGS, store, *guarded.node_flags(cluster.name, name))
        cluster.start_router("r1", *guarded.router_flags(cluster.name))
        here = ("--router", cluster.router)
        async with connect(cluster.router) as channel:
            for n in range(4):
                assert (await run_turn(channel, f"s{n}", turn("hi"))).text == "hi"
            status, out, err = await agentring("halt", "--session", "s0", "--json", *here)
            assert (status, err) == (0, "")
            assert json.loads(out)["kept"]["in_etcd"]
            status, _, err = await agentring("resume", "--session", "s0", *here)
            assert (status, err) == (0, "")

            # A further node, while they run: their tokens are refused for it once, and they ask for new ones.
            assert await _init(guarded, cluster.name, "--node=n1", "--node=n2", "--node=n3") == [
                f"add the role {node_user(Keys(cluster.name), NodeId('n3'))}",
                f"let the role {cluster.name}/node/n3 write {Keys(cluster.name).node(NodeId('n3'))}",
                f"add the user {cluster.name}/node/n3",
                f"give {cluster.name}/node/n3 the role {cluster.name}/node",
                f"give {cluster.name}/node/n3 the role {cluster.name}/node/n3",
            ]
            cluster.start_node("n3", *FLAGS, store, *guarded.node_flags(cluster.name, "n3"))
            cluster.nodes["n1"].process.stop(signal.SIGKILL)
            for n in range(8):
                assert (await run_turn(channel, f"s{n}", turn("hi"))).text == "hi"
        for member in (cluster.nodes["n2"], cluster.nodes["n3"], cluster.routers["r1"]):
            log = member.process.log.read_text()
            assert "Traceback" not in log
            assert guarded.password("root").read_text().strip() not in log
            secret = guarded.password(node_user(Keys(cluster.name), NodeId("n2"))).read_text().strip()
            assert secret not in log
    finally:
        cluster.stop()
