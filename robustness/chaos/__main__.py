"""Breaks a cluster of its own, again and again, and checks that no session ever had two owners.

    scripts/chaos                                      # every fault once, about 8 minutes
    scripts/chaos --fault kill --seconds 300 --seed 7
    scripts/chaos --fault pause-long,cut-etcd --seeds 3 --json
    scripts/chaos --store postgresql                   # on a PostgreSQL of its own
    scripts/chaos --users --store postgresql --tls     # all by TLS, and nobody may do more than he must
    scripts/chaos --tls --fault kill,pause-long,cut-etcd,roll,lose-claims    # all know one another by certificates

What it does: for each fault and seed it starts etcd (of scripts/get_etcd where that was run), three nodes and two
routers, lets clients take turns and run tasks, and goes through cycles of the fault for so long; then it hands the
nodes' audit logs and the clients' histories to the checker. It prints one line a run and writes a report.

What the numbers mean: a violation is one of I1, I2, I4, I6 or of the session's staying where it is; a failover counts
from the fault to the client's first answer under the next epoch (after SIGTERM: from the end of the turn that ran);
turns are those whose end a client was told, tasks included; errors are tries that ended otherwise.

Exit status: 0 if all is as it must be; 1 if not; 2 for arguments that cannot be meant; 130 after Ctrl-C.
"""

import asyncio
import json
import signal
import sys
import tempfile
from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager
from dataclasses import replace
from pathlib import Path
from typing import Annotated

import typer

from agentring.cli.errors import CommandError
from harness.guarded_postgres import GuardedPostgres
from harness.postgres import PostgresProcess
from robustness.chaos.cluster.etcd import SAFE, Etcd, find_etcd
from robustness.chaos.cluster.namespaces import can_be_made
from robustness.chaos.cluster.world import Plan
from robustness.chaos.faults.fault import Fault
from robustness.chaos.report import report
from robustness.chaos.run import FAULTS, Outcome, run_fault

POSTGRESQL = "postgresql"

app = typer.Typer(add_completion=False, pretty_exceptions_enable=False)


@app.command(help=__doc__)
def chaos(
    fault: Annotated[str, typer.Option(help=f"all, or of {','.join(FAULTS)}.")] = "all",
    seconds: Annotated[float, typer.Option(min=1, help="How long each fault goes on; one cycle at the least.")] = 10.0,
    seed: Annotated[int, typer.Option(help="Of what is drawn.")] = 1,
    seeds: Annotated[int, typer.Option(min=1, help="So many seeds, from the first on.")] = 1,
    ttl: Annotated[int, typer.Option(min=2, help="The nodes' lease TTL in seconds.")] = 3,
    sessions: Annotated[int, typer.Option(min=1, help="Clients with a session each.")] = 12,
    tasks: Annotated[int, typer.Option(min=0, help="Pairs of clients with a task each.")] = 2,
    store: Annotated[
        str,
        typer.Option(
            help="postgresql (one of its own, a database for each run), or the nodes' --store, an empty one; default: "
            "an SQLite file of each run's own."
        ),
    ] = "",
    etcd: Annotated[Path | None, typer.Option(help="The etcd to use.")] = None,
    namespaces: Annotated[
        bool | None, typer.Option(help="Cut wires of network namespaces, not proxied links; default: if that can be.")
    ] = None,
    tls: Annotated[
        bool, typer.Option("--tls", help="Nodes, routers and clients know one another by certificates.")
    ] = False,
    users: Annotated[
        bool,
        typer.Option(
            "--users",
            help="etcd, and a PostgreSQL of its own, serve TLS; all are users that may do no more than they must.",
        ),
    ] = False,
    report_dir: Annotated[Path | None, typer.Option(help="Where the report goes; default: a new one in /tmp.")] = None,
    to_json: Annotated[bool, typer.Option("--json", help="JSON instead of the lines.")] = False,
) -> None:
    """Runs it."""
    names = list(FAULTS) if fault == "all" else fault.split(",")
    if unknown := [name for name in names if name not in FAULTS]:
        raise typer.BadParameter(f"--fault: there is no {unknown[0]!r}; there are {', '.join(FAULTS)}")
    if store and (unfit := [name for name in names if FAULTS[name].on_file]):
        print(f"chaos: left out, being about the SQLite file: {', '.join(unfit)}", file=sys.stderr)
        names = [name for name in names if name not in unfit]
    if users:
        if unfit := [name for name in names if FAULTS[name].reads_etcd or FAULTS[name].on_file]:
            print(f"chaos: left out, not being for users: {', '.join(unfit)}", file=sys.stderr)
            names = [name for name in names if name not in unfit]
        if namespaces:
            raise typer.BadParameter("--namespaces: etcd's certificate does not name their addresses")
        namespaces = False
    if store == POSTGRESQL and namespaces:
        raise typer.BadParameter("--namespaces: a node in one of its own does not reach the database")
    directory = report_dir or Path(tempfile.mkdtemp(prefix="agentring-chaos-report-"))
    directory.mkdir(parents=True, exist_ok=True)
    try:
        apart = store != POSTGRESQL and can_be_made() if namespaces is None else namespaces
        plan = Plan(etcd or find_etcd(), ttl_s=ttl, namespaces=apart, tls=tls, users=users)
        version = ".".join(map(str, _version(plan.etcd, directory)))
        runs = [(FAULTS[name], number) for name in names for number in range(seed, seed + seeds)]
        with _stores(store, guarded=users) as new_store:
            outcomes = asyncio.run(_run_until_signal(runs, plan, new_store, seconds, sessions, tasks, quiet=to_json))
    except CommandError as error:
        print(f"chaos: {error}", file=sys.stderr)
        raise typer.Exit(1) from None
    except (KeyboardInterrupt, asyncio.CancelledError):
        raise typer.Exit(130) from None
    page = report.write(outcomes, directory, f"etcd {version}, TTL {ttl} s, {seconds:g} s a run")
    print(f"report: {page}", file=sys.stderr)
    if to_json:
        print(json.dumps([report.as_json(outcome) for outcome in outcomes], indent=1))
    if not all(outcome.passed for outcome in outcomes):
        raise typer.Exit(1)


@contextmanager
def _stores(store: str, *, guarded: bool) -> Iterator[Callable[[], tuple[str, str]]]:
    """What makes each run's store, as Plan.store and Plan.owner_store."""
    if store != POSTGRESQL:
        yield lambda: (store, "")
        return
    with tempfile.TemporaryDirectory(prefix="agentring-chaos-postgresql-", ignore_cleanup_errors=True) as directory:
        Path(directory).chmod(0o755)  # its server is another user's
        place = Path(directory) / "server"
        if guarded:
            server = GuardedPostgres(place)
            try:
                yield server.new_urls
            finally:
                server.stop()
            return
        plain = PostgresProcess(place)
        try:
            yield lambda: (plain.database(), "")
        finally:
            plain.stop()


def _version(program: Path, directory: Path) -> tuple[int, int, int]:
    etcd = Etcd(program, directory, 0)
    if not etcd.is_safe:
        safe = ".".join(map(str, SAFE))
        print(f"chaos: {program} is older than {safe} and may corrupt its data when killed: scripts/get_etcd has a "
              "better one", file=sys.stderr)  # fmt: skip
    return etcd.version


async def _run_until_signal(
    runs: Sequence[tuple[Fault, int]],
    plan: Plan,
    new_store: Callable[[], tuple[str, str]],
    seconds: float,
    sessions: int,
    tasks: int,
    *,
    quiet: bool,
) -> list[Outcome]:
    task = asyncio.current_task()
    assert task is not None
    asyncio.get_running_loop().add_signal_handler(signal.SIGTERM, task.cancel)
    outcomes = []
    for fault, seed in runs:
        used, owned = await asyncio.to_thread(new_store)
        plan = replace(plan, store=used, owner_store=owned)
        outcome = await run_fault(fault, plan, seed=seed, seconds=seconds, sessions=sessions, tasks=tasks)
        outcomes.append(outcome)
        print(report.line(outcome), file=sys.stderr if quiet else sys.stdout, flush=True)
    return outcomes


if __name__ == "__main__":
    app()
