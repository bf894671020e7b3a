"""What pytest finds of agentring, by the entry point `agentring`: the fixture `agent_test`.

Nothing of agentring is imported before a test asks for it.
"""

from typing import TYPE_CHECKING

import pytest

if TYPE_CHECKING:
    from agentring.testing import AgentTest


@pytest.fixture
def agent_test() -> "type[AgentTest]":
    """AgentTest, of which tests make their own.

    async def test_tea_costs_3(agent_test):
        async with agent_test(shop) as t:
            assert (await t.turn("tea")).result == {"total": 3}
    """
    try:
        from agentring.testing import AgentTest
    except ModuleNotFoundError as error:
        raise pytest.UsageError(f"agent_test needs {error.name}: pip install 'agentring[testing]'") from error
    return AgentTest
