"""`agentring logs [NODE]`: what the processes of the local cluster log, together and readable."""

from collections import deque
from collections.abc import Callable, Iterable
from typing import Annotated

import typer

from agentring.cli.errors import NothingLogged
from agentring.cli.local.data_dir import DataDir
from agentring.cli.local.log_files import LogFollower, LogLine, in_order, read_lines, sources
from agentring.cli.options import DEFAULT_DATA_DIR, DataDirOption
from agentring.cli.terminal.interrupts import run_interruptible
from agentring.cli.terminal.log_view import show_line
from agentring.cli.terminal.printing import console


def logs(
    node: Annotated[str, typer.Argument(help="n1, r1, etcd, up; without one: all nodes and routers.")] = "",
    follow: Annotated[bool, typer.Option("--follow", "-f", help="Go on with what comes, until Ctrl-C.")] = False,
    error: Annotated[str, typer.Option(help="Only what was logged under this error_id, its traceback too.")] = "",
    lines: Annotated[int, typer.Option(min=0, help="How many of the last lines; 0: all.")] = 100,
    raw: Annotated[bool, typer.Option("--json", help="Print the lines as they were written.")] = False,
    data_dir: DataDirOption = DEFAULT_DATA_DIR,
) -> None:
    """Show the log of the local cluster's nodes and routers: what agents print and log, and their tracebacks."""
    place = DataDir(data_dir).logs
    names = [node] if node else [name for name in sources(place) if name not in ("etcd", "up")]
    if not (place / f"{node or next(iter(names), '')}.log").is_file():
        raise NothingLogged(f"log of {node}" if node else "logs", place)
    out = console()

    def show(found: Iterable[LogLine]) -> None:
        for line in found:
            if error and line.fields.get("error_id") != error:
                continue
            if raw:
                print(line.text, flush=True)
            else:
                show_line(out, line.source, line.text, line.fields)

    follower = LogFollower(place, names if node else None) if follow else None
    written: list[LogLine] = []
    for name in names:
        found = (line for line in read_lines(place, name) if not error or line.fields.get("error_id") == error)
        written += deque(found, maxlen=None if error else lines or None)
    if error and not written and follower is None:
        raise NothingLogged(f"line with error_id {error}", place)
    show(in_order(written, 0 if error else lines))
    if follower is not None:
        run_interruptible(_follow(follower, show))


async def _follow(follower: LogFollower, show: Callable[[Iterable[LogLine]], None]) -> None:
    async for lines in follower.lines():
        show(line for line in lines if line.source not in ("etcd", "up"))
