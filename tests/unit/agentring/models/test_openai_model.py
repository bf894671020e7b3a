"""A model behind a local endpoint that answers well, badly, or not at all."""

import asyncio
import json
from collections.abc import AsyncIterator
from typing import Any

import pytest

from agentring.models import ModelFailed, OpenAIModel, Reply, ToolCall, ToolSpec, Usage, user
from harness.fake_endpoint import Answer, Exchange, FakeEndpoint
from harness.model_answers import breaks_off, calls, ends_early, fails, is_silent, says, sends

KEY = "sk-very-secret"
MESSAGES = [user("hello")]


async def answered(answer: Answer, **options: Any) -> tuple[list[str], Reply]:
    """The pieces and the reply of one try."""
    async with FakeEndpoint(answer) as endpoint:
        return await read(endpoint, **options)


async def read(endpoint: FakeEndpoint, tools: tuple[ToolSpec, ...] = (), **options: Any) -> tuple[list[str], Reply]:
    model = OpenAIModel("m", base_url=endpoint.base_url, api_key=KEY, **options)
    try:
        *pieces, reply = [piece async for piece in model.stream(MESSAGES, tools)]
        assert isinstance(reply, Reply)
        return [str(piece) for piece in pieces], reply
    finally:
        await model.close()


async def failure(answer: Answer, **options: Any) -> ModelFailed:
    """What one try raises."""
    with pytest.raises(ModelFailed) as raised:
        await answered(answer, **options)
    assert KEY not in str(raised.value)
    return raised.value


async def test_text_comes_in_pieces_and_usage_at_the_end() -> None:
    pieces, reply = await answered(says("you ", "said ", "héllo", read=20, cached=7))
    assert pieces == ["you ", "said ", "héllo"]
    assert reply == Reply("you said héllo", (), Usage(20, 3, 7, 1), "stop")


async def test_the_request_has_the_messages_the_tools_and_the_options() -> None:
    tool = ToolSpec("look", "Looks.", {"type": "object", "properties": {"at": {"type": "string"}}})
    async with FakeEndpoint(says("x")) as endpoint:
        await read(endpoint, (tool,), options={"temperature": 0})
    (request,) = endpoint.requests
    assert request == {
        "model": "m",
        "messages": MESSAGES,
        "stream": True,
        "stream_options": {"include_usage": True},
        "temperature": 0,
        "tools": [
            {"type": "function", "function": {"name": "look", "description": "Looks.", "parameters": tool.parameters}}
        ],
    }
    assert endpoint.exchanges[0].headers["authorization"] == f"Bearer {KEY}"


async def test_an_endpoint_of_one_s_own_needs_no_key_and_no_usage(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.delenv("OPENAI_API_KEY", raising=False)
    async with FakeEndpoint(says("x")) as endpoint:
        model = OpenAIModel("m", base_url=endpoint.base_url, asks_for_usage=False)
        assert "x" in [piece async for piece in model.stream(MESSAGES)]
        await model.close()
    assert "stream_options" not in endpoint.requests[0]


async def test_without_key_and_endpoint_nothing_is_sent(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.delenv("OPENAI_API_KEY", raising=False)
    monkeypatch.delenv("OPENAI_BASE_URL", raising=False)
    with pytest.raises(ModelFailed, match="there is no key; set OPENAI_API_KEY, or OPENAI_BASE_URL to"):
        [piece async for piece in OpenAIModel("m").stream(MESSAGES)]


async def test_tool_calls_split_over_chunks_are_put_together() -> None:
    pieces, reply = await answered(calls(("look", {"at": "Oslo"}), ("count", {"to": 3}), text="I look. "))
    assert pieces == ["I look. "]
    first, second = reply.tool_calls
    assert (first.name, first.arguments()) == ("look", {"at": "Oslo"})
    assert (second.call_id, second.name, second.arguments()) == ("call-1-1", "count", {"to": 3})
    assert reply.finish_reason == "tool_calls"


async def test_huge_pieces_and_slow_drips_arrive_as_they_are() -> None:
    huge = "é" * 600_000
    assert await answered(says(huge)) == ([huge], Reply(huge, (), Usage(10, 1, 0, 1), "stop"))
    whole = b'data: {"choices": [{"delta": {"content": "d\xc3\xa9"}, "finish_reason": "stop"}]}\n\n'
    pieces, reply = await answered(sends(*(whole[at : at + 1] for at in range(len(whole)))))
    assert (pieces, reply.text) == (["dé"], "dé")


@pytest.mark.parametrize(
    ("answer", "problem"),
    [
        (breaks_off("half "), "the stream broke off"),
        (breaks_off(), "the stream broke off"),
        (ends_early("half "), "the stream ended before the answer did"),
        (sends(), "the stream ended before the answer did"),
        (sends(b"data: {\n\n"), "a malformed chunk"),
        (sends(b"data: \xff\xfe\n\n"), "a malformed chunk"),
        (sends(b"data: 5\n\n"), "the stream ended before"),
        (sends(b'data: {"choices": 5}\n\n'), "no list"),
        (sends(b'data: {"choices": [{}]}\n\n'), "without a delta"),
        (sends(b'data: {"choices": [{"delta": {"content": 5}}]}\n\n'), "text that is no text"),
        (sends(b'data: {"choices": [{"delta": {"tool_calls": [{"index": 0}]}, "finish_reason": "stop"}]}\n\n'), "name"),
        (sends(b'data: {"error": {"message": "overloaded"}}\n\n'), "ended with the error overloaded"),
    ],
)
async def test_what_is_no_whole_answer_may_be_tried_again_and_counts_as_a_call(answer: Answer, problem: str) -> None:
    error = await failure(answer)
    assert problem in str(error)
    assert (error.is_retryable, error.model_calls, error.status) == (True, 1, None)


async def test_what_the_stream_says_is_wrong_with_the_request_is_not_tried_again() -> None:
    error = await failure(sends(b'data: {"error": {"message": "too long", "code": "context_length_exceeded"}}\n\n'))
    assert not error.is_retryable


async def test_a_rate_limit_says_how_long_to_wait() -> None:
    assert (await failure(fails(429, retry_after="7"))).retry_after_s == 7
    assert (await failure(fails(429, retry_after_ms="1500"))).retry_after_s == 1.5
    assert (await failure(fails(429, retry_after="Thu, 01 Jan 1970 00:00:00 GMT"))).retry_after_s == 0
    for nonsense in ("soon", "nan", "-3", "inf", ""):
        error = await failure(fails(429, retry_after=nonsense))
        assert (error.retry_after_s, error.is_retryable, error.status, error.model_calls) == (None, True, 429, 0)


async def test_an_account_without_money_is_no_rate_limit() -> None:
    error = await failure(fails(429, "you have no credit", code="insufficient_quota"))
    assert not error.is_retryable
    assert "billing" in str(error)


@pytest.mark.parametrize(
    ("status", "is_retryable"), [(400, False), (401, False), (404, False), (500, True), (503, True)]
)
async def test_an_error_says_endpoint_model_status_and_what_to_do(status: int, is_retryable: bool) -> None:
    async with FakeEndpoint(fails(status, f"the key {KEY} is bad\n")) as endpoint:
        with pytest.raises(ModelFailed) as raised:
            await read(endpoint)
    text = str(raised.value)
    assert text.startswith(f"the model m at {endpoint.base_url} did not answer: HTTP {status}, ")
    assert KEY not in text
    assert "***" in text
    assert raised.value.is_retryable == is_retryable
    assert is_retryable == (raised.value.advice == "")


async def test_what_listens_nowhere_is_told_with_its_address() -> None:
    async with FakeEndpoint() as endpoint:
        gone = endpoint.base_url
    model = OpenAIModel("m", base_url=gone.replace("http://", "http://user:pass-word@"), api_key=KEY)
    with pytest.raises(ModelFailed, match="there is no connection") as raised:
        [piece async for piece in model.stream(MESSAGES)]
    await model.close()
    assert gone in str(raised.value)
    assert "pass-word" not in str(raised.value) + repr(model)
    assert raised.value.is_retryable


async def test_an_endpoint_that_is_silent_or_slow_is_left() -> None:
    assert "nothing came within 0.05 s" in str(await failure(is_silent(), silence_s=0.05))
    error = await failure(is_silent("half "), silence_s=0.05)
    assert (error.is_retryable, error.model_calls) == (True, 1)
    assert "did not end within 0.05 s" in str(await failure(is_silent("half "), timeout_s=0.05))


async def test_more_than_the_most_bytes_is_an_error() -> None:
    async def endless(exchange: Exchange) -> None:
        while True:
            await exchange.delta(content="x" * 500_000)

    error = await failure(endless)
    assert "more than 4194304 bytes" in str(error)
    assert (error.is_retryable, error.model_calls) == (False, 1)


async def test_a_stream_that_is_left_closes_its_connection() -> None:
    closed = asyncio.Event()

    async def answer(exchange: Exchange) -> None:
        try:
            while True:
                await exchange.delta(content="half ")
                await asyncio.sleep(0)
        finally:
            closed.set()

    async with FakeEndpoint(answer) as endpoint:
        model = OpenAIModel("m", base_url=endpoint.base_url, api_key=KEY)
        stream: AsyncIterator[Any] = model.stream(MESSAGES)
        assert await anext(stream) == "half "
        await stream.aclose()  # type: ignore[attr-defined]
        await closed.wait()
        await model.close()


async def test_arguments_that_are_no_json_are_told_to_the_model() -> None:
    with pytest.raises(ValueError, match="the arguments of f are not valid JSON"):
        ToolCall("1", "f", "{").arguments()
    with pytest.raises(ValueError, match="must be a JSON object"):
        ToolCall("1", "f", "[1]").arguments()
    assert ToolCall("1", "f", "").arguments() == {}


def test_a_reply_is_the_same_after_json() -> None:
    reply = Reply("a", (ToolCall("1", "f", "{"),), Usage(1, 2, 3, 4), "tool_calls")
    assert Reply.from_json(reply.text, json.loads(json.dumps(reply.to_json()))) == reply
    assert Reply.from_json("", json.loads(json.dumps(Reply("").to_json()))) == Reply("")


@pytest.mark.parametrize("status", [200, 500])
async def test_what_has_no_end_is_given_up(monkeypatch: pytest.MonkeyPatch, status: int) -> None:
    """An endpoint that sends one line for ever would fill the memory until the time is over."""
    monkeypatch.setattr("agentring.models.bounded_answers.MOST_LINE_BYTES", 1 << 20)

    async def endless(exchange: Exchange) -> None:
        head = f"HTTP/1.1 {status} x\r\nContent-Type: text/event-stream\r\nConnection: close\r\n\r\ndata: "
        await exchange.raw(head.encode())
        while True:
            await exchange.raw(b"x" * (64 << 10))

    error = await failure(endless)
    assert "more than 1048576 bytes without an end" in str(error)
    assert not error.is_retryable
