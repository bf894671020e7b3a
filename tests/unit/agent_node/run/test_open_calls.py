"""A child that ends in the middle of a tool's call leaves no call without a result."""

from agent_node.run.open_calls import OpenCalls
from agentring.v1.session_pb2 import Event, ToolCall, ToolResult


def call(call_id: str) -> Event:
    return Event(turn_id="t", attempt=2, tool_call=ToolCall(call_id=call_id, name="look_up"))


def test_the_calls_without_a_result_are_cut_off_once_each() -> None:
    calls = OpenCalls()
    for event in (call("a"), call("b"), Event(tool_result=ToolResult(call_id="a")), call("c"), Event()):
        calls.note(event)
    results = calls.cut_off()
    assert [(each.turn_id, each.attempt, each.tool_result.call_id, each.tool_result.name) for each in results] == [
        ("t", 2, "b", "look_up"),
        ("t", 2, "c", "look_up"),
    ]
    assert {each.tool_result.reason for each in results} == {"TOOL_CANCELLED"}
    assert all(len(each.tool_result.error_id) == 16 for each in results)
    assert calls.cut_off() == []


def test_where_every_call_has_a_result_there_is_nothing_to_say() -> None:
    calls = OpenCalls()
    calls.note(call("a"))
    calls.note(Event(tool_result=ToolResult(call_id="a")))
    assert calls.cut_off() == []
