"""An author's own agents on a cluster in the background: variables, what they print and log, and their tracebacks."""

import asyncio
import json
import os
import signal
import sys
from collections.abc import Iterator
from pathlib import Path

import pytest

from agentring.v1 import session_pb2, task_pb2
from agentring.v1.session_pb2_grpc import SessionServiceStub
from agentring.v1.task_pb2_grpc import TaskServiceStub
from harness.client import connect, turn
from harness.up_process import DEADLINE_S, OURS, agentring

pytestmark = pytest.mark.skipif(sys.platform != "linux", reason="looks into /proc")

AGENTS = """
import logging
import os
import warnings

import structlog

print("imported")


async def shout(ctx):
    print("printed", ctx.input_text, end="")
    print("\\nand more", end="")
    logging.getLogger("shop").info("bought %s", "milk")
    warnings.warn(f"old shop for {ctx.input_text}")
    structlog.get_logger().info("looked_up", city="Oslo")
    yield f"{ctx.input_text.upper()} {os.environ['SHOUT_KEY']} {os.environ['HOME']}"


async def broken(ctx):
    yield "so far"
    ctx.state["price"] = 1 / 0
"""


@pytest.fixture(scope="module")
def place(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Path]:
    """A directory in which `agentring up --detach` has put a cluster."""
    place = tmp_path_factory.mktemp("authoring")
    (place / "my_agents.py").write_text(AGENTS)
    (place / "variables.env").write_text("# of the agents\nSHOUT_KEY='s3cret $x'\nexport HOME=nowhere\n")
    flags = ("--nodes", "1", "--port", "0", "--env-file", "variables.env")
    hosted = ("--agent", "my_agents", "--agent", "lost=no_such.part:agent", "--agent", "loud=my_agents:shout")
    status, out, err = asyncio.run(agentring("up", "--detach", *flags, *hosted, within=place))
    assert (status, err) == (0, "")
    try:
        lines = out.splitlines()
        assert lines[-1] == "ready"
        assert "agentring down stops everything" in lines[-2]
        (left_out,) = [line for line in lines if "lost" in line]
        assert "ModuleNotFoundError: No module named 'no_such'" in left_out
        yield place
    finally:
        status, out, err = asyncio.run(agentring("down", within=place))
        assert (status, out, err) == (0, "stopped\n", "")


async def test_agents_by_flag_have_the_files_variables_and_ours_win(place: Path) -> None:
    for agent in ("shout", "loud"):
        status, out, err = await agentring("chat", f"to-{agent}", "--agent", agent, within=place, stdin="hi\n")
        assert (status, err) == (0, "")
        assert out.splitlines()[1] == f"HI s3cret $x {os.environ['HOME']}"


async def test_what_an_agent_prints_logs_and_warns_of_has_the_runs_fields(place: Path) -> None:
    await agentring("chat", "printing", "--agent", "shout", within=place, stdin="hey\n")
    _, out, _ = await agentring("logs", "--json", "--lines", "0", within=place)
    lines = [json.loads(line) for line in out.splitlines()]
    assert any(line["event"] == "printed" and line["text"] == "imported" for line in lines)
    ours = [line for line in lines if line.get("session") == "printing"]
    assert all({"agent", "session", "turn", "tenant"} <= line.keys() and line["agent"] == "shout" for line in ours)
    assert [(line["event"], line["level"]) for line in ours] == [
        ("printed", "info"),
        ("logged", "info"),
        ("logged", "warning"),
        ("looked_up", "info"),
        ("printed", "info"),
    ]
    assert [line.get("text", "") for line in ours[:2]] == ["printed hey", "bought milk"]
    assert "UserWarning: old shop for hey" in ours[2]["text"]
    assert ours[4]["text"] == "and more"
    status, shown, _ = await agentring("logs", "n1", within=place)
    assert status == 0
    assert any(" n1 info shop: bought milk  agent=shout" in line for line in shown.splitlines())
    assert any(" n1 info printed hey  agent=shout session=printing" in line for line in shown.splitlines())


async def test_the_trace_of_the_call_is_a_field_of_each_line(place: Path) -> None:
    traces = {"turn": "0af7651916cd43dd8448eb211c80319c", "task": "4bf92f3577b34da6a3ce929d0e0e4736"}
    cluster = json.loads((place / ".agentring" / "cluster.json").read_text())
    async with connect(cluster["router"][0]) as channel:
        metadata = {kind: (("traceparent", f"00-{trace}-b7ad6b7169203331-01"),) for kind, trace in traces.items()}
        for text in ("untraced", "traced"):
            request = session_pb2.RunTurnRequest(session_id="traces", agent="shout", turn=turn(text))
            call = SessionServiceStub(channel).RunTurn(request, metadata=metadata["turn"] if text == "traced" else ())
            assert [response async for response in call]
        task = task_pb2.RunTaskRequest(task_key="traces", agent="shout", input=session_pb2.Input(text="task"))
        assert [each async for each in TaskServiceStub(channel).RunTask(task, metadata=metadata["task"])]
    _, out, _ = await agentring("logs", "--json", "--lines", "0", within=place)
    lines = [json.loads(line) for line in out.splitlines()]
    found = {(line["text"], line.get("trace")) for line in lines if line["event"] == "printed" and "agent" in line}
    assert {("printed untraced", None), ("printed traced", traces["turn"])} <= found
    assert {line.get("trace") for line in lines if line.get("task") == "traces" and line["event"] == "printed"} == {
        traces["task"]
    }


async def test_a_failed_turn_says_where_its_traceback_is(place: Path) -> None:
    status, out, _ = await agentring("chat", "failing", "--agent", "broken", within=place, stdin="hi\n")
    assert status == 1
    failed, hint = out.splitlines()[-2:]
    error_id = failed.rpartition(" ")[2]
    assert hint == f"its traceback: agentring logs --error {error_id}"
    status, out, _ = await agentring("logs", "--error", error_id, within=place)
    assert status == 0
    assert f'File "{place / "my_agents.py"}"' in out
    assert out.splitlines()[-1].strip() == "ZeroDivisionError: division by zero"
    status, out, err = await agentring("logs", "--error", "0" * 16, within=place)
    assert (status, out) == (1, "")
    assert err == f"agentring: no line with error_id {'0' * 16} in .agentring/logs\n"


async def test_logs_follow_what_comes(place: Path) -> None:
    process = await asyncio.create_subprocess_exec(
        *(*OURS, "logs", "--follow", "--lines", "1"), cwd=place, stdout=asyncio.subprocess.PIPE
    )
    assert process.stdout is not None
    try:
        async with asyncio.timeout(DEADLINE_S):
            await process.stdout.readline()  # the last one that was there
            await agentring("chat", "followed", "--agent", "shout", within=place, stdin="hi\n")
            while "session=followed" not in (line := (await process.stdout.readline()).decode()):
                assert line
        process.send_signal(signal.SIGINT)
        await process.stdout.read()
        assert await process.wait() == 130
    finally:
        if process.returncode is None:
            process.kill()
            await process.wait()


async def test_there_is_no_log_of_others(place: Path) -> None:
    status, _, err = await agentring("logs", "n7", within=place)
    assert (status, err) == (1, "agentring: no log of n7 in .agentring/logs\n")


async def test_it_outlives_the_command_that_started_it_and_keeps_its_directory(place: Path) -> None:
    status, _, err = await agentring("up", "--port", "0", within=place)
    assert status == 2
    pid = int((place / ".agentring" / "lock").read_text())
    assert f"(pid {pid})" in err
    assert os.getsid(pid) == pid


async def test_what_fails_before_it_is_ready_is_said_with_its_status_and_leaves_nothing(tmp_path: Path) -> None:
    (tmp_path / "nodes").mkdir()
    (tmp_path / "nodes" / "n1").write_text("where a directory should be")
    flags = ("--nodes", "1", "--port", "0", "--data-dir", str(tmp_path))
    status, _, err = await agentring("up", "--detach", *flags)
    assert status == 1
    assert "agentring: n1 (pid " in err
    assert (await agentring("down", "--data-dir", str(tmp_path)))[:2] == (0, f"nothing runs in {tmp_path}\n")


@pytest.mark.parametrize(
    ("flags", "said"),
    [
        (("--agent", "my agent"), "--agent my agent: it is neither name=package.module:attribute nor package.module"),
        (("--agent", "a=b"), "--agent a=b: it is neither name=package.module:attribute nor package.module"),
        (("--env-file", "none.env"), "--env-file none.env: No such file or directory"),
        (("--env-file", "bad.env"), "--env-file bad.env: line 3: not NAME=VALUE"),
    ],
)
async def test_wrong_flags_are_one_line(tmp_path: Path, flags: tuple[str, ...], said: str) -> None:
    (tmp_path / "bad.env").write_text("A=1\n\nsecret words\n")
    status, out, err = await agentring("up", *flags, within=tmp_path)
    assert (status, out, err) == (2, "", f"agentring: {said}\n")
