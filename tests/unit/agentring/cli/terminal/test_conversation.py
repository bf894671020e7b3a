"""A conversation over a server that fails as it is told to: resent turns, errors, questions, and what is shown."""

import io
from collections.abc import AsyncIterator, Awaitable, Callable
from typing import Any

import pytest
import pytest_asyncio
from grpc import aio
from rich.console import Console

from agentring.cli.errors import CallFailed
from agentring.cli.terminal.conversation import Conversation
from agentring.cli.terminal.event_view import EventView
from agentring.client import Attached, RetryPolicy
from agentring.errors import AgentringError, NoNodes, SessionClosed, SessionMoving
from agentring.rpc.status import trailers
from agentring.v1.session_pb2 import (
    ConverseRequest,
    ConverseResponse,
    Event,
    GoAway,
    InputRequired,
    Opened,
    Question,
    RunTurnRequest,
    RunTurnResponse,
    TextDelta,
    TurnAccepted,
    TurnCancelled,
    TurnCompleted,
    TurnFailed,
    TurnStarted,
    WatchSessionRequest,
    WatchSessionResponse,
)
from agentring.v1.session_pb2_grpc import SessionServiceServicer
from harness.breaking import serving

Step = Event | AgentringError
"""What is told next; an error ends the call."""
PLACE = "ada is on n1, epoch 5"
OPENED = Event(epoch=5, opened=Opened(session_id="ada", node_id="n1"))


def words(offset: int, text: str) -> Event:
    return Event(text_delta=TextDelta(offset=offset, text=text))


HELLO = (words(0, "you said"), words(8, " hello"), Event(turn_completed=TurnCompleted(text_bytes=14)))


class Server(SessionServiceServicer):
    """Plays one script a call; an event's seq is its place in it."""

    def __init__(self, *scripts: tuple[Step, ...]) -> None:
        self._scripts = list(scripts)
        self.turn_ids: list[str] = []
        self.answers: list[str] = []
        self.tenants: set[str] = set()

    async def Converse(
        self, request_iterator: AsyncIterator[ConverseRequest], context: "aio.ServicerContext[Any, Any]"
    ) -> AsyncIterator[ConverseResponse]:
        """Opens a session, or takes an answer."""
        frames = [frame async for frame in request_iterator]
        if len(frames) == 2:
            self.answers.append(f"{frames[1].reply.input_id}: {frames[1].reply.input.text}")
            yield ConverseResponse(through_seq=0, acked_frame=2)
            return
        async for event in self._play(context, ""):
            yield ConverseResponse(through_seq=0, acked_frame=1, events=[event])

    async def RunTurn(
        self, request: RunTurnRequest, context: "aio.ServicerContext[Any, Any]"
    ) -> AsyncIterator[RunTurnResponse]:
        """Runs a turn."""
        self.turn_ids.append(request.turn.turn_id)
        async for event in self._play(context, request.turn.turn_id):
            yield RunTurnResponse(through_seq=event.seq, acked_frame=1, events=[event])

    async def WatchSession(
        self, request: WatchSessionRequest, context: "aio.ServicerContext[Any, Any]"
    ) -> AsyncIterator[WatchSessionResponse]:
        """Tells of a turn that others began."""
        async for event in self._play(context, "earlier"):
            if event.HasField("turn_started"):
                event.turn_id = self.turn_ids[-1]
            yield WatchSessionResponse(through_seq=event.seq, acked_frame=1, events=[event])

    async def _play(self, context: "aio.ServicerContext[Any, Any]", turn_id: str) -> AsyncIterator[Event]:
        found = {name: value for name, value in context.invocation_metadata() or () if isinstance(value, str)}
        self.tenants.add(found.get("x-tenant-id", ""))
        for seq, step in enumerate(self._scripts.pop(0), 1):
            if isinstance(step, AgentringError):
                context.set_trailing_metadata(trailers(step))
                await context.abort(step.code, step.sentence)
            if isinstance(step, Event):
                event = Event()
                event.CopyFrom(step)
                event.seq, event.epoch, event.attempt, event.turn_id = (seq if turn_id else 0), 5, 1, turn_id
                yield event


class Talk:
    """A conversation with a scripted server, and what it shows."""

    def __init__(self, address: str, server: Server, policy: RetryPolicy) -> None:
        self.address = address
        self.server = server
        self.file = io.StringIO()
        screen = EventView(Console(file=self.file, markup=False, highlight=False, width=200), "ada")
        self.conversation = Conversation(address, "ada", "assistant", "acme", screen, policy)

    async def say(self, text: str, answer: str | None = "blue") -> bool:
        """Runs a turn; questions are answered so."""

        async def ask() -> str | None:
            return answer

        return await self.conversation.run_turn(text, ask)

    async def finish(self, attached: Attached, answer: str | None = "blue") -> bool:
        """Answers what was open, and follows its turn."""

        async def ask() -> str | None:
            return answer

        (question,) = attached.questions
        return await self.conversation.finish_turn(question, attached.head_seq, ask)

    @property
    def shown(self) -> list[str]:
        """The lines that were shown."""
        return self.file.getvalue().splitlines()


async def at_once(_wait_s: float) -> None:
    """Waits for nothing."""


Talking = Callable[..., Awaitable[Talk]]


@pytest_asyncio.fixture
async def talk() -> AsyncIterator[Talking]:
    """Starts scripted servers and conversations with them."""
    ends: list[Callable[[], Awaitable[object]]] = []

    async def start(*scripts: tuple[Step, ...], reconnect_s: float = 60.0) -> Talk:
        server = Server(*scripts)  # type: ignore[abstract]  # the other methods stay unimplemented
        served = serving(server)
        one = Talk(await served.__aenter__(), server, RetryPolicy(sleep=at_once, reconnect_s=reconnect_s))
        ends.extend((one.conversation.close, lambda: served.__aexit__(None, None, None)))
        return one

    yield start
    for end in ends:
        await end()


async def test_a_conversation_is_shown(talk: Talking) -> None:
    one = await talk((OPENED,), HELLO, HELLO)
    await one.conversation.attach()
    assert await one.say("hello")
    assert await one.say("hello")
    assert one.shown == [PLACE, "you said hello", "you said hello"]
    assert one.server.tenants == {"acme"}
    assert len(set(one.server.turn_ids)) == 2


@pytest.mark.parametrize(
    ("lost", "reason"),
    [(SessionMoving(), "SESSION_MOVING"), (Event(go_away=GoAway(reason="ROUTER_STOPPING")), "ROUTER_STOPPING")],
)
async def test_a_turn_that_was_cut_off_is_gone_on_with(talk: Talking, lost: Step, reason: str) -> None:
    one = await talk((OPENED,), (HELLO[0], lost), (SessionMoving(),), HELLO)
    await one.conversation.attach()
    assert await one.say("hello")
    assert one.shown == [PLACE, "you said", f"({reason}; trying again)", " hello"]
    assert len(one.server.turn_ids) == 3
    assert len(set(one.server.turn_ids)) == 1


async def test_a_session_that_is_moving_at_first_is_waited_for(talk: Talking) -> None:
    one = await talk((SessionMoving(),), (OPENED,))
    await one.conversation.attach()
    assert one.shown == ["(SESSION_MOVING; trying again)", PLACE]


async def test_an_error_that_waiting_does_not_mend_is_told(talk: Talking) -> None:
    one = await talk((SessionClosed(),))
    with pytest.raises(CallFailed, match=r"^FAILED_PRECONDITION SESSION_CLOSED: the session is closed"):
        await one.say("hello")


async def test_one_that_stays_unavailable_is_told_in_the_end(talk: Talking) -> None:
    one = await talk((NoNodes(),), reconnect_s=0.5)
    with pytest.raises(CallFailed, match=r"^UNAVAILABLE NO_NODES: no node is there"):
        await one.conversation.attach()


async def test_an_address_where_nobody_answers_is_told_at_once(talk: Talking) -> None:
    one = await talk()
    lost = Talk("127.0.0.1:1", one.server, RetryPolicy())
    with pytest.raises(CallFailed, match=r"^UNAVAILABLE: .* \(router 127\.0\.0\.1:1\)$"):
        await lost.conversation.attach()
    await lost.conversation.close()


async def test_of_several_routers_one_that_answers_is_enough(talk: Talking) -> None:
    one = await talk((OPENED,))
    other = Talk(f"127.0.0.1:1,{one.address}", one.server, RetryPolicy(sleep=at_once))
    assert (await other.conversation.attach()).node_id == "n1"
    assert other.shown == [PLACE]
    await other.conversation.close()
    lost = Talk("127.0.0.1:1,127.0.0.1:1", one.server, RetryPolicy(sleep=at_once))
    with pytest.raises(CallFailed, match=r"^UNAVAILABLE: "):
        await lost.conversation.attach()
    await lost.conversation.close()


async def test_a_name_that_is_none_is_told() -> None:
    screen = EventView(Console(file=io.StringIO()), "a b")
    with pytest.raises(CallFailed, match=r"^INVALID_ARGUMENT INVALID_SESSION_ID: "):
        Conversation("127.0.0.1:1", "a b", "assistant", "", screen)


@pytest.mark.parametrize(
    ("end", "line"),
    [
        (
            Event(turn_failed=TurnFailed(reason="AGENT_ERROR", error_id="e1")),
            "the turn failed: AGENT_ERROR, error_id e1",
        ),
        (Event(turn_cancelled=TurnCancelled(reason="CLIENT")), "the turn was cancelled: CLIENT"),
    ],
)
async def test_a_turn_that_does_not_complete_is_told(talk: Talking, end: Event, line: str) -> None:
    one = await talk((Event(turn_accepted=TurnAccepted()), end), HELLO)
    assert not await one.say("hello")
    assert await one.say("hello")
    assert one.shown == [line, "you said hello"]


ASKED = Event(input_required=InputRequired(input_id="q1", prompt="which colour?"))
OPEN = Question(turn_id="earlier", input_id="q1", prompt="which colour?")
SHOWN = "the turn earlier waits for an answer: which colour?"
STAYS = "the question stays open: answer it in `agentring chat`, or by `agentring questions answer`"


async def test_an_agents_question_is_answered_with_the_next_line(talk: Talking) -> None:
    one = await talk((ASKED, Event(turn_completed=TurnCompleted())))
    assert await one.say("hello")
    assert one.shown == ["which colour?"]
    assert one.server.answers == ["q1: blue"]


async def test_a_question_that_nobody_answers_stays_open(talk: Talking) -> None:
    one = await talk((ASKED, Event(turn_completed=TurnCompleted())))
    assert not await one.say("hello", None)
    assert one.shown == ["which colour?", STAYS]
    assert one.server.answers == []


async def test_a_question_asked_again_by_the_next_run_is_not_asked_again_here(talk: Talking) -> None:
    one = await talk((ASKED, ASKED, Event(turn_completed=TurnCompleted())))
    assert await one.say("hello")
    assert one.server.answers == ["q1: blue"]


async def test_what_is_open_at_the_beginning_is_shown_and_answered(talk: Talking) -> None:
    opened = Event()
    opened.CopyFrom(OPENED)
    opened.opened.questions.append(OPEN)
    one = await talk((opened,), (ASKED, words(0, "so it is"), Event(turn_completed=TurnCompleted())))
    attached = await one.conversation.attach()
    assert [question.prompt for question in attached.questions] == ["which colour?"]
    assert await one.finish(attached)
    assert one.shown == [PLACE, SHOWN, "which colour?", "so it is"]
    assert one.server.answers == ["q1: blue"]


async def test_what_is_open_at_the_beginning_and_gets_no_answer_stays_open(talk: Talking) -> None:
    opened = Event()
    opened.CopyFrom(OPENED)
    opened.opened.questions.append(OPEN)
    one = await talk((opened,))
    assert not await one.finish(await one.conversation.attach(), None)
    assert one.shown == [PLACE, SHOWN, STAYS]
    assert one.server.answers == []


async def test_a_line_behind_a_turn_that_waits_is_told_so_and_may_answer_for_it(talk: Talking) -> None:
    behind = Event(turn_accepted=TurnAccepted(turns_ahead=1, questions=[OPEN]))
    again = Event(turn_id="earlier", input_required=InputRequired(input_id="q2", prompt="sure?"))
    started = Event(turn_id="mine", turn_started=TurnStarted(node_id="n1"))
    one = await talk((behind, *HELLO), (words(0, "known"), again, started))
    assert await one.say("hello")
    assert one.shown == [SHOWN, "the turn earlier waits for an answer: sure?", "you said hello"]
    assert one.server.answers == ["q1: blue", "q2: blue"]


async def test_a_line_behind_a_turn_that_waits_in_vain_is_given_up(talk: Talking) -> None:
    one = await talk((Event(turn_accepted=TurnAccepted(turns_ahead=1, questions=[OPEN])), *HELLO))
    assert not await one.say("hello", None)
    assert one.shown == [SHOWN, STAYS]
