"""`agentring up`: a real cluster that comes, is described, survives what it may lose, and leaves nothing behind."""

import asyncio
import json
import os
import signal
import socket
import sys
from pathlib import Path

import pytest

from harness.up_process import UpProcess, Watched, agentring, running_up

pytestmark = pytest.mark.skipif(sys.platform != "linux", reason="looks into /proc")


async def membership_revision(up: UpProcess) -> int:
    """The revision of the membership, through the first router."""
    status, out, err = await agentring("status", "--json", "--data-dir", str(up.data_dir))
    assert (status, err) == (0, "")
    fields = json.loads(out)
    assert [one["health"] for one in fields["routers"]] == ["SERVING"] * len(up.cluster["router"])
    assert [(node["node_id"], node["address"]) for node in fields["nodes"]] == [
        (node["id"], node["address"]) for node in up.cluster["nodes"]
    ]
    return int(fields["revision"])


async def test_it_comes_is_described_and_goes_and_comes_again(tmp_path: Path) -> None:
    revisions = []
    for stop_signal in (signal.SIGINT, signal.SIGTERM):
        open_to_all = ("--host", "0.0.0.0", "--insecure-plaintext", "--insecure-anonymous")
        async with running_up(tmp_path, "--nodes", "2", "--routers", "2", *open_to_all) as up:
            await up.until_line("ready")
            cluster = up.cluster
            assert [node["id"] for node in cluster["nodes"]] == ["n1", "n2"]
            assert cluster["router"] == [router["address"] for router in cluster["routers"]]
            assert len(set(cluster["router"])) == 2
            assert cluster["store"].endswith("/nodes/store.db")
            assert len(cluster["etcd"]) == 1
            children = up.children()
            started = {one["pid"] for one in cluster["nodes"] + cluster["routers"]}
            etcd = [command for pid, command in children.items() if pid not in started]
            assert len(children) == 5
            assert len(etcd) == 1
            assert f"--listen-client-urls={cluster['etcd'][0]} " in etcd[0]
            assert all(str(one["address"]) in "\n".join(up.lines) for one in cluster["nodes"] + cluster["routers"])
            revisions.append(await membership_revision(up))
            watched = Watched(*children)
            up.send(stop_signal)
            assert await up.ended() == 0
            assert up.lines[-1] == "stopped"
            assert watched.living() == []
            await watched.all_gone()
            assert not (tmp_path / "cluster.json").exists()
    # Its etcd went on from its data: the second start's nodes joined later in the same history.
    assert revisions[1] > revisions[0]


async def test_a_second_one_on_the_same_directory_is_refused(tmp_path: Path) -> None:
    async with running_up(tmp_path, "--nodes", "1") as first:
        await first.until_line("ready")
        async with running_up(tmp_path) as second:
            assert await second.ended() == 2
        assert second.lines == [
            f"agentring: {tmp_path} is in use by another `agentring up` (pid {first.pid}): stop that one, "
            "or give another --data-dir"
        ]
        assert await membership_revision(first) > 0


async def test_killed_with_9_it_leaves_no_process_and_the_next_start_does_not_wait_for_leases(tmp_path: Path) -> None:
    # The lease is longer than this test's patience.
    flags = ("--nodes", "2", "--lease-ttl-s", "300")
    async with running_up(tmp_path, *flags) as killed:
        await killed.until_line("ready")
        watched = Watched(*killed.children())
        killed.send(signal.SIGKILL)
        assert await killed.ended() == -signal.SIGKILL
        await watched.all_gone()
    assert (tmp_path / "cluster.json").exists()
    async with running_up(tmp_path, *flags) as up:
        await up.until_line("ready")
        await membership_revision(up)


async def test_a_node_that_dies_is_told_and_the_rest_goes_on(tmp_path: Path) -> None:
    async with running_up(tmp_path, "--nodes", "2", "--lease-ttl-s", "2") as up:
        await up.until_line("ready")
        pid = up.cluster["nodes"][1]["pid"]
        os.kill(pid, signal.SIGKILL)
        printed = await up.until_line("n2")
        assert printed == f"n2 (pid {pid}) was killed by SIGKILL; log: {tmp_path / 'logs' / 'n2.log'}"
        status, _, err = await agentring("status", "--data-dir", str(tmp_path))
        assert (status, err) == (0, "")
        up.send(signal.SIGINT)
        assert await up.ended() == 0


async def test_without_its_etcd_it_stops_everything(tmp_path: Path) -> None:
    async with running_up(tmp_path, "--nodes", "1") as up:
        await up.until_line("ready")
        children = up.children()
        watched = Watched(*children)
        (etcd,) = (pid for pid, command in children.items() if "--listen-client-urls" in command)
        os.kill(etcd, signal.SIGKILL)
        assert await up.ended() == 1
        await watched.all_gone()
    assert f"agentring: etcd (pid {etcd}) was killed by SIGKILL; log: {tmp_path / 'logs' / 'etcd.log'}" in up.lines
    assert not (tmp_path / "cluster.json").exists()


async def test_an_etcd_that_runs_already_is_used(tmp_path: Path, etcd_url: str) -> None:
    async with running_up(tmp_path, "--nodes", "1", "--etcd", etcd_url) as up:
        await up.until_line("ready")
        assert up.cluster["etcd"] == [etcd_url]
        assert len(up.children()) == 2
        up.send(signal.SIGINT)
        assert await up.ended() == 0


async def test_a_node_that_cannot_start_is_told_with_its_log_and_everything_stops(tmp_path: Path) -> None:
    (tmp_path / "nodes").mkdir()
    (tmp_path / "nodes" / "n2").write_text("where a directory should be")
    async with running_up(tmp_path, "--nodes", "2") as up:
        printed = await up.until_line("agentring: n2 (pid ")
        assert printed.endswith(f"log: {tmp_path / 'logs' / 'n2.log'}")
        assert await up.ended() == 1
    assert up.children() == {}
    assert not (tmp_path / "cluster.json").exists()


async def test_a_signal_while_it_starts_stops_it(tmp_path: Path) -> None:
    async with running_up(tmp_path, "--nodes", "1") as up:
        async with asyncio.timeout(30.0):
            while not up.children():  # noqa: ASYNC110 # the first child is all there is to see
                await asyncio.sleep(0.005)
        watched = Watched(*up.children())
        up.send(signal.SIGINT)
        assert await up.ended() == 0
        await watched.all_gone()
        assert up.lines == ["stopped"]
        assert up.children() == {}


async def test_a_taken_port_is_named_before_anything_starts(tmp_path: Path) -> None:
    with socket.create_server(("127.0.0.1", 0)) as taken:
        port = taken.getsockname()[1]
        async with running_up(tmp_path, "--port", str(port)) as up:
            assert await up.ended() == 1
    assert up.lines == [
        f"agentring: port {port} on 127.0.0.1 cannot be listened on: Address already in use; "
        "give another --port, 0 for any"
    ]
    assert not (tmp_path / "etcd").exists()


async def test_it_says_when_nobody_is_served_and_when_somebody_is_again(tmp_path: Path) -> None:
    async with running_up(tmp_path, "--nodes", "1", "--routers", "1") as up:
        await up.until_line("ready")
        to = ("--data-dir", str(up.data_dir))
        status, _, err = await agentring("drain", "n1", *to)
        assert (status, "LAST_NODE_OF_AGENT" in err) == (1, True)
        assert (await agentring("drain", "n1", "--force", *to))[0] == 0
        await up.until_line("NO_NODES: no node is ACTIVE, so no session can be served")
        assert (await agentring("undrain", "n1", *to))[0] == 0
        await up.until_line("nodes are ACTIVE again")
        before = len(up.lines)
        up.send(signal.SIGTERM)
        assert await up.ended() == 0
        assert up.lines[before:] == ["stopped"]


async def test_a_store_that_is_gone_is_told_and_another_one_taken_when_that_is_said(tmp_path: Path) -> None:
    """In a directory whose name means something in a URL."""
    data_dir = tmp_path / "run?a%20#b"
    store = data_dir / "nodes" / "store.db"
    async with running_up(data_dir, "--nodes", "1") as up:
        await up.until_line("ready")
        assert store.is_file()
        up.send(signal.SIGINT)
        assert await up.ended() == 0
    store.unlink()
    async with running_up(data_dir, "--nodes", "1") as up:
        await up.until_line("the cluster has kept its sessions in the store")
        assert await up.ended() == 1
    async with running_up(data_dir, "--nodes", "1", "--forget-store") as up:
        await up.until_line("ready")
        up.send(signal.SIGINT)
        assert await up.ended() == 0
    assert os.listdir(tmp_path) == [data_dir.name]


async def test_what_it_keeps_is_its_owners_alone_and_its_etcd_keeps_its_port(tmp_path: Path) -> None:
    data_dir = tmp_path / "data"
    (data_dir / "nodes" / "n1").mkdir(parents=True)  # of an earlier release, with everybody's rights
    urls = set()
    for _ in range(2):
        async with running_up(data_dir, "--nodes", "1", env={"AGENTRING_AUDIT_LOG": str(data_dir / "audit")}) as up:
            await up.until_line("ready")
            urls.add(up.cluster["etcd"][0])
            status, _, err = await agentring("chat", "ada", "--data-dir", str(data_dir), stdin="hello\n")
            assert (status, err) == (0, "")
            shown = [path for path in (data_dir, *data_dir.rglob("*")) if path.stat().st_mode & 0o077]
            assert shown == []
            assert {"store.db", "store.db-wal"} <= {path.name for path in data_dir.rglob("*")}
    assert len(urls) == 1


async def test_a_password_of_the_store_is_nowhere_to_be_seen(tmp_path: Path) -> None:
    store = "postgresql://somebody:a@secret/word@127.0.0.1:1/nothing"
    async with running_up(tmp_path, "--nodes", "1", env={"AGENTRING_STORE": store}) as up:
        async with asyncio.timeout(30.0):
            while not (nodes := [each for each in up.children().values() if "agent_node" in each]):  # noqa: ASYNC110
                await asyncio.sleep(0.005)
        assert "secret" not in nodes[0]
        up.send(signal.SIGINT)
        await up.ended()
    for path in tmp_path.rglob("*"):  # noqa: ASYNC240  everything has ended
        assert not path.is_file() or b"secret" not in path.read_bytes()
    assert "secret" not in "\n".join(up.lines)
    async with running_up(tmp_path, "--store", store.replace("postgresql:", "mysql:")) as up:
        assert await up.ended() == 2
    assert up.lines == [
        "agentring: --store mysql://somebody:***@127.0.0.1:1/nothing: "
        "it is neither memory: nor sqlite:///PATH nor postgresql://…"
    ]


async def test_it_does_not_mind_where_it_is_started_and_outlives_its_terminal(tmp_path: Path) -> None:
    (tmp_path / "router.py").write_text("raise SystemExit('somebody else')")
    async with running_up(Path("-of mine?"), "--nodes", "1", within=tmp_path) as up:
        await up.until_line("ready")
        assert signal.SIGHUP in up.ignored()  # nohup's doing
        up.send(signal.SIGINT)
        assert await up.ended() == 0
    assert os.path.exists(tmp_path / "-of mine?" / "nodes" / "store.db")  # noqa: ASYNC240  it has ended


async def test_a_mistyped_variable_is_named(tmp_path: Path) -> None:
    async with running_up(tmp_path, env={"AGENTRING_STORES": "memory:"}) as up:
        assert await up.ended() == 2
    assert up.lines == ["agentring: AGENTRING_STORES is no setting: is AGENTRING_STORE meant?"]
