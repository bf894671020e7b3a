"""Events as the messages of a conversation."""

from typing import Any

from agent_node.run.past_messages import to_messages
from agentring.agent import AssistantMessage, Message, Part, PastToolCall, TextPart, ToolMessage, UserMessage
from agentring.plain_json import to_struct, to_value
from agentring.v1.session_pb2 import (
    AttemptRestarted,
    Event,
    Input,
    TextDelta,
    ToolCall,
    ToolResult,
    TurnAccepted,
    TurnCancelled,
    TurnCompleted,
    TurnFailed,
    TurnStarted,
)


def numbered(*events: Event) -> list[Event]:
    for seq, event in enumerate(events, 1):
        event.seq = seq
        event.turn_id = event.turn_id or "a"
    return list(events)


def accepted(text: str, turn_id: str = "a") -> Event:
    return Event(turn_id=turn_id, turn_accepted=TurnAccepted(input=Input(text=text)))


def started(turn_id: str = "a") -> Event:
    return Event(turn_id=turn_id, turn_started=TurnStarted(node_id="n1"))


def words(text: str, turn_id: str = "a") -> Event:
    return Event(turn_id=turn_id, text_delta=TextDelta(text=text))


def call(number: int, **arguments: Any) -> Event:
    return Event(tool_call=ToolCall(call_id=f"c{number}", name="look_up", arguments=to_struct(arguments)))


def answer(number: int, result: Any) -> Event:
    return Event(tool_result=ToolResult(call_id=f"c{number}", name="look_up", result=to_value(result)))


def ended(turn_id: str = "a") -> Event:
    return Event(turn_id=turn_id, turn_completed=TurnCompleted())


def messages(*events: Event) -> list[Message]:
    def read(turn_input: Input) -> tuple[str, list[Part]]:
        return turn_input.text, [TextPart(turn_input.text)]

    return to_messages(numbered(*events), read)


def user(position: int, text: str, turn_id: str = "a") -> UserMessage:
    return UserMessage(position, turn_id, text, [TextPart(text)])


def test_a_turn_is_what_the_user_gave_and_what_the_agent_said() -> None:
    found = messages(accepted("hi"), started(), words("Hel"), words("lo"), ended())
    assert found == [user(2, "hi"), AssistantMessage(3, "a", "Hello", ())]
    assert [each.role for each in found] == ["user", "assistant"]


def test_a_tools_result_follows_the_message_with_its_call() -> None:
    found = messages(
        accepted("both?"),
        words("Let me see."),
        call(1, city="Oslo", days=2),
        call(2, city="Cairo"),
        answer(2, {"degrees": 31}),
        Event(tool_result=ToolResult(call_id="c1", name="look_up", error_id="e", reason="TOOL_CANCELLED")),
        call(3),
        answer(3, None),
        words("Warm."),
        ended(),
    )
    calls = (
        PastToolCall("c1", "look_up", {"city": "Oslo", "days": 2}),
        PastToolCall("c2", "look_up", {"city": "Cairo"}),
    )
    assert found == [
        user(2, "both?"),
        AssistantMessage(2, "a", "Let me see.", calls),
        ToolMessage(5, "a", "c2", "look_up", {"degrees": 31}, ""),
        ToolMessage(6, "a", "c1", "look_up", None, "TOOL_CANCELLED"),
        AssistantMessage(7, "a", "", (PastToolCall("c3", "look_up", {}),)),
        ToolMessage(8, "a", "c3", "look_up", None, ""),
        AssistantMessage(9, "a", "Warm.", ()),
    ]
    assert isinstance(found[1], AssistantMessage)
    assert type(found[1].tool_calls[0].arguments["days"]) is int


def test_turns_that_failed_were_cancelled_or_go_on_do_not_count() -> None:
    for end in (Event(turn_failed=TurnFailed()), Event(turn_cancelled=TurnCancelled()), words("more")):
        assert messages(accepted("hi"), words("never mind"), end) == []


def test_a_turn_that_was_accepted_meanwhile_comes_when_it_runs() -> None:
    found = messages(
        accepted("one"), started(), accepted("two", "b"), words("1"), ended(), started("b"), words("2", "b"), ended("b")
    )
    assert found == [
        user(2, "one"),
        AssistantMessage(4, "a", "1", ()),
        user(6, "two", "b"),
        AssistantMessage(7, "b", "2", ()),
    ]


def test_what_a_cut_off_attempt_said_is_void() -> None:
    again = Event(attempt_restarted=AttemptRestarted(reason="NODE_LOST"))
    found = messages(accepted("hi"), started(), words("Hel"), call(1), again, started(), words("Hello"), ended())
    assert [each.text for each in found if each.role != "tool"] == ["hi", "Hello"]


def test_a_turn_whose_beginning_is_not_there_is_left_out() -> None:
    assert messages(words("the rest"), ended()) == []
    without = Event(turn_accepted=TurnAccepted())  # of a release that did not keep the input
    assert messages(without, words("said"), ended()) == [AssistantMessage(2, "a", "said", ())]
