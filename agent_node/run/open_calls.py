"""The tools that a run has called, as they were published: each call gets a result, whatever became of it.

Guarantees: where a run ends without its agent (in a child process that has ended, or at an end that was decided before
its node was lost) or before it comes to them again, the calls that clients were shown, and that are still valid, are
shown as cut off, once each. Used by the node's side of children, and at the end of turns and tasks.
"""

from collections.abc import Iterable

from agent_node.events.log import EventLog
from agent_node.run.outcome import new_error_id
from agentring.errors import SessionCorrupt
from agentring.v1 import session_pb2


class OpenCalls:
    """Of one run."""

    def __init__(self, events: Iterable[session_pb2.Event] = ()) -> None:
        """events: that were published, in their order."""
        self._open: dict[str, session_pb2.Event] = {}
        for event in events:
            self.note(event)

    def note(self, event: session_pb2.Event) -> None:
        """This was published."""
        if event.HasField("tool_call"):
            self._open[event.tool_call.call_id] = event
        elif event.HasField("tool_result"):
            self._open.pop(event.tool_result.call_id, None)

    def cut_off(self, attempt: int = 0) -> list[session_pb2.Event]:
        """The results of the calls that have none. attempt: that publishes them; 0: the one that has called."""
        results = []
        for event in self._open.values():
            call = event.tool_call
            answer = session_pb2.ToolResult(
                call_id=call.call_id, name=call.name, error_id=new_error_id(), reason="TOOL_CANCELLED"
            )
            results.append(
                session_pb2.Event(turn_id=event.turn_id, attempt=attempt or event.attempt, tool_result=answer)
            )
        self._open.clear()
        return results


async def cut_off_calls(log: EventLog, turn_id: str, attempt: int, first_seq: int) -> None:
    """Publishes the results of the calls that earlier attempts of a run have left open, and this one, which is over,
    has not come to. first_seq: of the run's first event. Raises StoreUnavailable."""
    found: list[session_pb2.Event] = []
    seq, before, through_seq = first_seq - 1, -1, log.head_seq
    while before < seq < through_seq:
        before = seq
        try:
            seq, events = await log.recall(seq, through_seq)
        except SessionCorrupt:
            return  # clients cannot read them either
        for event in (each.event for each in events if each.turn_id == turn_id):
            if event.HasField("attempt_restarted"):
                found = [each for each in found if each.seq <= event.attempt_restarted.valid_through_seq]
            elif event.HasField("tool_call") or event.HasField("tool_result"):
                found.append(event)
    for result in OpenCalls(found).cut_off(attempt):
        log.append(result)
