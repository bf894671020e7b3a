"""The tools that a run has shown to its session."""

from typing import Any

from harness.attempts import Run


def shown(run: Run) -> list[tuple[str, Any]]:
    """The calls and results of the last attempt: ids without what differs by nature."""
    found: list[tuple[str, Any]] = []
    for event in run.bench.events():
        if event.HasField("tool_call"):
            found.append((event.tool_call.call_id, dict(event.tool_call.arguments)))
        if event.HasField("tool_result"):
            answer = event.tool_result
            found.append((answer.call_id, answer.reason or answer.result.WhichOneof("kind")))
    return found
