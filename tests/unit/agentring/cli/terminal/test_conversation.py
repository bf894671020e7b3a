"""A conversation with a server that fails as its script has it: turns that are resent, errors, and what is shown."""

import io

import pytest
from rich.console import Console

from agentring.cli.errors import CallFailed
from agentring.cli.terminal.conversation import Conversation
from agentring.cli.terminal.event_view import EventView
from agentring.client import RetryPolicy
from agentring.errors import NoNodes, SessionClosed, SessionMoving
from agentring.v1.session_pb2 import Event, GoAway, TurnAccepted, TurnCancelled, TurnFailed
from harness.conversations import HELLO, OPENED, PLACE, Step, Talk, Talking, at_once


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
    view = EventView(Console(file=io.StringIO()), "a b")
    with pytest.raises(CallFailed, match=r"^INVALID_ARGUMENT INVALID_SESSION_ID: "):
        Conversation("127.0.0.1:1", "a b", "assistant", "", view)


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
