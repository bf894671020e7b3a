"""Answers to an agent's questions: safe once acknowledged, sent again where that is not known."""

from collections.abc import AsyncIterator

import pytest
from grpc import StatusCode, aio

from agentring.client import RetryPolicy, UnknownFailure, connect
from agentring.errors import InputNotFound
from agentring.v1.session_pb2 import ConverseRequest, ConverseResponse, Event, TurnRejected
from agentring.v1.session_pb2_grpc import SessionServiceServicer
from harness.breaking import serving

Context = aio.ServicerContext[ConverseRequest, ConverseResponse]


class Questions(SessionServiceServicer):
    """Deals with each stream's answer as the script says: taken, unwanted, or lost once it was taken."""

    def __init__(self, *script: str) -> None:
        self._script = list(script)
        self.answers: list[tuple[str, str, str]] = []

    async def Converse(
        self, request_iterator: AsyncIterator[ConverseRequest], context: Context
    ) -> AsyncIterator[ConverseResponse]:
        """One answer a stream."""
        opening = await anext(aiter(request_iterator))
        yield ConverseResponse(through_seq=4, acked_frame=1)
        answer = (await anext(aiter(request_iterator))).reply
        self.answers.append((opening.open.session_id, answer.input_id, answer.input.text))
        match self._script.pop(0):
            case "lost":
                await context.abort(StatusCode.UNAVAILABLE, "Socket closed")
            case "unwanted":
                rejected = TurnRejected(reason="INPUT_NOT_FOUND", frame=2)
                yield ConverseResponse(through_seq=4, acked_frame=1, events=[Event(turn_rejected=rejected)])
            case "limited":
                rejected = TurnRejected(reason="QUOTA", frame=2, detail="what=bytes_in_per_s")
                rejected.retry_delay.FromMilliseconds(1)
                yield ConverseResponse(through_seq=4, acked_frame=1, events=[Event(turn_rejected=rejected)])
        yield ConverseResponse(through_seq=4, acked_frame=2)


@pytest.mark.parametrize("script", [("taken",), ("lost", "taken"), ("lost", "lost", "taken")])
async def test_an_answer_is_sent_until_it_is_safe(script: tuple[str, ...]) -> None:
    questions = Questions(*script)  # type: ignore[abstract]  # the other methods are not served
    async with serving(questions) as address, connect(address, policy=RetryPolicy(jitter=lambda: 0.0)) as ring:
        await ring.session("ada", agent="asking").reply("q1", "yes")
    assert questions.answers == [("ada", "q1", "yes")] * len(script)


@pytest.mark.parametrize("script", [("unwanted",), ("lost", "unwanted")])
async def test_an_answer_that_nobody_waits_for_is_told(script: tuple[str, ...]) -> None:
    questions = Questions(*script)  # type: ignore[abstract]  # as above
    async with serving(questions) as address, connect(address, policy=RetryPolicy(jitter=lambda: 0.0)) as ring:
        with pytest.raises(InputNotFound) as refused:
            await ring.session("ada", agent="asking").reply("q1", "yes")
    assert refused.value.reason == "INPUT_NOT_FOUND"


async def test_an_answer_beyond_a_limit_says_which() -> None:
    questions = Questions("limited")  # type: ignore[abstract]  # as above
    async with serving(questions) as address, connect(address) as ring:
        with pytest.raises(UnknownFailure, match=r"RESOURCE_EXHAUSTED QUOTA: .*what=bytes_in_per_s"):
            await ring.session("ada", agent="asking").reply("q1", "yes")
