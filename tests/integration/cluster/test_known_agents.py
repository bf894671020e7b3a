"""Which agents a process knows to have been there, itself or by what nodes have written."""

from agentring.cluster.etcd.client import EtcdClient
from agentring.cluster.keys import Keys
from agentring.cluster.known_agents import REMEMBERED_S, KnownAgents, announce_once
from agentring.errors import AgentNotFound, AgentUnavailable
from harness.clock import FakeClock
from harness.memberships import node, snapshot


async def test_a_process_that_is_started_anew_knows_what_was_announced_and_nothing_else(
    etcd: EtcdClient, keys: Keys
) -> None:
    await announce_once(etcd, keys, {"echo", "my agent/ü%2F"})
    await announce_once(etcd, keys, {"echo"})  # of another node, with a lease of its own
    known = KnownAgents(etcd, keys, FakeClock())
    assert isinstance(known.missing("echo"), AgentNotFound)
    await known.refresh()
    for agent in ("echo", "my agent/ü%2F"):
        missing = known.missing(agent)
        assert isinstance(missing, AgentUnavailable)
        assert (missing.agent, missing.retry_after_s) == (agent, 1.0)
    for agent in ("", "ech", "echo2", "my agent"):
        assert isinstance(known.missing(agent), AgentNotFound)
    assert len((await etcd.range(keys.agents)).kvs) == 2  # one key for each, whoever asks for whatever


async def test_each_announcement_outlives_the_nodes_lease_by_an_hour(etcd: EtcdClient, keys: Keys) -> None:
    await announce_once(etcd, keys, {"echo"})
    (kv,) = (await etcd.range(keys.agents)).kvs
    assert await etcd.keep_alive(kv.lease_id, timeout_s=5) >= REMEMBERED_S + 600


async def test_more_agents_than_a_transaction_takes_are_announced(etcd: EtcdClient, keys: Keys) -> None:
    await announce_once(etcd, keys, {f"a{index}" for index in range(250)})
    assert len((await etcd.range(keys.agents)).kvs) == 250


async def test_what_was_seen_hosted_is_known_for_an_hour_from_its_last_nodes_end(etcd: EtcdClient, keys: Keys) -> None:
    clock = FakeClock()
    known = KnownAgents(etcd, keys, clock)
    known.see(snapshot(node("a", agents=("echo",)), node("b", agents=("echo", "other"))))
    clock.advance(3 * REMEMBERED_S)
    known.see(snapshot(node("a", agents=("echo",))))
    clock.advance(REMEMBERED_S - 1)
    assert (known.knows("echo"), known.knows("other"), known.knows("never")) == (True, True, False)
    clock.advance(2)
    assert (known.knows("echo"), known.knows("other")) == (True, False)
    known.see(snapshot())
    assert known.knows("echo")
    known.see(snapshot(node("a", agents=("other",))))
    clock.advance(REMEMBERED_S)
    known.see(snapshot())
    assert (known.knows("echo"), known.knows("other")) == (False, True)
