"""Sessions spread over the nodes, and each stays where it is."""

import asyncio
from collections import Counter
from collections.abc import Callable

from harness.client import Received, connect, run_turn, turn
from harness.cluster import Cluster, until_sees
from harness.up_process import agentring

SESSIONS = 300
TURNS = 3


async def _converse(cluster: Cluster, names: list[str], turns: int) -> dict[str, list[Received]]:
    limit = asyncio.Semaphore(32)
    received: dict[str, list[Received]] = {}

    async def one(name: str) -> None:
        async with limit:
            received[name] = [await run_turn(channel, name, turn("hello there")) for _ in range(turns)]

    async with connect(cluster.router) as channel, asyncio.TaskGroup() as group:
        for name in names:
            group.create_task(one(name))
    return received


async def test_every_turn_of_a_session_is_served_by_one_node_and_one_epoch(
    make_cluster: Callable[..., Cluster],
) -> None:
    cluster = make_cluster(nodes=3)
    received = await _converse(cluster, [f"s{i}" for i in range(SESSIONS)], TURNS)

    assert len(received) == SESSIONS
    for name, turns in received.items():
        assert len({(each.node, each.epoch) for each in turns}) == 1, name
        assert {event.epoch for each in turns for event in each.events} == {turns[0].epoch}, name
        assert all(each.text == "hello there" for each in turns), name
    per_node = Counter(turns[0].node for turns in received.values())
    assert set(per_node) == {"n1", "n2", "n3"}
    assert max(per_node.values()) <= 1.5 * SESSIONS / 3, per_node
    claims = Counter(line["session"] for line in cluster.audit("claimed"))
    assert set(claims.values()) == {1}
    assert len(claims) == SESSIONS


async def test_a_fourth_node_moves_no_session_and_gets_its_share_of_new_ones(
    make_cluster: Callable[..., Cluster],
) -> None:
    cluster = make_cluster(nodes=3)
    old = [f"old{i}" for i in range(SESSIONS)]
    before = await _converse(cluster, old, 1)

    cluster.start_node("n4")
    new = await _converse(cluster, [f"new{i}" for i in range(SESSIONS)], 1)
    after = await _converse(cluster, old, 1)

    moved = [
        name
        for name in old
        if (before[name][0].node, before[name][0].epoch) != (after[name][0].node, after[name][0].epoch)
    ]
    assert moved == []
    share = Counter(turns[0].node for turns in new.values())["n4"] / SESSIONS
    assert 0.15 <= share <= 0.35, share


async def test_with_a_load_factor_no_node_has_more_than_its_part_and_a_newcomer_fills_first(
    make_cluster: Callable[..., Cluster],
) -> None:
    factor, old, new = 1.25, 200, 60
    flags = (f"--load-factor={factor}",)
    cluster = make_cluster(nodes=2, flags=flags)
    received = await _converse(cluster, [f"old{i}" for i in range(old)], 1)  # nobody is refused, however fast they come
    before = Counter(turns[0].node for turns in received.values())
    assert max(before.values()) <= factor * old / 2 + 1, before

    cluster.start_node("n3", *flags)
    until_sees(cluster.router, 3)
    received = await _converse(cluster, [f"new{i}" for i in range(new)], 1)
    added = Counter(turns[0].node for turns in received.values())
    # The others have room again once there are so many that their sessions are no more than their part.
    fills_first = 3 * min(before.values()) / factor - old
    assert added["n3"] >= 0.8 * fills_first, (before, added)
    for name in before:
        assert before[name] + added[name] <= max(before[name], factor * (old + new) / 3 + 1), (before, added)
    assert {turns[0].node for turns in (await _converse(cluster, ["old0", "old1"], 1)).values()} <= set(before)


async def test_an_agent_that_requires_a_label_is_hosted_where_it_is_and_locate_says_so(
    make_cluster: Callable[..., Cluster],
) -> None:
    flags = ("--require=echo:zone=eu",)
    cluster = make_cluster(nodes=2, flags=flags)
    cluster.start_node("n3", *flags, "--label=zone=eu")
    until_sees(cluster.router, 3)
    names = [f"s{i}" for i in range(20)]
    received = await _converse(cluster, names, 1)
    assert {turns[0].node for turns in received.values()} == {"n3"}
    status, out, _ = await agentring("locate", "somebody", "--agent", "echo", "--router", cluster.router)
    assert status == 0
    assert "the ring proposes n3" in out
    assert out.count("does not host echo") == 2
