"""An agent's question whose asker has left: found, shown, answered and cancelled by commands, on any terminal."""

import asyncio
import json
import os
import signal
import subprocess
import sys
from pathlib import Path

import pytest

from harness.up_process import DEADLINE_S, agentring, chatting, running_up

pytestmark = pytest.mark.skipif(sys.platform != "linux", reason="looks into /proc")

STAYS = "the question stays open: answer it in `agentring chat`, or by `agentring questions answer`"


async def test_a_question_is_never_in_the_way_unseen(tmp_path: Path) -> None:
    here = ("--data-dir", str(tmp_path))
    async with running_up(tmp_path, "--nodes", "1") as up:
        await up.until_line("ready")

        # Who asked leaves by Ctrl-C; the next conversation is asked first, and then goes on.
        async with chatting("ada", *here) as chat:
            place = await chat.hears()
            chat.say("ask me")
            question = await chat.hears()
            assert await chat.ended_by(signal.SIGINT) == (130, "")
        status, out, err = await agentring("questions", "list", "--json", *here)
        assert (status, err) == (0, "")
        (asked,) = json.loads(out)["questions"]
        assert (asked["session_id"], asked["prompt"]) == ("ada", question)
        status, out, err = await agentring("sessions", *here)
        assert (status, "asks, 0 waiting" in out, err) == (0, True, "")
        status, out, err = await agentring("locate", "ada", *here)
        assert (status, f"turn {asked['turn_id']} waits for an answer: {question}" in " ".join(out.split()), err) == (
            0,
            True,
            "",
        )
        status, out, err = await agentring("locate", "ada", "--json", *here)
        assert [one["input_id"] for one in json.loads(out)["questions"]] == [asked["input_id"]]
        status, out, err = await agentring("chat", "ada", *here, stdin="tea\nnothing else\n2 + 2\n")
        assert (status, err) == (0, "")
        assert out.splitlines()[:2] == [place, f"the turn {asked['turn_id']} waits for an answer: {question}"]
        assert "tea" in out
        assert out.splitlines()[-1] == "2 + 2 = 4"

        # The input's end leaves it open as well; a line of somebody else's is told of it, and may answer.
        status, out, err = await agentring("chat", "bob", *here, stdin="ask me\n")
        assert (status, out.splitlines()[-1], err) == (1, STAYS, "")
        status, out, err = await agentring("questions", "answer", "bob", "Bob", *here)
        assert (status, err) == (0, "")
        assert out.startswith("answered ")
        assert await until_asked(".2", *here) == "bob"
        status, out, err = await agentring("questions", "answer", "bob", "no", "--input-id", "t.1", *here)
        assert (status, out) == (1, "")
        assert err.startswith("agentring: bob does not wait for that answer, but for: ")

        # Cancelled, the turns behind it go on.
        status, out, err = await agentring("questions", "cancel", "bob", *here)
        assert (status, out.rpartition(": ")[2], err) == (0, "CANCELLED\n", "")
        status, out, err = await agentring("chat", "bob", *here, stdin="3 + 3\n")
        assert (status, out.splitlines()[-1], err) == (0, "3 + 3 = 6", "")

        status, out, err = await agentring("questions", "cancel", "bob", *here)
        assert (status, out, err) == (1, "", "agentring: bob waits for no answer\n")

        # On a terminal that knows ASCII alone.
        said = await asyncio.to_thread(in_ascii, tmp_path, "chat", "ada", stdin="my name is Zoë ☕\n")
        assert said.returncode == 0
        assert b"Zo\\xeb" in said.stdout
        listed = await asyncio.to_thread(in_ascii, tmp_path, "sessions", "--json")
        assert listed.returncode == 0
        assert [one["session_id"] for one in json.loads(listed.stdout)["sessions"]] == ["ada", "bob"]


async def until_asked(ordinal: str, *here: str) -> str:
    """The session that asks the turn's question of this place, once one does."""
    async with asyncio.timeout(DEADLINE_S):
        while True:
            _, out, _ = await agentring("questions", "list", "--json", *here)
            for asked in json.loads(out)["questions"]:
                if asked["input_id"].endswith(ordinal):
                    return str(asked["session_id"])


def in_ascii(data_dir: Path, *arguments: str, stdin: str = "") -> subprocess.CompletedProcess[bytes]:
    environment = {**os.environ, "PYTHONIOENCODING": "ascii", "LC_ALL": "C", "PYTHONUTF8": "0"}
    return subprocess.run(
        [sys.executable, "-m", "agentring.cli", *arguments, "--data-dir", str(data_dir)],
        input=stdin.encode(),
        capture_output=True,
        env=environment,
        timeout=DEADLINE_S,
    )
