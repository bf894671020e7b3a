"""A cluster on a PostgreSQL that it reaches over TLS, as a role that may not change tables."""

import shutil
import signal
import tempfile
from collections.abc import Callable, Iterator
from dataclasses import replace
from datetime import timedelta
from pathlib import Path

import pytest

from agent_node.store.opening import ClusterIdentity, StoreRefused, open_store
from agentring.certificates.authority import make_authority
from agentring.cluster.etcd.client import EtcdClient
from agentring.cluster.history import ensure_meta
from agentring.cluster.keys import Keys
from harness.agents import FLAGS
from harness.client import connect, run_task, run_turn, turn
from harness.cluster import Cluster
from harness.guarded_postgres import NODES, OWNER, GuardedPostgres
from harness.postgres import find_programs
from harness.up_process import agentring

HERE = ClusterIdentity(generation=1, cluster_uuid="c", machine_id="m", boot_id="b")


@pytest.fixture
def guarded() -> Iterator[GuardedPostgres]:
    if find_programs() is None:
        pytest.skip("PostgreSQL is not installed")
    directory = Path(tempfile.mkdtemp(prefix="agentring-guarded-postgres-"))
    directory.chmod(0o755)  # its server is another user's
    server = GuardedPostgres(directory / "server")
    try:
        yield server
    finally:
        server.stop()
        shutil.rmtree(directory)


async def _refused(url: str, identity: ClusterIdentity = HERE) -> str:
    with pytest.raises(StoreRefused) as refused:
        await open_store(url, identity, timeout_s=20, max_history_turns=1)
    assert "nodes'" not in f"{refused.value}"
    assert "nodes%27" not in f"{refused.value}"
    return str(refused.value)


async def test_nodes_work_as_a_role_that_changes_no_tables(
    guarded: GuardedPostgres, make_cluster: Callable[..., Cluster], tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    database = guarded.database()
    nodes = guarded.url(database, NODES)
    assert "agentring admin migrate" in await _refused(nodes)
    other = tmp_path / "other.pem"
    other.write_bytes(make_authority("other", timedelta(days=1)).certificate)
    for url in (
        guarded.url(database, NODES, ca=other),
        guarded.url(database, NODES, ca=tmp_path / "absent"),
        guarded.url(database, NODES, mode="disable"),
        guarded.url(database, NODES).replace("127.0.0.1", "localhost"),  # which the certificate does not name
    ):
        assert "cannot be used" in await _refused(url)

    cluster = make_cluster(nodes=0, routers=0)
    here = (f"--etcd={cluster.etcd_url}", f"--cluster={cluster.name}")
    monkeypatch.setenv("AGENTRING_STORE", guarded.url(database, OWNER))
    status, _, err = await agentring("admin", "migrate", *here, f"--grant={OWNER}")
    assert (status, "owns them" in err) == (1, True)
    status, out, err = await agentring("admin", "migrate", *here, f"--grant={NODES}")
    assert (status, err) == (0, "")
    assert "is of this release's version" in out
    monkeypatch.setenv("AGENTRING_STORE", nodes)
    for name in ("n1", "n2"):
        cluster.start_node(name, *FLAGS)
    cluster.start_router("r1")
    async with connect(cluster.router) as channel:
        for n in range(4):
            assert (await run_turn(channel, f"s{n}", turn("hi"))).text == "hi"
        assert await run_task(channel, "t", agent="echo") is not None
        cluster.nodes["n1"].process.stop(signal.SIGKILL)
        for n in range(4):
            assert (await run_turn(channel, f"s{n}", turn("hi"))).text == "hi"
    for statement in (
        "CREATE TABLE mine (one INTEGER)",
        "ALTER TABLE sessions ADD COLUMN mine INTEGER",
        "DROP TABLE sessions",
        "TRUNCATE sessions",
        "UPDATE alembic_version SET version_num = '9999'",
    ):
        assert "permission denied" in (said := guarded.refusal(statement, database)) or "must be owner" in said

    # A later release's tables: its nodes say what to run, and what the owner makes is theirs, too.
    guarded.process.ask("UPDATE alembic_version SET version_num = '0001'", database)
    async with EtcdClient([cluster.etcd_url]) as etcd:
        meta = await ensure_meta(etcd, Keys(cluster.name))
    assert "agentring admin migrate" in await _refused(nodes, replace(HERE, cluster_uuid=meta.cluster_uuid))
    guarded.process.ask(f"SET ROLE {OWNER}; CREATE TABLE later (one INTEGER)", database)
    assert guarded.process.ask(f"SELECT has_table_privilege('{NODES}', 'later', 'INSERT')", database) == "t"
