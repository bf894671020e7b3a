"""What a stream learns of a turn whose events are lost."""

from collections.abc import AsyncIterator

from agent_node.session.session import Session
from agentring.agent import AgentEvent, Context
from harness.sessions import acting, kind_of


async def test_the_end_of_a_turn_can_be_sent_when_the_log_has_dropped_it() -> None:
    async def talking(ctx: Context) -> AsyncIterator[AgentEvent]:
        yield "x" * int(ctx.input_text)

    async with acting(talking) as actor:
        session: Session = actor.session
        session.log._max_bytes = 64 << 10
        await actor.submit("a", "1")
        await actor.until_ended("a")
        first = session.turn("a")
        assert session.missing.of(first) == []
        await actor.submit("b", str(1 << 18))
        await actor.until_ended("b")
        gap, outcome = session.missing.of(first)
        assert (gap.first_seq, gap.seq, gap.HasField("gap")) == (first.accepted_seq, outcome.seq - 1, True)
        assert (outcome.turn_id, kind_of(outcome), outcome.seq) == ("a", "turn_completed", first.end_seq)
        assert session.missing.of(session.turn("b")) == []
