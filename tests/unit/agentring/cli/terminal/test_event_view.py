"""What a person sees of a conversation."""

import io

from google.protobuf.struct_pb2 import Struct, Value
from rich.console import Console

from agentring.cli.terminal.event_view import EventView
from agentring.v1.session_pb2 import (
    STEP_OUTCOME_COMPLETED,
    STEP_OUTCOME_FAILED,
    AttemptRestarted,
    CustomEvent,
    Event,
    StepBegun,
    StepEnded,
    TextDelta,
    ToolCall,
    ToolResult,
    TurnCompleted,
    TurnFailed,
    TurnStarted,
    Usage,
)


class Seen:
    """A screen and what it has shown."""

    def __init__(self, *, steps: bool = False) -> None:
        """Nothing is shown yet."""
        self._file = io.StringIO()
        self.screen = EventView(Console(file=self._file, markup=False, highlight=False), "ada", steps=steps)

    @property
    def text(self) -> str:
        """All that was shown."""
        return self._file.getvalue()

    def words(self, text: str, offset: int, *, epoch: int = 1, attempt: int = 1) -> None:
        """Shows a text_delta."""
        self.screen.show(Event(epoch=epoch, attempt=attempt, text_delta=TextDelta(text=text, offset=offset)))


def test_words_appear_as_they_come_and_the_turn_ends_its_line() -> None:
    seen = Seen()
    seen.words("Nice to ", 0)
    assert seen.text == "Nice to "
    seen.words("meet [b]you[/b].", 8)
    seen.screen.show(Event(turn_completed=TurnCompleted()))
    assert seen.text == "Nice to meet [b]you[/b].\n"


def test_what_the_turn_used_stands_below_it() -> None:
    seen = Seen()
    seen.words("Well", 0)
    used = Usage(input_tokens=12_000, output_tokens=56, cached_tokens=9_000, model_calls=1)
    seen.screen.show(Event(turn_completed=TurnCompleted(usage=used)))
    seen.screen.show(Event(turn_completed=TurnCompleted(usage=Usage(input_tokens=1, model_calls=3))))
    assert seen.text == (
        "Well\n1 model call: 12,000 tokens in, 9,000 of them cached, 56 out\n3 model calls: 1 tokens in, 0 out\n"
    )


def test_words_that_are_sent_again_are_shown_once() -> None:
    seen = Seen()
    seen.words("é one ", 0)
    seen.words("é one two", 0)
    seen.words("two three", 7)
    assert seen.text == "é one two three"


def test_a_turn_that_runs_again_starts_on_a_new_line() -> None:
    seen = Seen()
    seen.words("Nice", 0)
    seen.screen.show(Event(epoch=2, attempt=2, attempt_restarted=AttemptRestarted(reason="NODE_LOST")))
    seen.words("Nice to", 0, epoch=2, attempt=2)
    assert seen.text == "Nice\n(the answer was cut off and starts again)\nNice to"


def test_a_turn_that_runs_again_without_saying_so_is_known_by_its_epoch() -> None:
    seen = Seen()
    seen.words("Nice", 0)
    seen.words("Nice to", 0, epoch=2)
    assert seen.text == "Nice\n(the answer was cut off and starts again)\nNice to"


def test_the_place_is_told_when_it_changes() -> None:
    seen = Seen()
    seen.screen.show_owner("n1", 5)
    seen.screen.show_owner("n1", 5)
    seen.screen.show(Event(epoch=6, turn_started=TurnStarted(node_id="n2")))
    assert seen.text == "ada is on n1, epoch 5\nada is on n2, epoch 6\n"


def test_tool_calls_stand_on_lines_of_their_own() -> None:
    arguments = Struct()
    arguments.update({"expression": "2 + 2"})
    seen = Seen()
    seen.words("Let me see", 0)
    seen.screen.show(Event(tool_call=ToolCall(call_id="1", name="sum", arguments=arguments)))
    seen.screen.show(Event(tool_result=ToolResult(call_id="1", name="sum", result=Value(number_value=4))))
    seen.screen.show(Event(tool_result=ToolResult(call_id="2", name="sum", error_id="e1")))
    assert seen.text == 'Let me see\nsum({"expression": "2 + 2"})\nsum -> 4\nsum -> failed, error_id e1\n'


def test_an_agents_own_event_stands_on_a_line_of_its_own() -> None:
    seen = Seen()
    seen.words("Wait", 0)
    seen.screen.show(Event(custom_event=CustomEvent(name="progress", data=Value(number_value=4))))
    assert seen.text == "Wait\nprogress: 4\n"


def test_steps_are_shown_where_they_are_asked_for() -> None:
    completed = StepEnded(name="model", outcome=STEP_OUTCOME_COMPLETED)
    completed.duration.FromMilliseconds(1_240)
    failed = StepEnded(name="search", outcome=STEP_OUTCOME_FAILED)
    failed.duration.FromMilliseconds(300)
    events = [
        Event(attempt=1, step_begun=StepBegun(name="model")),
        Event(attempt=1, step_ended=completed),
        Event(attempt=2, step_begun=StepBegun(name="search", replayed_steps=4)),
        Event(attempt=2, step_ended=failed),
    ]
    silent, seen = Seen(), Seen(steps=True)
    for event in events:
        silent.screen.show(event)
        seen.screen.show(event)
    assert silent.text == ""
    assert seen.text.splitlines() == [
        "model …",
        "model: 1.2 s",
        "search … (attempt 2, 4 before it from their records)",
        "search: 0.3 s, failed",
    ]


def test_a_failed_turn_is_told() -> None:
    seen = Seen()
    seen.words("Let", 0)
    seen.screen.show(Event(turn_failed=TurnFailed(reason="AGENT_ERROR", error_id="e1")))
    assert seen.text == "Let\nthe turn failed: AGENT_ERROR, error_id e1\n"


def test_an_agents_words_cannot_command_the_terminal() -> None:
    seen = Seen()
    seen.words("a\x1b[2Jb\x07\x9bc\r\nd", 0)
    assert seen.text == "a[2Jbc\nd"


def test_lines_beside_it_begin_on_a_line_of_their_own() -> None:
    seen = Seen()
    seen.words("Nice to", 0)
    seen.screen.beside([("n1 printed", ""), ("    Traceback", "red")])
    assert seen.text == "Nice to\nn1 printed\n    Traceback\n"


def test_somebody_who_is_asked_for_a_line_still_is() -> None:
    file = io.StringIO()
    screen = EventView(Console(file=file, markup=False, force_terminal=True, color_system=None), "ada")
    screen.prompt()
    screen.beside([("a change", "")])
    screen.prompted()
    screen.beside([("another", "")])
    assert file.getvalue() == "> \na change\n> another\n"


def test_a_failure_says_where_its_traceback_is() -> None:
    file = io.StringIO()
    screen = EventView(Console(file=file, markup=False), "ada", "agentring logs --data-dir x")
    screen.show(Event(turn_failed=TurnFailed(reason="AGENT_ERROR", error_id="12")))
    assert file.getvalue().splitlines() == [
        "the turn failed: AGENT_ERROR, error_id 12",
        "its traceback: agentring logs --data-dir x --error 12",
    ]
