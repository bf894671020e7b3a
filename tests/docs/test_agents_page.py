"""docs/agents.md: its agents say on a real cluster what it says they say, and its limits are the code's."""

import re
import sys
import tomllib
from pathlib import Path

import pytest

from agent_node.agents.registry import GROUP
from agent_node.run import context, input_parts, run_output, tool_calls
from agent_node.run.environment import TurnLimits
from agent_node.run.time_limit import MOST_ABANDONED
from agent_node.settings import NodeSettings
from agent_node.step import agent_storage, identity, outcome, steps, storage_keys
from agent_node.store import file_records
from agentring.rpc.limits import MAX_MESSAGE_BYTES
from agentring.v1 import session_pb2
from harness.chats import chats
from harness.pages import ROOT, blocks
from harness.printed import as_printed
from harness.up_process import running_up

PAGE = ROOT / "docs" / "agents.md"
LIMIT = re.compile(r"\| ([^|]+) \| ([\d,]+)(?: (\w+))? \|(?: `--([a-z-]+)`)? \|")
UNITS = {"": 1, "s": 1, "bytes": 1, "KiB": 1 << 10, "MiB": 1 << 20}


def agents() -> dict[str, tuple[str, str]]:
    """The module and the conversation of each agent: a `python` block, and the `text` block after it."""
    found = {}
    listed = list(blocks(PAGE))
    for number, block in enumerate(listed):
        if block.language == "python":
            assert block.file_name is not None, block
            following = listed[number + 1]
            assert following.language == "text", block
            found[block.file_name.removesuffix(".py")] = (block.text, following.text)
    return found


@pytest.mark.skipif(sys.platform != "linux", reason="looks into /proc")
async def test_every_agent_says_what_the_page_says(tmp_path: Path) -> None:
    code = tmp_path / "code"
    code.mkdir()
    for name, (source, _) in agents().items():
        (code / f"{name}.py").write_text(source)
    env = {"AGENTRING_AGENT": ",".join(f"{name}={name}:{name}" for name in agents())}
    async with running_up(tmp_path / ".agentring", "--nodes", "2", env=env, within=code) as up:
        await up.until_line("ready")
        talks = {name: conversation.splitlines() for name, (_, conversation) in agents().items()}
        typed = {name: [line[2:] for line in lines if line.startswith("> ")] for name, lines in talks.items()}
        printed = await chats(tmp_path / ".agentring", typed)
    for name, lines in talks.items():
        out, err = printed[name]
        _place, *answers = as_printed(out)
        expected = "\n".join(line for line in lines if not line.startswith("> "))
        assert answers == as_printed(expected), (name, err)


def test_the_page_has_agents_that_say_something() -> None:
    assert len(agents()) >= 5
    assert all("> " in conversation for _, conversation in agents().values())


def limits() -> dict[str, tuple[int, str]]:
    """What the table of limits says: a number in its smallest unit, and the setting."""
    section = PAGE.read_text().partition("## Limits\n")[2].partition("\n## ")[0]
    rows = [line for line in section.splitlines() if line.startswith("|")][2:]
    found = {}
    for row in rows:
        match = LIMIT.fullmatch(row)
        assert match is not None, row
        found[match[1]] = (int(match[2].replace(",", "")) * UNITS[match[3] or ""], match[4] or "")
    return found


def test_limits_that_are_settings_are_their_defaults() -> None:
    settings = {setting: number for number, setting in limits().values() if setting}
    assert len(settings) >= 8
    for setting, number in settings.items():
        assert NodeSettings.model_fields[setting.replace("-", "_")].default == number, setting


def test_the_other_limits_are_the_codes() -> None:
    assert {what: number for what, (number, setting) in limits().items() if not setting} == {
        "result of a turn; arguments or result of a tool": MAX_MESSAGE_BYTES,
        "data of an event of your own": run_output.MOST_EVENT_BYTES,
        "a tool's name": tool_calls._NAME_BYTES,
        "questions of a turn, one at a time": context._MOST_QUESTIONS,
        "a question": context._PROMPT_BYTES,
        "result of a step": outcome.MOST_VALUE_BYTES,
        "results of all steps and tools of a turn": steps.MOST_BYTES,
        "steps, calls of tools and questions of a turn": steps.MOST_STEPS,
        "steps inside each other": steps.MOST_DEPTH,
        "a step's name": identity._NAME_BYTES,
        "a step's key": identity._KEY_BYTES,
        "keys of it": storage_keys.MOST_KEYS,
        "a key of it": agent_storage.MOST_KEY_BYTES,
        "a value of it, and all that one step writes": storage_keys.MOST_STEP_BYTES,
        "parts of an input": input_parts.MOST_PARTS,
        "a file": file_records.FILE_BYTES,
        "their number": file_records.MOST_FILES,
    }
    page = PAGE.read_text()
    assert f"| AGENT_STUCK | {MOST_ABANDONED} of its runs" in page
    assert f"within {TurnLimits.__dataclass_fields__['cancel_grace_s'].default:g} s, without yielding" in page


def test_every_reason_of_a_failure_is_explained() -> None:
    """Those that the proto of TurnFailed lists, AGENT_NOT_FOUND apart, which no author can cause in a running agent."""
    proto = (ROOT / "protos" / "agentring" / "v1" / "session.proto").read_text()
    comment = proto.partition(f"message {session_pb2.TurnFailed.DESCRIPTOR.name} {{")[2].partition("string reason")[0]
    named = set(re.findall(r"\b[A-Z]+_[A-Z_]+\b|\bTURN_DEADLINE\b", comment)) - {"AGENT_NOT_FOUND"}
    section = PAGE.read_text().partition("## What happens on failure\n")[2].partition("\n## ")[0]
    explained = {word for row in re.findall(r"^\| ([A-Z_, ]+) \|", section, re.MULTILINE) for word in row.split(", ")}
    assert explained == named


def test_the_entry_points_group_is_the_one_that_nodes_look_in() -> None:
    tables = (tomllib.loads(block.text) for block in blocks(PAGE) if block.language == "toml")
    (table,) = (each for each in tables if "project" in each)
    assert set(table["project"]["entry-points"]) == {GROUP}
