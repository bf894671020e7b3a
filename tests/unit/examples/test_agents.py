"""The agents of examples/, as their authors would test them: also wherever a node dies."""

import sqlite3
from collections.abc import Callable
from contextlib import closing
from pathlib import Path

import pytest

from agentring.client.events import Question
from agentring.testing import AgentTest, TurnNotAsExpected
from examples.approval.agent import SCHEMA, approval
from examples.counter.agent import counter
from examples.payment import agent as payment_agent
from examples.payment.agent import payment


async def test_the_counter_adds_up_and_begins_again() -> None:
    async with AgentTest(counter) as t:
        assert (await t.turn()).text == "turn 1: 0 + 1 = 1"
        assert (await t.turn(data={"by": 41})).result == {"count": 42}
        assert (await t.turn("many", fails="AGENT_ERROR")).state == {"count": 42}
        await t.crash_everywhere("8")
        assert (await t.turn("8")).text == "turn 3: 42 + 8 = 50"
        assert (await t.turn("reset")).state == {}


async def test_the_approval_waits_for_a_yes_that_outlives_every_death() -> None:
    async with AgentTest(approval) as t:
        t.answers({"approved": True}, "no")
        turn = await t.turn("pay")
        assert (turn.text, turn.questions, t.state) == ("done: pay", ("May I pay?",), {"approved": ["pay"]})
        assert (await t.turn("leave")).result == {"approved": False, "action": "leave", "so_far": ["pay"]}
        asked: list[object] = []

        def answer(question: Question) -> str:
            asked.append(question.schema)
            return "yes"

        t.answers(answer)
        report = await t.crash_everywhere("pay more")
        assert report.turn.state == {"approved": ["pay", "pay more"]}
        assert asked[0] == SCHEMA
        assert (await t.task("key", "pay")).result == {"approved": False, "action": "pay"}


@pytest.fixture
def charges(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Callable[[], int]:
    """A bank of the test's own, and how many charges it has."""
    bank = tmp_path / "bank.db"
    monkeypatch.setattr(payment_agent, "BANK", bank)

    def count() -> int:
        with closing(sqlite3.connect(bank)) as connection:
            (found,) = connection.execute("SELECT count(*) FROM charges").fetchone()
        return int(found)

    return count


async def test_an_order_is_paid_once_by_whoever_asks(charges: Callable[[], int]) -> None:
    async with AgentTest(payment) as t:
        turn = await t.turn("order-7 1250")
        assert turn.result == {"paid": True, "number": 1, "order": "order-7", "cents": 1250}
        assert (await t.turn("order-7 1250")).text == "paying order-7: 1250 cents, receipt 1"
        assert (await t.turn("order-8 0")).text == "paying order-8: refused, an amount is positive"
    assert charges() == 1


async def test_an_order_is_paid_once_wherever_the_node_dies(charges: Callable[[], int]) -> None:
    for place in range(1, 30):
        async with AgentTest(payment) as t:
            t.crash(at_wait=place)
            try:
                turn = await t.turn(f"order-{place} 1250")
            except TurnNotAsExpected:
                break  # it waits less often
        assert turn.attempts == 2
        assert turn.result is not None
        assert charges() == turn.result["number"] == place
    assert place > 2
