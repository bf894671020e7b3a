"""What agents print and log, as lines of the log."""

import json
import subprocess
import sys

PROGRAM = """
import asyncio, logging, sys, threading, warnings
from agent_node import agent_output
from contextlib import contextmanager
from agent_node.run.owner import RunOwner
from agent_node.run.run_input import TurnInput
from agentring.ids import parse_session
from agentring import log
from agentring.process.owned_loop import OwnedLoop

log.configure("info")
agent_output.install("info")
print("nobody's")


class Odd:
    def __str__(self):
        raise ValueError


@contextmanager
def owned(name):
    owner = RunOwner(TurnInput(parse_session("", name), "", 0, "", {}, "{}", (), 1), None)
    owner.own()
    yield
    owner.end()


async def run(name):
    with owned(name):
        for piece in ("a", "b"):
            print(piece, end="")
            await asyncio.sleep(0)
        print()
        print("\\n  \\nend", end="")
        sys.stdout.writelines(["ing"])


async def main():
    await asyncio.gather(run("one"), run("two"))
    with owned("three"):
        logging.getLogger("x").debug("never")
        logging.getLogger("x").warning("%s and %s", "one")
        logging.getLogger("alembic.runtime").info("never")
        await asyncio.to_thread(logging.getLogger("y").error, "in a thread", exc_info=ValueError("why"))
        print("x" * 10_000, end="")
        print("y" * 10, Odd.__name__, file=sys.stdout, flush=True)
        print("half \\udc80")

with asyncio.Runner(loop_factory=OwnedLoop) as runner:
    runner.run(main())
"""


def test_lines_are_whole_and_have_the_fields_of_their_runs() -> None:
    done = subprocess.run([sys.executable, "-c", PROGRAM], capture_output=True, text=True, timeout=60, check=False)
    assert done.returncode == 0, done.stderr
    assert done.stdout == ""
    lines = [json.loads(line) for line in done.stderr.splitlines()]
    said = [(line.get("session"), line["event"], line["level"], line["text"]) for line in lines]
    assert said[0] == (None, "printed", "info", "nobody's")
    for name in ("one", "two"):
        assert [each[3] for each in said if each[0] == name] == ["ab", "ending"]
    assert [each[1:] for each in said if each[0] == "three"] == [
        ("logged", "warning", "%s and %s (TypeError)"),
        ("logged", "error", "in a thread"),
        ("printed", "info", "x" * 10_000),
        ("printed", "info", "y" * 10 + " Odd"),
        ("printed", "info", "half ?"),
    ]
    assert [line["logger"] for line in lines if line["event"] == "logged"] == ["x", "y"]
    assert "ValueError: why" in next(line["exception"] for line in lines if "exception" in line)
