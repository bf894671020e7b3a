"""What pytest finds of agentring, by the entry point `agentring`: the fixture `agent_test`.

Nothing of agentring is imported before a test asks for it.
"""

from collections.abc import Callable
from typing import TYPE_CHECKING

import pytest

if TYPE_CHECKING:
    from agentring.testing import AgentTest, ClusterTest

_ON_CLUSTER = "--agents-on-cluster"


def pytest_addoption(parser: pytest.Parser) -> None:
    """As pytest has it."""
    group = parser.getgroup("agentring")
    group.addoption(_ON_CLUSTER, action="store_true", help="have the fixture agent_test run agents on local clusters")


@pytest.fixture
def agent_test(request: pytest.FixtureRequest) -> "Callable[..., AgentTest | ClusterTest]":
    """AgentTest, of which tests make their own; AgentTest.cluster where pytest is run with --agents-on-cluster.

    async def test_tea_costs_3(agent_test):
        async with agent_test(shop) as t:
            assert (await t.turn("tea")).result == {"total": 3}
    """
    try:
        from agentring.testing import AgentTest
    except ModuleNotFoundError as error:
        raise pytest.UsageError(f"agent_test needs {error.name}: pip install 'agentring[testing]'") from error
    return AgentTest.cluster if request.config.getoption(_ON_CLUSTER) else AgentTest
