"""cluster.json: whole, in its documented form, and the first place where commands look for a router."""

import json
import socket
from dataclasses import replace
from pathlib import Path

import pytest

from agentring.cli.errors import ClusterFileMalformed
from agentring.cli.local.cluster_file import (
    DEFAULT_ROUTER,
    ClusterFile,
    NodeEntry,
    RouterEntry,
    find_router,
    find_routers,
)
from agentring.ids import NodeId

CLUSTER = ClusterFile(
    router=("127.0.0.1:7700", "127.0.0.1:7701"),
    etcd=("http://127.0.0.1:2379",),
    store="memory:",
    nodes=(NodeEntry(NodeId("n1"), "127.0.0.1:41234", 11),),
    routers=(RouterEntry("127.0.0.1:7700", 21), RouterEntry("127.0.0.1:7701", 22)),
    data_plane="compiled",
)


def test_the_file_has_the_documented_form(tmp_path: Path) -> None:
    path = tmp_path / "cluster.json"
    CLUSTER.write(path)
    assert json.loads(path.read_text()) == {
        "router": ["127.0.0.1:7700", "127.0.0.1:7701"],
        "etcd": ["http://127.0.0.1:2379"],
        "store": "memory:",
        "nodes": [{"id": "n1", "address": "127.0.0.1:41234", "pid": 11}],
        "routers": [{"address": "127.0.0.1:7700", "pid": 21}, {"address": "127.0.0.1:7701", "pid": 22}],
        "data_plane": "compiled",
    }
    assert [one.name for one in tmp_path.iterdir()] == ["cluster.json"]


def test_what_is_written_is_read_back(tmp_path: Path) -> None:
    path = tmp_path / "cluster.json"
    CLUSTER.write(path)
    assert ClusterFile.read(path) == CLUSTER


def test_a_file_of_a_release_that_did_not_say_how_the_data_plane_runs_is_read(tmp_path: Path) -> None:
    path = tmp_path / "cluster.json"
    CLUSTER.write(path)
    fields = json.loads(path.read_text())
    del fields["data_plane"]
    path.write_text(json.dumps(fields))

    assert ClusterFile.read(path) == replace(CLUSTER, data_plane="")


def test_no_file_is_no_cluster(tmp_path: Path) -> None:
    assert ClusterFile.read(tmp_path / "cluster.json") is None


@pytest.mark.parametrize("text", ["", "{", "[]", "{}", '{"router": 1}', '{"router": [], "etcd": [], "store": ""}'])
def test_another_file_is_refused(tmp_path: Path, text: str) -> None:
    path = tmp_path / "cluster.json"
    path.write_text(text)
    with pytest.raises(ClusterFileMalformed):
        ClusterFile.read(path)


def test_routers_are_those_given_else_the_local_clusters_else_the_default(tmp_path: Path) -> None:
    assert find_routers(None, tmp_path) == (DEFAULT_ROUTER,)
    CLUSTER.write(tmp_path / "cluster.json")
    assert find_routers(None, tmp_path) == ("127.0.0.1:7700", "127.0.0.1:7701")
    assert find_routers("example.org:1", tmp_path) == ("example.org:1",)


def test_of_several_routers_one_that_lives_is_asked(tmp_path: Path) -> None:
    with socket.create_server(("127.0.0.1", 0)) as living, socket.socket() as dead:
        dead.bind(("127.0.0.1", 0))
        addresses = tuple(f"127.0.0.1:{one.getsockname()[1]}" for one in (dead, living))
        replace(CLUSTER, router=addresses).write(tmp_path / "cluster.json")
        assert find_router(None, tmp_path) == addresses[1]
        assert find_router(addresses[0], tmp_path) == addresses[0]
    assert find_router(None, tmp_path) == addresses[0]  # for want of any
