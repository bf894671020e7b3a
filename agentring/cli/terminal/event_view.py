"""What a person sees of a conversation: text as it comes, tool calls dimly, where the session is when that changes.

Guarantees that text is printed once, however often it is sent: a turn that is resent after a lost connection
repeats its text, and its offsets say which are known already. A turn that runs again elsewhere starts on a new line.
Called by `chat`.
"""

import json
from collections.abc import Sequence
from typing import Any

from rich.console import Console
from rich.text import Text

from agentring.cli.terminal.printing import without_control
from agentring.client import Question
from agentring.plain_json import from_struct, from_value
from agentring.v1.session_pb2 import (
    STEP_OUTCOME_CANCELLED,
    STEP_OUTCOME_FAILED,
    STEP_OUTCOME_UNKNOWN,
    Event,
    TextDelta,
    Usage,
)

_STEP_ENDS = {
    STEP_OUTCOME_FAILED: ", failed",
    STEP_OUTCOME_CANCELLED: ", cancelled",
    STEP_OUTCOME_UNKNOWN: ", nobody knows how it ended",
}


class EventView:
    """Prints one session's events."""

    def __init__(self, console: Console, session: str, logs: str = "", *, steps: bool = False) -> None:
        """logs: the command that shows what the session's nodes log; empty: there is none; steps: whether steps are
        shown. Nothing is printed yet."""
        self._steps = steps
        self._logs = logs
        self._console = console
        self._session = session
        self._owner: tuple[str, int] | None = None
        self._run: tuple[int, int] | None = None
        self._shown_bytes = 0
        self._mid_line = False
        self._is_prompting = False

    def show_owner(self, node: str, epoch: int) -> None:
        """Says where the session is, if that is news."""
        if node and epoch and (node, epoch) != self._owner:
            self._owner = (node, epoch)
            self.note(f"{self._session} is on {node}, epoch {epoch}")

    def begin_turn(self) -> None:
        """The events that follow belong to a new turn."""
        self._run = None
        self._shown_bytes = 0

    def show(self, event: Event) -> None:
        """Prints an event of the turn."""
        match event.WhichOneof("body"):
            case "turn_started":
                self.show_owner(event.turn_started.node_id, event.epoch)
            case "attempt_restarted":
                self._restart(event)
            case "text_delta":
                if self._run not in (None, (event.epoch, event.attempt)):
                    self._restart(event)
                self._run = (event.epoch, event.attempt)
                self._show_text(event.text_delta)
            case "tool_call":
                self.note(f"{event.tool_call.name}({_short(from_struct(event.tool_call.arguments))})")
            case "tool_result":
                result = event.tool_result
                outcome = (
                    f"failed, error_id {result.error_id}" if result.error_id else _short(from_value(result.result))
                )
                self.note(f"{result.name} -> {outcome}")
            case "custom_event":
                self.note(f"{event.custom_event.name}: {_short(from_value(event.custom_event.data))}")
            case "step_begun" if self._steps:
                again = event.step_begun.replayed_steps
                answered = f", {again} before it from their records" if again else ""
                attempt = f" (attempt {event.attempt}{answered})" if event.attempt > 1 else ""
                self.note(f"{event.step_begun.name} …{attempt}")
            case "step_ended" if self._steps:
                ended = event.step_ended
                took_s = ended.duration.ToNanoseconds() / 1e9
                self.note(f"{ended.name}: {took_s:.1f} s{_STEP_ENDS.get(ended.outcome, '')}")
            case "file_output":
                file = event.file_output.file
                self.note(f"file {file.name or file.sha256.hex()[:16]}, {file.media_type}, {file.size_bytes:,} bytes")
            case "input_required":
                self.note(event.input_required.prompt)
            case "turn_failed":
                failed = event.turn_failed
                why = f"{failed.reason}, {failed.detail}" if failed.detail else failed.reason
                self.warn(f"the turn failed: {why}, error_id {failed.error_id}")
                if self._logs and failed.error_id:
                    self.warn(f"its traceback: {self._logs} --error {failed.error_id}")
            case "turn_cancelled":
                self.warn(f"the turn was cancelled: {event.turn_cancelled.reason}")
            case "turn_rejected":
                self.warn(f"the turn was rejected: {event.turn_rejected.reason}")
            case "turn_completed":
                self._end_line()
                if event.turn_completed.HasField("usage"):
                    self.note(_used(event.turn_completed.usage))

    def show_question(self, question: Question) -> None:
        """A question that was asked before, or of somebody else."""
        self.note(f"the turn {question.turn_id} waits for an answer: {question.prompt or question.input_id}")

    def note(self, line: str) -> None:
        """A dim line of its own."""
        self._line(line, "dim")

    def warn(self, line: str) -> None:
        """A red line of its own."""
        self._line(line, "red")

    def prompt(self) -> None:
        """Asks for a line, where a person sits there."""
        self._is_prompting = True
        if self._console.is_terminal:
            self._print(Text("> ", style="bold"))

    def prompted(self) -> None:
        """A line has come, or will not come."""
        self._is_prompting = False

    def beside(self, lines: Sequence[tuple[str, str]]) -> None:
        """Lines about something else, each with its style: where a line is being asked for, it still is."""
        if self._is_prompting and self._console.is_terminal:
            self._print(Text("\n"))
        for line, style in lines:
            self._line(line, style)
        if self._is_prompting:
            self.prompt()

    def _restart(self, event: Event) -> None:
        valid_bytes = event.attempt_restarted.valid_text_bytes
        if self._shown_bytes > valid_bytes:
            goes_on = "goes on where it was sure" if valid_bytes else "starts again"
            self.note(f"(the answer was cut off and {goes_on})")
            self._shown_bytes = valid_bytes
        self._run = (event.epoch, event.attempt)

    def _show_text(self, delta: TextDelta) -> None:
        text = delta.text.encode()
        fresh = text[max(0, self._shown_bytes - delta.offset) :].decode("utf-8", "replace")
        self._shown_bytes = max(self._shown_bytes, delta.offset + len(text))
        shown = without_control(fresh)
        if shown:
            self._print(Text(shown))
            self._mid_line = not shown.endswith("\n")

    def _line(self, line: str, style: str) -> None:
        self._end_line()
        self._print(Text(without_control(line) + "\n", style=style))

    def _end_line(self) -> None:
        if self._mid_line:
            self._print(Text("\n"))
            self._mid_line = False

    def _print(self, text: Text) -> None:
        self._console.print(text, end="", soft_wrap=True)


def _used(usage: Usage) -> str:
    cached = f", {usage.cached_tokens:,} of them cached" if usage.cached_tokens else ""
    calls = "1 model call" if usage.model_calls == 1 else f"{usage.model_calls:,} model calls"
    return f"{calls}: {usage.input_tokens:,} tokens in{cached}, {usage.output_tokens:,} out"


def _short(value: Any) -> str:
    text = json.dumps(value, ensure_ascii=False)
    return text if len(text) <= 100 else text[:99] + "…"
