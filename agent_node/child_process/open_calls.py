"""The tools that a child has called, for the node: calls that are published have their results published, too.

Guarantees: where the child ends in the middle of a call, the node publishes that it was cut off. Used by run.py.
"""

from agent_node.run.outcome import new_error_id
from agentring.v1 import session_pb2


class OpenCalls:
    """Of one run."""

    def __init__(self) -> None:
        self._open: dict[str, session_pb2.Event] = {}

    def note(self, event: session_pb2.Event) -> None:
        """The child has published this."""
        if event.HasField("tool_call"):
            self._open[event.tool_call.call_id] = event
        elif event.HasField("tool_result"):
            self._open.pop(event.tool_result.call_id, None)

    def cut_off(self) -> list[session_pb2.Event]:
        """The results of the calls that have none."""
        results = []
        for event in self._open.values():
            call = event.tool_call
            answer = session_pb2.ToolResult(
                call_id=call.call_id, name=call.name, error_id=new_error_id(), reason="TOOL_CANCELLED"
            )
            results.append(session_pb2.Event(turn_id=event.turn_id, attempt=event.attempt, tool_result=answer))
        self._open.clear()
        return results
