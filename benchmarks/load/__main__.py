"""The command line of `scripts/load`.

Exit status: 0 if every turn ended in turn_completed and every check held; 1 if anything went wrong; 2 for arguments
that cannot be meant. The report goes to stdout, the progress to stderr.
"""

import asyncio
import json
import random
import sys
from pathlib import Path
from typing import Annotated

import typer
from rich.console import Console

from agentring.cli.errors import ClusterFileMalformed
from agentring.cli.local.cluster_file import find_routers
from benchmarks.load.plan import Plan, PlanError, Rpc
from benchmarks.load.report import print_report
from benchmarks.load.run import run_load

app = typer.Typer(add_completion=False, pretty_exceptions_enable=False)

_LOAD = "Load"
_SHAPE = "A turn"
_TARGET = "Target"
_OUTPUT = "Output"


@app.command()
def load(
    sessions: Annotated[int, typer.Option(min=1, help="Sessions in all.", rich_help_panel=_LOAD)] = 50,
    concurrency: Annotated[
        int | None, typer.Option(min=1, help="Sessions open at a time.", show_default="all", rich_help_panel=_LOAD)
    ] = None,
    turns: Annotated[
        int, typer.Option(min=0, help="Turns of each session; 0: until --duration-s.", rich_help_panel=_LOAD)
    ] = 20,
    rate: Annotated[
        float | None,
        typer.Option(
            help="Open loop: so many turns per second in all are due on a fixed schedule, and latency counts from "
            "when a turn was due.",
            show_default="closed loop: a session's next turn follows its last",
            rich_help_panel=_LOAD,
        ),
    ] = None,
    duration_s: Annotated[
        float, typer.Option(help="No turn is started after so many seconds.", rich_help_panel=_LOAD)
    ] = 300.0,
    seed: Annotated[
        int | None,
        typer.Option(
            help="Names the sessions: the same seed, the same sessions.", show_default="random", rich_help_panel=_LOAD
        ),
    ] = None,
    session_prefix: Annotated[str, typer.Option(help="How session ids begin.", rich_help_panel=_LOAD)] = "load",
    agent: Annotated[str, typer.Option(help="Who is spoken with.", rich_help_panel=_SHAPE)] = "echo",
    tokens: Annotated[int, typer.Option(min=0, help="Tokens asked for.", rich_help_panel=_SHAPE)] = 20,
    token_rate: Annotated[
        float | None, typer.Option(help="Tokens per second asked for.", show_default="no limit", rich_help_panel=_SHAPE)
    ] = None,
    turn_timeout_s: Annotated[
        float, typer.Option(help="How long a turn may take once it is sent.", rich_help_panel=_SHAPE)
    ] = 30.0,
    rpc: Annotated[
        Rpc, typer.Option(help="One stream a session, or one call a turn.", rich_help_panel=_SHAPE)
    ] = Rpc.CONVERSE,
    allow_moves: Annotated[
        bool,
        typer.Option("--allow-moves", help="A session may change its node: counted, no error.", rich_help_panel=_SHAPE),
    ] = False,
    router: Annotated[
        list[str] | None,
        typer.Option(
            help="host:port; repeated: used in turn.",
            show_default="those of DATA_DIR/cluster.json, else 127.0.0.1:7700",
            rich_help_panel=_TARGET,
        ),
    ] = None,
    data_dir: Annotated[
        Path, typer.Option(help="Where `agentring up` keeps the cluster.", rich_help_panel=_TARGET)
    ] = Path(".agentring"),
    channels: Annotated[int, typer.Option(min=1, help="Connections to each router.", rich_help_panel=_TARGET)] = 4,
    as_json: Annotated[
        bool, typer.Option("--json", help="JSON, and nothing else, on stdout.", rich_help_panel=_OUTPUT)
    ] = False,
    plot: Annotated[
        Path | None,
        typer.Option(help="Also draw latency and throughput over time here (.png).", rich_help_panel=_OUTPUT),
    ] = None,
) -> None:
    """Puts turns on a cluster through its routers, checks every answer and tells how fast they came."""
    try:
        plan = Plan(
            sessions=sessions,
            concurrency=sessions if concurrency is None else concurrency,
            turns=turns,
            tokens=tokens,
            token_rate=token_rate,
            rate=rate,
            duration_s=duration_s,
            turn_timeout_s=turn_timeout_s,
            rpc=rpc,
            agent=agent,
            session_prefix=session_prefix,
            seed=random.getrandbits(32) if seed is None else seed,
        )
        routers = router or find_routers(None, data_dir)
    except (PlanError, ClusterFileMalformed) as error:
        raise typer.BadParameter(str(error)) from None
    if plot is not None and not plot.absolute().parent.is_dir():
        raise typer.BadParameter(f"--plot: there is no directory {plot.absolute().parent}")
    report = asyncio.run(run_load(plan, routers, channels, Console(stderr=True), may_move=allow_moves))
    if plot is not None:
        # Slow to import, and needed by few runs.
        from benchmarks.load.plot import write_plot

        write_plot(report, plot)
    if as_json:
        json.dump(report.as_json(), sys.stdout, indent=2)
        sys.stdout.write("\n")
    else:
        print_report(report, Console())
    raise typer.Exit(0 if report.ok else 1)


if __name__ == "__main__":
    app(prog_name="scripts/load")
