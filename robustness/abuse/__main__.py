"""Attacks a router and measures what its neighbours notice. Needs nothing that runs: it starts a cluster of its own.

    scripts/abuse                                  # every attack at full size, about 6 minutes
    scripts/abuse --attack rapid-reset,pings       # these alone
    scripts/abuse --json --seconds 10              # all that was measured, for programs

What it does: starts etcd and two nodes with the agent `echo`, and for each attack a fresh router, alone on one core;
all else shares another. Eight well-behaved Converse streams take turns, one after the other with 10 ms between, and
every turn is timed; then the attacker does its worst for the given seconds, again and again where it was thrown out.

What the numbers mean: p50, p99 and max are the latency of the neighbours' turns in ms, before the attack and from its
beginning until the attacker has let go; on a core that attacker, neighbours and nodes share, so they are rather too
high. `ended by`: GOAWAY's code, and how many connections had it (`stayed`: not ended); `after`: how long the longest
was let go on. RSS: the router's memory before, at its peak, and two seconds after the end. The limits are in cases.py.

Exit status: 0 if every attack passed; 1 if not; 2 for arguments that cannot be meant; 130 after Ctrl-C.
"""

import asyncio
import json
import signal
import sys
from collections.abc import Sequence
from typing import Annotated

import typer
from rich.console import Console

from agentring.cli.errors import CommandError
from robustness.abuse.cases import CASES, Case
from robustness.abuse.partner import PartnerFailed
from robustness.abuse.report import as_json, print_report
from robustness.abuse.run import Row, end_of, run

app = typer.Typer(add_completion=False, pretty_exceptions_enable=False)


@app.command(help=__doc__)
def abuse(
    attack: Annotated[str, typer.Option(help=f"all, or of {','.join(CASES)}.")] = "all",
    seconds: Annotated[float, typer.Option(min=0.5, help="How long each attack goes on.")] = 5.0,
    to_json: Annotated[bool, typer.Option("--json", help="JSON instead of the table.")] = False,
    router_flag: Annotated[list[str] | None, typer.Option(help="A further flag of the router, --name=value.")] = None,
) -> None:
    """Runs it."""
    names = list(CASES) if attack == "all" else attack.split(",")
    if unknown := [name for name in names if name not in CASES]:
        raise typer.BadParameter(f"--attack: there is no {unknown[0]!r}; there are {', '.join(CASES)}")
    try:
        rows = asyncio.run(_run_until_signal([CASES[name] for name in names], seconds, tuple(router_flag or ())))
    except (CommandError, PartnerFailed) as error:
        print(f"abuse: {error}", file=sys.stderr)
        raise typer.Exit(1) from None
    except (KeyboardInterrupt, asyncio.CancelledError):
        raise typer.Exit(130) from None
    if to_json:
        print(json.dumps(as_json(rows), indent=1))
    else:
        console = Console()
        if not console.is_terminal:
            console.width = 200
        print_report(console, rows)
    if any(row.faults for row in rows):
        raise typer.Exit(1)


async def _run_until_signal(cases: Sequence[Case], seconds: float, router_flags: tuple[str, ...]) -> list[Row]:
    def report(row: Row) -> None:
        verdict = "FAIL: " + "; ".join(row.faults) if row.faults else "pass"
        print(f"{row.case.attack:22} {end_of(row.outcome):40} {verdict}", file=sys.stderr)

    task = asyncio.current_task()
    assert task is not None
    asyncio.get_running_loop().add_signal_handler(signal.SIGTERM, task.cancel)
    return await run(cases, seconds, router_flags, report)


if __name__ == "__main__":
    app()
