"""The caller of a turn: kept for one that waits and for one that is run again."""

from collections.abc import AsyncIterator

from agent_node.run.call_terms import CallTerms
from agentring.agent import AgentEvent, Context
from agentring.ids import Epoch
from agentring.v1 import session_pb2
from harness.premises import Stage
from harness.sessions import EPOCH, acting
from harness.stores import RecordingStore


async def caller(ctx: Context) -> AsyncIterator[AgentEvent]:
    yield ctx.caller.metadata.get("x-user", "nobody")


async def test_the_next_owner_knows_the_caller_of_a_turn_that_ran_and_of_one_that_waited() -> None:
    stage, store = Stage(), RecordingStore()
    turns = {"cut": (("x-user", "ada"),), "waits": (("x-user", "bob"),), "plain": ()}
    async with acting(stage.held, store=store) as lost:
        for turn_id, metadata in turns.items():
            sent = session_pb2.Input(text="hi")
            await lost.session.submit(turn_id, sent, session_pb2.ON_BUSY_ENQUEUE, terms=CallTerms(metadata))
        await lost.until(lambda: "text_delta cut" in lost.kinds)
        # The same turn again, by somebody else, is the first one's.
        again = session_pb2.Input(text="hi")
        other = (("x-user", "eve"),)
        _, fresh = await lost.session.submit("waits", again, session_pb2.ON_BUSY_ENQUEUE, terms=CallTerms(other))
        assert not fresh
    async with acting(caller, store=store, epoch=Epoch(EPOCH + 1)) as next_owner:
        await next_owner.until_ended(*turns)
        texts = {
            each: "".join(event.text_delta.text for event in next_owner.events() if event.turn_id == each)
            for each in turns
        }
    assert texts == {"cut": "ada", "waits": "bob", "plain": "nobody"}
