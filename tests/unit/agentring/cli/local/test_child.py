"""A child process: its ready line, its log, its end."""

import asyncio
import os
import signal
import sys
from collections.abc import Callable
from contextlib import suppress
from dataclasses import replace
from pathlib import Path

import pytest
import uvloop

from agentring.cli.errors import ChildFailed
from agentring.cli.local.child import Child, ChildSpec

READY = 'print(\'{"ready": true, "address": "a:1"}\', flush=True)'
PATIENCE_S = 20.0
DEAF = "import signal, time; signal.signal(signal.SIGTERM, signal.SIG_IGN)"


def python(tmp_path: Path, script: str, patience_s: float = 30.0) -> ChildSpec:
    """A Python process with this script."""
    return ChildSpec("n1", (sys.executable, "-c", script), tmp_path / "n1.log", patience_s)


async def test_the_ready_line_is_its_first(tmp_path: Path, children: list[Child]) -> None:
    children.append(await Child.start(python(tmp_path, f"{READY}; import time; time.sleep(60)")))
    assert await children[0].ready_line(30.0) == {"ready": True, "address": "a:1"}
    assert not children[0].has_ended
    await children[0].stop(asyncio.Event())
    assert children[0].describe_end() == f"(pid {children[0].pid}) was killed by SIGTERM"


async def test_one_that_ends_before_it_is_ready_is_told_with_its_last_words(
    tmp_path: Path, children: list[Child]
) -> None:
    script = (
        "import sys; print(*range(100), sep='\\n', file=sys.stderr); print('no etcd', file=sys.stderr); sys.exit(2)"
    )
    children.append(await Child.start(python(tmp_path, script)))
    with pytest.raises(ChildFailed) as failed:
        await children[0].ready_line(30.0)
    lines = str(failed.value).splitlines()
    assert lines[0] == f"n1 (pid {children[0].pid}) exited with status 2; log: {tmp_path / 'n1.log'}"
    assert lines[-2:] == ["  99", "  no etcd"]
    assert len(lines) == 13


@pytest.mark.parametrize("line", ["hello", "[]", '{"ready": false}', "", "[" * 100_000])
async def test_what_is_printed_before_its_ready_line_is_passed_over(
    tmp_path: Path, children: list[Child], line: str
) -> None:
    script = f"import sys, time; sys.stdout.write({line!r} + chr(10)); {READY}; time.sleep(60)"
    children.append(await Child.start(python(tmp_path, script)))
    assert await children[0].ready_line(30.0) == {"ready": True, "address": "a:1"}


@pytest.mark.parametrize("new_loop", [asyncio.new_event_loop, uvloop.new_event_loop])
def test_it_has_its_own_umask_on_either_event_loop(
    tmp_path: Path, new_loop: Callable[[], asyncio.AbstractEventLoop]
) -> None:
    async def start() -> None:
        script = f"import pathlib; pathlib.Path({str(tmp_path / 'made')!r}).touch()"
        child = await Child.start(replace(python(tmp_path, script), umask=0o077, prints_ready_line=False))
        await child.ended()

    with asyncio.Runner(loop_factory=new_loop) as runner:
        runner.run(start())
    assert (tmp_path / "made").stat().st_mode & 0o777 == 0o600


HEIR = "import subprocess; heir = subprocess.Popen(['sleep', '60']); print(heir.pid, file=sys.stderr, flush=True)"


async def test_its_end_is_noticed_while_a_child_of_its_own_has_its_stdout(
    tmp_path: Path, children: list[Child]
) -> None:
    """Before it is ready, after that, and while it is stopped."""
    spec = python(tmp_path, f"import sys, time; {HEIR}; time.sleep(0 if sys.argv[1:] else 60)")
    try:
        children.append(await Child.start(replace(spec, command=(*spec.command, "end"))))
        with pytest.raises(ChildFailed, match="exited with status 0"):
            await children[0].ready_line(PATIENCE_S)
    finally:
        kill_heir(spec)
    try:
        children.append(await Child.start(python(tmp_path, f"import sys, time; {HEIR}; {READY}; time.sleep(60)")))
        await children[1].ready_line(PATIENCE_S)
        async with asyncio.timeout(PATIENCE_S):
            os.kill(children[1].pid, signal.SIGKILL)
            await children[1].ended()
            await children[1].stop(asyncio.Event())
        assert children[1].describe_end() == f"(pid {children[1].pid}) was killed by SIGKILL"
    finally:
        kill_heir(spec)


def kill_heir(spec: ChildSpec) -> None:
    """Ends the child's child, whose pid is the log's first line."""
    with suppress(ProcessLookupError):
        os.kill(int(spec.log_path.read_text().split()[0]), signal.SIGKILL)


async def test_its_end_is_told_where_its_log_was_removed(tmp_path: Path, children: list[Child]) -> None:
    children.append(await Child.start(python(tmp_path, "raise SystemExit(3)")))
    await children[0].ended()
    children[0].spec.log_path.unlink()
    assert children[0].failure().log_tail == ("(no log: No such file or directory)",)


async def test_one_that_is_never_ready_is_told(tmp_path: Path, children: list[Child]) -> None:
    children.append(await Child.start(python(tmp_path, "import time; time.sleep(60)")))
    with pytest.raises(ChildFailed, match=r"was not ready within 0\.01 s"):
        await children[0].ready_line(0.01)


async def test_one_that_cannot_be_started_is_told(tmp_path: Path) -> None:
    with pytest.raises(ChildFailed, match="n1 could not be started: No such file or directory"):
        await Child.start(ChildSpec("n1", (str(tmp_path / "nothing"),), tmp_path / "n1.log", 1.0))


async def test_one_deaf_to_sigterm_is_killed_when_patience_is_over(tmp_path: Path, children: list[Child]) -> None:
    children.append(await Child.start(python(tmp_path, f"{DEAF}; {READY}; time.sleep(60)", patience_s=0.01)))
    await children[0].ready_line(30.0)
    await children[0].stop(asyncio.Event())
    assert children[0].describe_end() == f"(pid {children[0].pid}) was killed by SIGKILL"


async def test_a_second_signal_hastens_the_stop(tmp_path: Path, children: list[Child]) -> None:
    children.append(await Child.start(python(tmp_path, f"{DEAF}; {READY}; time.sleep(60)", patience_s=3_600.0)))
    await children[0].ready_line(30.0)
    hasten = asyncio.Event()
    async with asyncio.timeout(30.0), asyncio.TaskGroup() as tasks:
        tasks.create_task(children[0].stop(hasten))
        hasten.set()
    assert children[0].describe_end() == f"(pid {children[0].pid}) was killed by SIGKILL"


async def test_each_start_begins_a_log_and_keeps_the_one_before(tmp_path: Path, children: list[Child]) -> None:
    for word in ("one", "two", "three"):
        children.append(await Child.start(python(tmp_path, f"import sys; print({word!r}, file=sys.stderr)")))
        await children[-1].ended()
    assert (tmp_path / "n1.log").read_text() == "three\n"
    assert (tmp_path / "n1.log.1").read_text() == "two\n"


@pytest.mark.skipif(sys.platform != "linux", reason="PR_SET_PDEATHSIG is Linux's")
@pytest.mark.parametrize("orphan_signal", [signal.SIGKILL, signal.SIGTERM])
async def test_the_kernel_ends_it_when_its_parent_is_killed(tmp_path: Path, orphan_signal: signal.Signals) -> None:
    # The parent prints its child's pid and is killed.
    parent_script = f"""
import asyncio, os, signal, sys
from pathlib import Path
from agentring.cli.local.child import Child, ChildSpec
async def main():
    path = Path({str(tmp_path / "child.log")!r})
    script = "import os, sys, time; os.write(2, b'started'); time.sleep(60)"
    spec = ChildSpec("c", (sys.executable, "-c", script), path, 1.0, signal.Signals({int(orphan_signal)}))
    child = await Child.start(spec)
    print(child.pid, flush=True)
    await asyncio.sleep(60)
asyncio.run(main())
"""
    parent = await asyncio.create_subprocess_exec(
        sys.executable, "-c", parent_script, stdout=asyncio.subprocess.PIPE, stdin=asyncio.subprocess.DEVNULL
    )
    assert parent.stdout is not None
    async with asyncio.timeout(30.0):
        orphan = os.pidfd_open(int(await parent.stdout.readline()))
        try:
            parent.kill()
            await parent.wait()
            await readable(orphan)
        finally:
            os.close(orphan)


async def readable(fd: int) -> None:
    """Waits until the descriptor can be read; a process's, until it has ended."""
    loop = asyncio.get_running_loop()
    ready = asyncio.Event()
    loop.add_reader(fd, ready.set)
    try:
        await ready.wait()
    finally:
        loop.remove_reader(fd)
