"""Examples whose turn asks a question, whose node is killed -9, and whose answer then comes: they finish elsewhere, no
model call is made twice, and their client has one stream."""

from collections.abc import Callable
from pathlib import Path

import pytest

from harness.cluster import Cluster
from harness.killed_examples import killed_while_asking


async def test_clerk_finishes_elsewhere_and_asks_its_model_once_for_each_step(
    make_cluster: Callable[..., Cluster], tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    calls = tmp_path / "calls"
    monkeypatch.setenv("EXAMPLE_CALLS", str(calls))
    seen = await killed_while_asking(make_cluster, calls, "clerk", "tea", "yes")
    assert seen.questions == ['May I call order({"item": "tea", "count": 2})? yes or no']
    assert len(set(seen.nodes)) == 2
    assert seen.text == "Let me look.So: 2 tea ordered"
    assert seen.result == {"finish_reason": "stop", "rounds": 3.0}
    assert seen.model_calls == ["model call 1", "model call 2", "model call 3"]
    assert seen.end.turn_completed.usage.model_calls == 3


async def test_an_agent_of_the_openai_agents_sdk_finishes_elsewhere(
    make_cluster: Callable[..., Cluster], tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    calls = tmp_path / "calls"
    monkeypatch.setenv("EXAMPLE_CALLS", str(calls))
    seen = await killed_while_asking(make_cluster, calls, "openai_agents", "tea", "yes")
    assert seen.questions == ['May I call order({"item": "tea", "count": 2})? yes or no']
    assert len(set(seen.nodes)) == 2
    assert seen.text == "Let me look.So: 2 tea ordered"
    assert seen.model_calls == ["model call 1", "model call 2", "model call 3"]
    assert seen.end.turn_completed.usage.model_calls == 3


async def test_florist_finishes_elsewhere_and_asks_its_model_once_for_each_step(
    make_cluster: Callable[..., Cluster], tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    calls = tmp_path / "calls"
    monkeypatch.setenv("EXAMPLE_CALLS", str(calls))
    seen = await killed_while_asking(make_cluster, calls, "florist", "roses", "yes")
    assert seen.questions == ["12 roses? yes or no"]
    assert len(set(seen.nodes)) == 2
    assert seen.text == "Let me look. So: 12 roses ordered"
    assert seen.model_calls == ["model call 1", "model call 2", "model call 3"]
    assert seen.end.turn_completed.usage.model_calls == 3
