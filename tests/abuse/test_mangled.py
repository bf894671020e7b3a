"""Recordings of real clients, broken at random, sent to a router and to a node: nobody else notices, all serve on.

Thousands of them, for as long as one likes: scripts/fuzz --target router-port,node-port.
"""

import os
from collections.abc import Iterator
from pathlib import Path

import pytest

from harness.abuse_neighbours import neighbours
from harness.cluster import Cluster
from harness.mangled_connections import check_serves, faults_in, pieces_of, send_all
from harness.mangling import parse
from harness.recordings import record

CONNECTIONS = 400
SEED = int(os.environ.get("AGENTRING_TEST_SEED", "1"))


@pytest.fixture(scope="module")
def mangled(etcd_url: str, tmp_path_factory: pytest.TempPathFactory) -> Iterator[Cluster]:
    """Two nodes and a router."""
    cluster = Cluster(etcd_url, tmp_path_factory.mktemp("mangled"))
    try:
        cluster.start(nodes=2)
        yield cluster
    finally:
        cluster.stop()


def logs_of(cluster: Cluster) -> list[Path]:
    return [one.process.log for one in (*cluster.nodes.values(), *cluster.routers.values())]


@pytest.mark.parametrize("port", ["router", "node"])
async def test_mangled_connections_harm_nobody(mangled: Cluster, port: str) -> None:
    nodes = [node.address for node in mangled.nodes.values()]
    address = mangled.router if port == "router" else nodes[0]
    recordings = [parse(each.sent) for each in await record(address, is_router=port == "router")]
    async with neighbours(mangled.router):
        await send_all(address, recordings, SEED, range(CONNECTIONS))
    await check_serves(mangled.router, nodes)
    assert faults_in(logs_of(mangled)) == []


async def test_the_same_seed_breaks_in_the_same_way_and_whole_recordings_stay_as_they_were(mangled: Cluster) -> None:
    made = await record(mangled.router, is_router=True)
    for recording in made:
        again = parse(recording.sent)
        assert [frame.stream_id for frame in again if frame.fields] == sorted(
            frame.stream_id for frame in again if frame.fields
        )
        assert any((b":method", b"POST") in (frame.fields or ()) for frame in again)
    frames = [parse(recording.sent) for recording in made]
    received = [pieces_of(frames, SEED, number)[0] for number in range(50)]
    assert received == [pieces_of(frames, SEED, number)[0] for number in range(50)]
    assert len({b"".join(pieces) for pieces in received}) > 45
