"""The first commands of README, as a new user types them: an empty directory, an empty virtual environment, no flag."""

import asyncio
import os
import re
import sys
import time
from pathlib import Path

import pytest

from harness import installations
from harness.dev_process import running_dev
from harness.pages import ROOT, blocks
from harness.printed import as_printed

pytestmark = pytest.mark.skipif(sys.platform != "linux", reason="`agentring dev` is tried on Linux")

MOST_COMMANDS = 5
MOST_S = 120.0


def commands_and_chat() -> tuple[list[str], list[str]]:
    """README's first commands, and what is typed into the last one and comes back."""
    first, chat, *_ = blocks(ROOT / "README.md")
    assert (first.language, chat.language) == ("bash", "text")
    return first.text.splitlines(), chat.text.splitlines()


def test_they_are_few_and_have_no_flag() -> None:
    commands, chat = commands_and_chat()
    assert commands[0].startswith("pip install ")
    assert commands[-1] == "agentring dev"
    assert len(commands) <= MOST_COMMANDS
    assert not [command for command in commands if re.search(r"(^|\s)-", command)]
    assert any("look_up_price(" in line for line in chat), "the agent calls a tool"


@pytest.mark.timeout(400)
async def test_they_lead_from_nothing_to_a_chat_with_an_agent_that_calls_a_tool(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """What the packages' index would bring beside the wheel is there already: it is pip that finds it complete."""
    wheel = await asyncio.to_thread(installations.build_pure_wheel, tmp_path)
    await asyncio.to_thread(installations.link_requirements, wheel, tmp_path / "packages", "server")
    programs = await asyncio.to_thread(installations.make_empty, tmp_path / "venv", tmp_path / "packages")
    for name in [name for name in os.environ if name.startswith(("PYTHON", "PIP_", "AGENTRING_"))]:
        monkeypatch.delenv(name)
    monkeypatch.setenv("PIP_NO_INDEX", "1")
    monkeypatch.setenv("PIP_FIND_LINKS", str(tmp_path))
    path = f"{programs}{os.pathsep}/usr/bin{os.pathsep}/bin"
    monkeypatch.setenv("PATH", path)
    place = tmp_path / "empty"
    place.mkdir()

    commands, chat = commands_and_chat()
    began_s = time.monotonic()
    for command in commands[:-1]:
        if command.startswith("cd "):
            place /= command.removeprefix("cd ")
            continue
        await asyncio.to_thread(installations.run, "/bin/sh", "-c", command, cwd=place)
    async with running_dev(place, program=(str(programs / "agentring"),)) as dev:
        for line in chat:
            if line.startswith("> "):
                dev.say(line.removeprefix("> "))
        printed = [line for line in chat if not line.startswith("> ")]
        await dev.until(printed[-1])
        took_s = time.monotonic() - began_s
        assert as_printed("\n".join(dev.lines))[-len(printed) :] == as_printed("\n".join(printed))
    assert took_s < MOST_S


@pytest.mark.timeout(300)
async def test_the_project_that_is_written_passes_its_own_tests(tmp_path: Path) -> None:
    clean = installations.clean_environment()
    env = {name: value for name, value in clean.items() if not name.startswith(("AGENTRING_", "PYTEST"))}
    for command in (
        (sys.executable, "-m", "agentring.cli", "new", "my-agent"),
        (sys.executable, "-m", "pytest", "-q", "-p", "no:cacheprovider", "my-agent"),
    ):
        process = await asyncio.create_subprocess_exec(
            *command, cwd=tmp_path, env=env, stdout=asyncio.subprocess.PIPE, stderr=asyncio.subprocess.STDOUT
        )
        out, _ = await process.communicate()
        assert process.returncode == 0, out.decode()
    assert "2 passed" in out.decode()
