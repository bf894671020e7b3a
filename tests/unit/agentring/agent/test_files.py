"""The examples of parts and files run, and a file's content stays out of the log."""

import doctest
import inspect
from typing import Any

import pytest

from agentring.agent import File, FilePart, JsonPart, TextPart, files, messages
from agentring.agent.files import InputParts
from harness.agent_context import FakeContext
from harness.docstrings import compiled, example


@pytest.mark.parametrize("module", [files, messages], ids=lambda module: module.__name__)
def test_the_examples_of_values_run(module: Any) -> None:
    found = doctest.testmod(module)
    assert found.attempted > 0
    assert found.failed == 0


async def a_picture() -> bytes:
    return b"png"


@pytest.mark.parametrize(
    ("documented", "name", "found"),
    [
        (FilePart, "picture", b"png"),
        (InputParts.input_parts, "words", ["What is it?"]),
        (messages.Past.messages, "past", [("user", "hi")]),
    ],
)
async def test_the_examples_of_a_run_run(documented: Any, name: str, found: Any) -> None:
    parts = (TextPart("What is it?"), FilePart("image/png", 3, "", "00", a_picture), JsonPart(1))
    past = (
        messages.UserMessage(1, "t", "hi", ()),
        messages.ToolMessage(2, "t", "c", "look_up", None, ""),
    )
    names: dict[str, Any] = {
        "ctx": FakeContext(input_parts=parts, past=past),
        "FilePart": FilePart,
        "TextPart": TextPart,
    }
    exec(compiled(example(inspect.getdoc(documented) or ""), name, "return locals()"), names)
    assert (await names["example"]())[name] == found


def test_a_content_is_not_in_what_a_log_would_show() -> None:
    assert "secret" not in repr(File(b"secret", "text/plain")) + repr(FilePart("a/b", 1, "", "00", a_picture))
