"""Tests of agents, in the test's own process: no cluster, no etcd, no network, and every crash that one can think of.

    from agentring.testing import AgentTest

    async def test_the_shop_sells_tea():
        async with AgentTest(shop) as t:
            turn = await t.turn("tea")
            assert turn.result == {"total": 3}
            await t.crash_everywhere("cake")

What runs is the node's own code: its sessions, runs, steps, tasks and `once`. docs/testing.md is the guide. Comes with
`pip install 'agentring[testing]'`; nothing else of agentring imports it.
"""

from agentring.testing.agent_test import AgentTest
from agentring.testing.answering import Reply
from agentring.testing.clock import TestClock
from agentring.testing.cluster_test import ClusterTest
from agentring.testing.crashes import CrashReport
from agentring.testing.effect import Effect, EffectCall
from agentring.testing.ended_turn import Step, ToolUse, Turn
from agentring.testing.errors import CrashFound, QuestionUnanswered, TurnNotAsExpected, TurnTimeout
from agentring.testing.fake_model import FakeModel

__all__ = [
    "AgentTest",
    "ClusterTest",
    "CrashFound",
    "CrashReport",
    "Effect",
    "EffectCall",
    "FakeModel",
    "QuestionUnanswered",
    "Reply",
    "Step",
    "TestClock",
    "ToolUse",
    "Turn",
    "TurnNotAsExpected",
    "TurnTimeout",
]
