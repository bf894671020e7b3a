"""A short soak of conversations, on a real cluster; scripts/soak runs the long one."""

from pathlib import Path

import pytest

from harness.postgres import PostgresProcess
from robustness.soak.client import Script
from robustness.soak.turns import FAULTS, soak

SESSIONS = 60
SCRIPT = Script(turns=6, tokens=20, rate=20.0, pause_s=2.0)


@pytest.mark.parametrize("store", ["sqlite", "postgresql"])
async def test_no_stream_breaks_while_one_node_after_the_other_is_killed(
    request: pytest.FixtureRequest, tmp_path: Path, store: str
) -> None:
    if store == "postgresql":
        postgres: PostgresProcess = request.getfixturevalue("postgres")
        store = postgres.database()
    found = await soak(
        SCRIPT, SESSIONS, "kill-in-turn", every_s=3.0, clients="raw", store=store, ttl=2, seed=1, directory=tmp_path
    )
    assert {kind: found[kind] for kind in FAULTS} == {kind: [] for kind in FAULTS}, found
    assert found["turns"] == SESSIONS * SCRIPT.turns
    assert found["disturbed"] >= 2
