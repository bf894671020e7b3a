"""A model behind any endpoint that speaks OpenAI's chat completions, by the `openai` package (extra `openai`).

Guarantees: the package is imported with the first call; it retries nothing by itself, since tries.py has the one
policy; a try ends within timeout_s, and within silence_s of the last that came; its connection is closed however it
ends.
"""

from __future__ import annotations

import asyncio
from collections.abc import AsyncIterator, Mapping, Sequence
from typing import TYPE_CHECKING, Any
from urllib.parse import urlsplit
from weakref import WeakKeyDictionary

from agentring.models.assembly import AssembledReply, BadChunk, TooLong
from agentring.models.bounded_answers import Endless, bounding
from agentring.models.errors import ModelFailed
from agentring.models.messages import Message
from agentring.models.openai_errors import Failures
from agentring.models.reply import ModelTool, Reply

if TYPE_CHECKING:
    import openai

_OPENAI = "api.openai.com"


class OpenAIModel:
    """A model by its name at an endpoint, for `agentring.models.stream` and `complete`.

        model = OpenAIModel("gpt-4.1-mini")
        model = OpenAIModel("qwen3:8b", base_url="http://127.0.0.1:11434/v1")

    Make one and keep it, in a module say: it holds the connections. It may be used from several event loops.
    """

    def __init__(
        self,
        name: str,
        *,
        base_url: str = "",
        api_key: str = "",
        timeout_s: float = 600.0,
        silence_s: float = 120.0,
        options: Mapping[str, Any] | None = None,
        asks_for_usage: bool = True,
    ) -> None:
        """base_url, api_key: where they are empty the openai package takes OPENAI_BASE_URL, else OpenAI's own, and
        OPENAI_API_KEY; an endpoint of your own needs no key. timeout_s: of one try, from its request to
        the answer's end. silence_s: the longest time in which nothing comes. options: more of the request, as in
        {"temperature": 0}. asks_for_usage: False for endpoints that refuse `stream_options`. Raises ValueError.
        """
        if not name:
            raise ValueError("a model has a name, as in gpt-4.1-mini")
        if timeout_s <= 0 or silence_s <= 0:
            raise ValueError("timeout_s and silence_s are more than 0 seconds")
        self.name = name
        self._base_url = base_url
        self._api_key = api_key
        self._timeout_s = timeout_s
        self._silence_s = silence_s
        self._options = dict(options or {})
        self._asks_for_usage = asks_for_usage
        self._failures = self._failures_at(base_url, api_key)
        self._clients: WeakKeyDictionary[asyncio.AbstractEventLoop, openai.AsyncOpenAI] = WeakKeyDictionary()

    def __repr__(self) -> str:
        """Without the key."""
        return f"OpenAIModel({self.name!r})"

    async def stream(self, messages: Sequence[Message], tools: Sequence[ModelTool] = ()) -> AsyncIterator[str | Reply]:
        """As Model."""
        deadline_s = asyncio.get_running_loop().time() + self._timeout_s
        answer = AssembledReply()
        chunks: openai.AsyncStream[Any] | None = None
        try:
            client = await self._client()
            async with asyncio.timeout_at(deadline_s):
                chunks = await client.chat.completions.create(**self._request(messages, tools))
            while True:
                async with asyncio.timeout_at(deadline_s):
                    chunk = await anext(chunks, None)
                if chunk is None:
                    break
                if text := answer.take(chunk):
                    yield text
            reply = answer.finish()
        except Exception as error:
            raise self._failure(error, has_begun=chunks is not None) from None
        finally:
            if chunks is not None:
                await chunks.close()
        yield reply

    async def close(self) -> None:
        """Closes the connections of this event loop; calls that are under way fail."""
        if (client := self._clients.pop(asyncio.get_running_loop(), None)) is not None:
            await client.close()

    def _request(self, messages: Sequence[Message], tools: Sequence[ModelTool]) -> dict[str, Any]:
        request: dict[str, Any] = {"model": self.name, "messages": list(messages), "stream": True}
        if self._asks_for_usage:
            request["stream_options"] = {"include_usage": True}
        if tools:
            request["tools"] = [
                {
                    "type": "function",
                    "function": {"name": tool.name, "description": tool.description, "parameters": tool.parameters},
                }
                for tool in tools
            ]
        return request | self._options

    async def _client(self) -> openai.AsyncOpenAI:
        loop = asyncio.get_running_loop()
        if (client := self._clients.get(loop)) is None:
            # On a thread: importing the package, and reading the certificates, takes a second of a busy machine.
            client = self._clients.setdefault(loop, await asyncio.to_thread(self._connect))
        return client

    def _connect(self) -> openai.AsyncOpenAI:
        try:
            import openai
        except ImportError:
            advice = "pip install 'agentring[openai]'"
            raise self._failures.refused("the package openai is not installed", advice) from None
        try:
            client = self._made(openai, self._api_key or None)
        except openai.OpenAIError:  # there is no key
            client = self._made(openai, "none")
            if client.base_url.host == _OPENAI:
                advice = "set OPENAI_API_KEY, or OPENAI_BASE_URL to an endpoint that needs none"
                raise self._failures.refused("there is no key", advice) from None
        self._failures = self._failures_at(str(client.base_url), client.api_key)
        return client

    def _made(self, package: Any, api_key: str | None) -> openai.AsyncOpenAI:
        timeout = package.Timeout(self._silence_s, connect=min(self._silence_s, 10.0))
        client_type = package.DefaultAsyncHttpxClient
        http_client = client_type(timeout=timeout, event_hooks={"response": [bounding(client_type)]})
        made: openai.AsyncOpenAI = package.AsyncOpenAI(
            api_key=api_key, base_url=self._base_url or None, max_retries=0, timeout=timeout, http_client=http_client
        )
        return made

    def _failures_at(self, base_url: str, api_key: str) -> Failures:
        parts = urlsplit(base_url)
        endpoint = (
            f"{parts.scheme}://{parts.netloc.rpartition('@')[2]}{parts.path}" if base_url else "OpenAI's endpoint"
        )
        return Failures(self.name, endpoint.rstrip("/"), (api_key, parts.password or "", parts.query))

    def _failure(self, error: Exception, *, has_begun: bool) -> ModelFailed:
        if isinstance(error, ModelFailed):
            return error
        import openai

        failures = self._failures
        match error:
            case openai.APITimeoutError():
                return failures.silent(f"nothing came within {self._silence_s:g} s", has_begun=has_begun)
            case TimeoutError():
                return failures.silent(f"it did not end within {self._timeout_s:g} s", has_begun=has_begun)
            case openai.APIStatusError():
                return failures.of_status(error)
            case openai.APIConnectionError():
                why = "the stream broke off" if has_begun else "there is no connection"
                return failures.broken(f"{why} ({type(error.__cause__).__name__})", has_begun=has_begun)
            case openai.APIError() if has_begun:
                return failures.in_stream(error)
            case Endless():
                return failures.refused(str(error), "look whether this is a model's endpoint", has_begun=has_begun)
            case TooLong():
                advice = "ask for less, by max_completion_tokens of the options say"
                return failures.refused(str(error), advice, has_begun=True)
            case BadChunk():
                return failures.broken(str(error), has_begun=True)
        if has_begun:  # what is no JSON, no UTF-8, or another shape than the package takes
            return failures.broken(f"a malformed chunk ({type(error).__name__})", has_begun=True)
        return failures.refused(f"{type(error).__name__}: {error}", "look at the messages and the model's options")
