"""A node that stands by: what it loads is said, and it takes nothing before it serves."""

import json
import os
import socket
import subprocess
import sys
from collections.abc import Iterator
from pathlib import Path

import pytest

DEADLINE_S = 60.0
AGENTS = """
import helper

async def mine(ctx):
    yield helper.WORD
"""


class StandingBy:
    """One, in a directory with agents."""

    def __init__(self, place: Path) -> None:
        """It has been started."""
        self.ours, theirs = socket.socketpair()
        self.ours.settimeout(DEADLINE_S)
        command = (sys.executable, "-m", "agent_node.standby", "--node-id=n1", f"--data-dir={place / 'n1'}")
        with theirs:
            self.process = subprocess.Popen(
                [*command, "--agent=my_agents"],
                cwd=place,
                stdin=theirs.fileno(),
                stdout=subprocess.PIPE,
                stderr=subprocess.PIPE,
                text=True,
                env={**os.environ, "PYTHONDONTWRITEBYTECODE": "1"},
            )

    def say(self, **command: object) -> None:
        self.ours.sendall(json.dumps(command).encode() + b"\n")

    def ended(self) -> tuple[int, str]:
        self.ours.close()
        _, err = self.process.communicate(timeout=DEADLINE_S)
        return self.process.returncode, err


@pytest.fixture
def standing_by(tmp_path: Path) -> Iterator[StandingBy]:
    (tmp_path / "my_agents.py").write_text(AGENTS)
    (tmp_path / "helper.py").write_text("WORD = 'hello'")
    (tmp_path / "printing.py").write_text("print('imported ahead')")
    found = StandingBy(tmp_path)
    yield found
    found.ours.close()
    if found.process.poll() is None:
        found.process.kill()
    found.process.communicate()


def test_it_says_what_it_has_loaded_and_from_where_and_has_taken_nothing(
    standing_by: StandingBy, tmp_path: Path
) -> None:
    standing_by.say(preload=["printing", "no_such_module"])
    standing_by.say(load=True)
    said = json.loads(standing_by.ours.makefile().readline())
    assert said["left_out"] == []
    files = {name: file for name, file in said["files"].items() if file.startswith(str(tmp_path))}
    assert files == {name: str(tmp_path / f"{name}.py") for name in ("my_agents", "helper")}
    assert not (tmp_path / "n1").exists()
    status, err = standing_by.ended()
    assert status == 0
    assert "Traceback" not in err


def test_what_cannot_be_loaded_is_said(standing_by: StandingBy, tmp_path: Path) -> None:
    (tmp_path / "helper.py").write_text("1 / 0")
    standing_by.say(preload=[])
    standing_by.say(load=True)
    (line,) = json.loads(standing_by.ours.makefile().readline())["left_out"]
    assert line == (
        "agents cannot be loaded from 'my_agents': ZeroDivisionError: division by zero "
        f"({tmp_path / 'helper.py'}, line 1)"
    )


def test_it_ends_with_who_started_it(standing_by: StandingBy) -> None:
    standing_by.say(preload=[])
    assert standing_by.ended()[0] == 0
