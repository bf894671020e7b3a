"""A short run of scripts/loop_soak: loops of model calls and tools whose nodes are killed."""

import random
from collections.abc import Callable
from pathlib import Path

import pytest

from harness.cluster import Cluster
from robustness.loop.run import FLAGS, ROUTER_FLAGS, Plan, run
from robustness.loop.stored import stored_in_sqlite


async def test_a_loop_whose_nodes_are_killed_pays_and_does_nothing_twice(
    make_cluster: Callable[..., Cluster], tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("OPENAI_BASE_URL", "")
    file = tmp_path / "store.db"
    flags = (*FLAGS, f"--store=sqlite:///{file}")

    def start() -> Cluster:
        return make_cluster(nodes=2, lease_ttl_s=2, flags=flags, router_flags=ROUTER_FLAGS)

    plan = Plan(calls=10, kills=2, beside=1, slowest_s=0.1, longest_s=0.1, seed=random.randrange(1 << 30))
    found = await run(start, flags, plan, lambda name: stored_in_sqlite(file, name), tmp_path)
    assert (found["faults"], found["heard_again"]) == ([], []), plan
    assert found["kills"] == 2
    assert found["paid"] <= found["calls"] + found["kills_of_loops"]
    assert 0 < found["stored_times"] <= 2
