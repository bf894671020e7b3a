"""A turn without a node: what the tests of the agents run them on."""

import json
from collections.abc import AsyncIterator, Awaitable, Callable, Mapping, Sequence
from contextlib import AbstractContextManager, nullcontext
from dataclasses import dataclass, field
from datetime import UTC, datetime
from typing import Any, Self
from uuid import UUID

from agent_node.run.agent_log import AgentLog
from agentring.agent import (
    Agent,
    Answer,
    Caller,
    JsonObject,
    Log,
    Message,
    NobodyToAsk,
    Part,
    PastTurn,
    Result,
    Retry,
    StepFailed,
    StepStream,
    Tool,
    Usage,
)
from agentring.ids import Epoch, NodeId

NODE = NodeId("node-1")
EPOCH = Epoch(7)


@dataclass
class FakeContext:
    """A Context whose every answer the test chooses; it records the tool calls, and holds them to JSON."""

    input_text: str = ""
    input_data: JsonObject = field(default_factory=dict)
    state: Any = field(default_factory=dict)
    history: Sequence[PastTurn] = ()
    turn_number: int = 1
    attempt: int = 1
    node_id: NodeId = NODE
    fencing_token: Epoch = EPOCH
    idempotency_key: str = "turn-1"
    agent: str = "tested"
    tenant: str = "default"
    session_id: str = "s"
    task_key: str = ""
    turn_id: str = "t"
    settings: Any = None
    resources: Any = None
    caller: Caller = field(default_factory=lambda: Caller("default"))
    log: Log = field(default_factory=lambda: AgentLog({}))
    emitted: list[tuple[str, Any]] = field(default_factory=list)
    """Name and data of each event of the agent's own."""
    tool_calls: list[tuple[str, JsonObject, Any]] = field(default_factory=list)
    """Name, arguments and answer of each call."""
    answers: list[str] | None = field(default_factory=list)
    """What the user will answer, in order; None: there is no user."""
    input_parts: Sequence[Part] = ()
    past: Sequence[Message] = ()
    asked: list[str] = field(default_factory=list)
    """The questions."""
    usage: Usage = field(default_factory=Usage)
    """What was counted."""

    def emit(self, name: str, data: Any = None) -> None:
        """Records it, through JSON."""
        self.emitted.append((name, through_json(data)))

    storage: Any = None
    """None of these agents has any."""

    async def messages(self, *, limit: int = 50, before: int | None = None) -> AsyncIterator[Message]:
        for message in self.past[-limit:]:
            yield message

    async def ask(self, prompt: str, *, schema: JsonObject | None = None) -> Answer:
        """Answers at once."""
        if self.answers is None:
            raise NobodyToAsk
        self.asked.append(prompt)
        return Answer(self.answers.pop(0), {})

    async def tool(self, name: str, function: Callable[..., Awaitable[Any]], /, **arguments: Any) -> Any:
        """Calls the function with arguments and answer that have been through JSON."""
        answer = through_json(await function(**through_json(arguments)))
        self.tool_calls.append((name, arguments, answer))
        return answer

    async def call_tool(
        self, tool: Tool[..., Any], arguments: Mapping[str, Any] | str, /, *, key: str | None = None
    ) -> Any:
        """Calls the tool's function with arguments that were checked."""
        return through_json(await tool.function(**tool.check(arguments).values))

    async def once(
        self,
        key: str,
        function: Callable[..., Awaitable[Any]],
        /,
        *,
        timeout_s: float = 60.0,
        idempotent: bool = True,
        args: Mapping[str, Any] | None = None,
    ) -> Any:
        """Runs the step, which is the first and only one of its key."""
        return through_json(await function(**(args or {}), idempotency_key=key, fencing_token=self.fencing_token))

    async def step(
        self,
        name: str,
        function: Callable[..., Awaitable[Any]],
        /,
        *args: Any,
        key: str | None = None,
        idempotent: bool = True,
        retry: Retry | None = None,
        timeout_s: float | None = None,
        pure: bool = False,
        returns: Any = None,
        **kwargs: Any,
    ) -> Any:
        """Calls the function, once, and returns a result that has been through JSON."""
        return through_json(await function(*args, **kwargs))

    def add_usage(self, usage: Usage) -> None:
        """Adds."""
        self.usage += usage

    def stream_step(
        self, name: str, function: Callable[..., Any], /, *args: Any, key: str | None = None, **options: Any
    ) -> StepStream:
        """Hands on the pieces of the function, and at the end its last value that has been through JSON."""
        return FakeStream(name, function(*args))

    def scope(self, name: str, *, resumes: bool = False) -> AbstractContextManager[None]:
        """Changes nothing."""
        return nullcontext()

    async def now(self) -> datetime:
        """Always the same."""
        return datetime(2026, 1, 2, 3, 4, 5, tzinfo=UTC)

    def uuid(self) -> UUID:
        """Always the same."""
        return UUID(int=1)

    def random(self) -> float:
        """Always the same."""
        return 0.5


class FakeStream:
    """A StepStream that records nothing."""

    def __init__(self, name: str, source: AsyncIterator[Any]) -> None:
        self._name = name
        self._source = source
        self.result: Any = None

    def __aiter__(self) -> Self:
        """Itself."""
        return self

    async def __anext__(self) -> str:
        """The next piece."""
        try:
            async for piece in self._source:
                if isinstance(piece, str):
                    return piece
                self.result = through_json(piece)
        except Exception as error:
            raise StepFailed(self._name, type(error).__name__, str(error)) from error
        raise StopAsyncIteration

    async def aclose(self) -> None:
        """Leaves it."""
        await self._source.aclose()  # type: ignore[attr-defined]

    async def __aenter__(self) -> Self:
        """Itself."""
        return self

    async def __aexit__(self, *_: object) -> None:
        """Leaves it."""
        await self.aclose()


def through_json(value: Any) -> Any:
    """The value after a round trip; fails for what is not JSON."""
    return json.loads(json.dumps(value, allow_nan=False))


async def run_agent(agent: Agent, ctx: FakeContext) -> tuple[list[str], JsonObject]:
    """The pieces that the agent streams, and its one result, which must come last."""
    events = [event async for event in agent(ctx)]
    *pieces, result = events
    assert isinstance(result, Result)
    texts = [piece for piece in pieces if isinstance(piece, str)]
    assert texts == pieces
    data: JsonObject = through_json(dict(result.data))
    return texts, data
