"""What pytest finds of agentring: the fixture, and nothing that slows others down."""

import inspect
import subprocess
import sys
from importlib.metadata import entry_points
from types import SimpleNamespace
from typing import Any

import pytest

from agentring import pytest_plugin
from agentring.testing import AgentTest


def test_pytest_finds_it() -> None:
    (found,) = entry_points(group="pytest11", name="agentring")
    assert found.load() is pytest_plugin


@pytest.mark.parametrize(("on_cluster", "made"), [(False, AgentTest), (True, AgentTest.cluster)])
def test_the_fixture_makes_tests_here_or_on_clusters(on_cluster: bool, made: Any) -> None:
    asked: list[str] = []
    config = SimpleNamespace(getoption=lambda name: asked.append(name) or on_cluster)  # type: ignore[func-returns-value]
    assert inspect.unwrap(pytest_plugin.agent_test)(SimpleNamespace(config=config)) == made
    assert asked == ["--agents-on-cluster"]


def test_it_imports_nothing_before_a_test_asks() -> None:
    code = (
        "import sys, pytest; before = set(sys.modules); import agentring.pytest_plugin; "
        "print(sorted(set(sys.modules) - before))"
    )
    done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True)
    assert done.stdout.strip() == "['agentring', 'agentring.pytest_plugin']"
