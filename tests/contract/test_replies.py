"""Questions and answers on the wire, through a router and straight to a node's."""

from collections.abc import AsyncIterable, AsyncIterator

from grpc import aio

from agentring.v1 import session_pb2, session_pb2_grpc
from agentring.v1.session_pb2 import ConverseRequest, ConverseResponse, Event
from harness.client import TIMEOUT_S, turn


async def events(call: AsyncIterable[ConverseResponse]) -> AsyncIterator[Event]:
    async for response in call:
        for event in response.events:
            yield event


def answered(input_id: str, text: str) -> ConverseRequest:
    return ConverseRequest(reply=session_pb2.Reply(input_id=input_id, input=session_pb2.Input(text=text)))


async def test_a_question_is_answered_once_on_the_stream(routed: aio.Channel, name: str) -> None:
    call = session_pb2_grpc.SessionServiceStub(routed).Converse(timeout=TIMEOUT_S)
    await call.write(ConverseRequest(open=session_pb2.Open(session_id=name, agent="asking")))
    sent = turn("2")
    await call.write(ConverseRequest(turn=sent))
    ids: list[str] = []
    rejected: list[tuple[str, int]] = []
    text = ""
    async for event in events(call):
        match event.WhichOneof("body"):
            case "input_required":
                ids.append(event.input_required.input_id)
                await call.write(answered(ids[-1], f"answer {len(ids)}"))
                if len(ids) == 1:
                    await call.write(answered(ids[0], "answer 1"))  # the same: nothing is said of it
                    await call.write(answered(ids[0], "another"))
                    await call.write(answered("nobody.1", "?"))
            case "turn_rejected":
                rejected.append((event.turn_rejected.reason, event.turn_rejected.frame))
            case "text_delta":
                text += event.text_delta.text
            case "turn_completed":
                await call.done_writing()
    assert ids == [f"{sent.turn_id}.1", f"{sent.turn_id}.2"]
    assert text == "answer 1 and answer 2"
    assert rejected == [("INPUT_ANSWERED", 5), ("INPUT_NOT_FOUND", 6)]


async def test_a_cancel_ends_a_turn_that_waits_for_an_answer(routed: aio.Channel, name: str) -> None:
    call = session_pb2_grpc.SessionServiceStub(routed).Converse(timeout=TIMEOUT_S)
    await call.write(ConverseRequest(open=session_pb2.Open(session_id=name, agent="asking")))
    sent = turn("1")
    await call.write(ConverseRequest(turn=sent))
    last = Event()
    async for last in events(call):
        if last.HasField("input_required"):
            await call.write(ConverseRequest(cancel=session_pb2.Cancel(turn_id=sent.turn_id)))
            await call.done_writing()
    assert last.turn_cancelled.reason == "CLIENT"
