"""Examples whose turn asks a question, whose node is killed -9, and whose answer then comes: they finish elsewhere, no
model call is made twice, and their client has one stream."""

from collections.abc import Callable
from pathlib import Path

import pytest

from harness.cluster import Cluster
from harness.killed_examples import Asking, killed_while_asking

ORDER = 'May I call order({"item": "tea", "count": 2})? yes or no'
EXPECTED = {
    Asking("clerk", "tea", "yes"): (ORDER, "Let me look.So: 2 tea ordered"),
    Asking("openai_agents", "tea", "yes"): (ORDER, "Let me look.So: 2 tea ordered"),
    Asking("pydantic_ai", "tea", "yes"): (ORDER.replace(": ", ":").replace(", ", ","), "Let me look.So: 2 tea ordered"),
    Asking("florist", "roses", "yes"): ("12 roses? yes or no", "Let me look. So: 12 roses ordered"),
}


async def test_they_finish_elsewhere_and_ask_their_models_once_for_each_step(
    make_cluster: Callable[..., Cluster], tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    calls = tmp_path / "calls"
    monkeypatch.setenv("EXAMPLE_CALLS", str(calls))
    found = dict(zip(EXPECTED, await killed_while_asking(make_cluster, list(EXPECTED)), strict=True))
    for turn, (question, text) in EXPECTED.items():
        seen = found[turn]
        assert (seen.questions, seen.text) == ([question], text)
        assert seen.nodes == ["n1", "n2"], turn
        assert seen.end.turn_completed.usage.model_calls == 3, turn
    clerk, *_ = found.values()
    assert clerk.result == {"finish_reason": "stop", "rounds": 3.0}
    each_once = [f"model call {number}" for number in (1, 2, 3)]
    assert sorted(calls.read_text().splitlines()) == sorted(each_once * len(EXPECTED))
