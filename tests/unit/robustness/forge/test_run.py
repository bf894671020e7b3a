"""The run finds what would be believed, and counts what it costs."""

from pathlib import Path

from harness.issuer import token
from harness.token_attacks import mutated
from robustness.forge.run import check_all, flood, most_share


def test_a_token_that_is_believed_is_found(tmp_path: Path) -> None:
    good = token()
    found = check_all(tmp_path, [*mutated(20, seed=2), good])
    assert (found.count, found.accepted, found.crashes) == (21, [good], [])
    assert found.slowest_s > 0


async def test_a_flood_has_its_share_and_known_callers_are_served(tmp_path: Path) -> None:
    found = await flood(tmp_path, list(mutated(50, seed=3)), 1.0)
    assert found.known_accepted
    assert found.looked_at > 0
    assert found.unchecked > found.looked_at
    assert found.share <= most_share(1.0) + 0.05, "a busy machine has less of its caches"
    assert not (await flood(tmp_path, [token(sub="other")], 0.05)).known_accepted
