"""A conversation over a server that fails as it is told to: resent turns, waits, errors, questions."""

import io
from collections.abc import AsyncIterator, Awaitable, Callable

import pytest
import pytest_asyncio
from grpc import aio
from rich.console import Console

from agentring.cli import conversation as under_test
from agentring.cli.conversation import Conversation
from agentring.cli.errors import CallFailed
from agentring.cli.screen import Screen
from agentring.errors import AgentringError, NoNodes, SessionClosed, SessionMoving
from agentring.rpc.status import trailers
from agentring.v1.session_pb2 import (
    ConverseRequest,
    ConverseResponse,
    Event,
    GoAway,
    InputRequired,
    Open,
    Opened,
    TextDelta,
    TurnCancelled,
    TurnCompleted,
    TurnFailed,
    TurnRejected,
)
from agentring.v1.session_pb2_grpc import (
    SessionServiceServicer,
    SessionServiceStub,
    add_SessionServiceServicer_to_server,
)

Context = aio.ServicerContext[ConverseRequest, ConverseResponse]
Step = Callable[[Context, ConverseRequest], AsyncIterator[Event]]


class Server(SessionServiceServicer):
    """Answers each frame by the next step of the script."""

    def __init__(self, *script: Step) -> None:
        """The script's steps, one for each frame, over all streams."""
        self._script = list(script)
        self.frames: list[ConverseRequest] = []
        self.tenants: list[str] = []

    async def Converse(
        self, request_iterator: AsyncIterator[ConverseRequest], context: Context
    ) -> AsyncIterator[ConverseResponse]:
        """Plays the script."""
        found = {name: value for name, value in context.invocation_metadata() or () if isinstance(value, str)}
        self.tenants.append(found.get("x-tenant-id", ""))
        await context.send_initial_metadata((("x-agentring-node", "n1"), ("x-agentring-epoch", "5")))
        async for frame in request_iterator:
            self.frames.append(frame)
            async for event in self._script.pop(0)(context, frame):
                yield ConverseResponse(through_seq=0, acked_frame=1, events=[event])


async def opened(context: Context, frame: ConverseRequest) -> AsyncIterator[Event]:
    """The stream is attached."""
    assert frame.open.session_id == "ada"
    yield Event(epoch=5, opened=Opened(session_id="ada", node_id="n1"))


async def answered(context: Context, frame: ConverseRequest) -> AsyncIterator[Event]:
    """The turn completes."""
    turn_id = frame.turn.turn_id
    yield Event(epoch=5, turn_id="another-client's", text_delta=TextDelta(text="not for us"))
    yield Event(epoch=5, turn_id=turn_id, text_delta=TextDelta(text=f"you said {frame.turn.input.text}"))
    yield Event(epoch=5, turn_id="another-client's", turn_completed=TurnCompleted())
    yield Event(epoch=5, turn_id=turn_id, turn_completed=TurnCompleted())


def ended_by(event: Event) -> Step:
    """The turn ends with this."""

    async def step(context: Context, frame: ConverseRequest) -> AsyncIterator[Event]:
        event.turn_id = frame.turn.turn_id
        yield event

    return step


def failing(error: AgentringError) -> Step:
    """The stream ends with an error of agentring's."""

    async def step(context: Context, frame: ConverseRequest) -> AsyncIterator[Event]:
        if frame.HasField("turn"):
            yield Event(epoch=5, turn_id=frame.turn.turn_id, text_delta=TextDelta(text="you said"))
        context.set_trailing_metadata(trailers(error))
        await context.abort(error.code, error.sentence)

    return step


async def leaving(context: Context, frame: ConverseRequest) -> AsyncIterator[Event]:
    """The router asks to open another stream."""
    yield Event(go_away=GoAway(reason="ROUTER_STOPPING"))


class Talk:
    """A conversation with a scripted server, and what it shows."""

    def __init__(self, address: str, channel: aio.Channel, server: Server) -> None:
        """Nothing is sent yet."""
        self.server = server
        self.file = io.StringIO()
        screen = Screen(Console(file=self.file, markup=False, highlight=False, width=200), "ada")
        opening = Open(session_id="ada", agent="assistant")
        self.conversation = Conversation(SessionServiceStub(channel), address, opening, "acme", screen)

    async def say(self, text: str) -> bool:
        """Runs a turn; questions are answered with `blue`."""

        async def ask() -> str | None:
            return "blue"

        return await self.conversation.run_turn(text, ask)

    @property
    def shown(self) -> list[str]:
        """The lines that were shown."""
        return self.file.getvalue().splitlines()

    @property
    def turn_ids(self) -> list[str]:
        """The turns that arrived."""
        return [frame.turn.turn_id for frame in self.server.frames if frame.HasField("turn")]


@pytest_asyncio.fixture
async def talk(monkeypatch: pytest.MonkeyPatch) -> AsyncIterator[Callable[..., Awaitable[Talk]]]:
    """Starts scripted servers and conversations with them."""
    monkeypatch.setattr(under_test, "_FIRST_WAIT_S", 0.001)
    talks: list[tuple[Talk, aio.Channel, aio.Server]] = []

    async def start(*script: Step) -> Talk:
        server = aio.server()
        servicer = Server(*script)  # type: ignore[abstract]  # the other methods stay unimplemented
        add_SessionServiceServicer_to_server(servicer, server)
        address = f"127.0.0.1:{server.add_insecure_port('127.0.0.1:0')}"
        await server.start()
        channel = aio.insecure_channel(address)
        talks.append((Talk(address, channel, servicer), channel, server))
        return talks[-1][0]

    yield start
    for one, channel, server in talks:
        await one.conversation.close()
        await channel.close()
        await server.stop(None)


async def test_turns_run_on_one_stream(talk: Callable[..., Awaitable[Talk]]) -> None:
    one = await talk(opened, answered, answered)
    await one.conversation.attach()
    assert await one.say("hello")
    assert await one.say("bye")
    assert one.shown == ["ada is on n1, epoch 5", "you said hello", "you said bye"]
    assert one.server.tenants == ["acme"]
    assert len(set(one.turn_ids)) == 2


async def test_an_unanswered_turn_is_sent_again_under_its_id(talk: Callable[..., Awaitable[Talk]]) -> None:
    moving = failing(SessionMoving())
    one = await talk(opened, moving, moving, moving, opened, answered)
    assert await one.say("hello")
    assert one.shown == ["ada is on n1, epoch 5", "you said", "(SESSION_MOVING; trying again)", " hello"]
    assert len(one.turn_ids) == 2
    assert len(set(one.turn_ids)) == 1


async def test_a_session_that_is_moving_at_first_is_waited_for(talk: Callable[..., Awaitable[Talk]]) -> None:
    one = await talk(failing(SessionMoving()), opened)
    await one.conversation.attach()
    assert one.shown == ["(SESSION_MOVING; trying again)", "ada is on n1, epoch 5"]


async def test_a_router_that_leaves_is_left(talk: Callable[..., Awaitable[Talk]]) -> None:
    one = await talk(opened, leaving, opened, answered)
    assert await one.say("hello")
    assert one.shown == ["ada is on n1, epoch 5", "(ROUTER_STOPPING; trying again)", "you said hello"]
    assert len(set(one.turn_ids)) == 1


async def test_an_error_that_waiting_does_not_mend_is_told(talk: Callable[..., Awaitable[Talk]]) -> None:
    one = await talk(opened, failing(SessionClosed()))
    with pytest.raises(CallFailed, match=r"^FAILED_PRECONDITION SESSION_CLOSED: the session is closed"):
        await one.say("hello")


async def test_one_that_stays_unavailable_is_told_in_the_end(
    talk: Callable[..., Awaitable[Talk]], monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(under_test, "RECONNECT_S", 0.0)
    one = await talk(*[failing(NoNodes())] * 2)
    with pytest.raises(CallFailed, match=r"^UNAVAILABLE NO_NODES: no node is there"):
        await one.conversation.attach()


async def test_an_address_where_nobody_answers_is_told_at_once(talk: Callable[..., Awaitable[Talk]]) -> None:
    one = await talk()
    async with aio.insecure_channel("127.0.0.1:1") as nowhere:
        lost = Talk("127.0.0.1:1", nowhere, one.server)
        with pytest.raises(CallFailed, match=r"^UNAVAILABLE: .* \(router 127\.0\.0\.1:1\)$"):
            await lost.conversation.attach()


@pytest.mark.parametrize(
    ("end", "line"),
    [
        (
            Event(turn_failed=TurnFailed(reason="AGENT_ERROR", error_id="e1")),
            "the turn failed: AGENT_ERROR, error_id e1",
        ),
        (Event(turn_cancelled=TurnCancelled(reason="CLIENT")), "the turn was cancelled: CLIENT"),
        (Event(turn_rejected=TurnRejected(reason="MAILBOX_FULL")), "the turn was rejected: MAILBOX_FULL"),
    ],
)
async def test_a_turn_that_does_not_complete_is_told_and_the_stream_goes_on(
    talk: Callable[..., Awaitable[Talk]], end: Event, line: str
) -> None:
    one = await talk(opened, ended_by(end), answered)
    assert not await one.say("hello")
    assert await one.say("hello")
    assert one.shown == ["ada is on n1, epoch 5", line, "you said hello"]


async def test_an_agents_question_is_answered_with_the_next_line(talk: Callable[..., Awaitable[Talk]]) -> None:
    turn_ids: list[str] = []

    async def asking(context: Context, frame: ConverseRequest) -> AsyncIterator[Event]:
        turn_ids.append(frame.turn.turn_id)
        yield Event(turn_id=turn_ids[0], input_required=InputRequired(input_id="q1", prompt="which colour?"))

    async def told(context: Context, frame: ConverseRequest) -> AsyncIterator[Event]:
        assert (frame.reply.input_id, frame.reply.input.text) == ("q1", "blue")
        yield Event(turn_id=turn_ids[0], turn_completed=TurnCompleted())

    one = await talk(opened, asking, told)
    assert await one.say("hello")
    assert one.shown == ["ada is on n1, epoch 5", "which colour?"]
