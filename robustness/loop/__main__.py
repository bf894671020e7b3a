"""`scripts/loop_soak`: long loops of model calls and tools, whose nodes are killed: is anything paid or done twice?

How to run it:

    scripts/loop_soak                                  # 100 calls a loop, 500 kills, on SQLite: most of an hour
    scripts/loop_soak --store postgresql               # on a PostgreSQL of its own
    scripts/loop_soak --calls 20 --kills 10            # a short one

What it does: starts etcd, two nodes and a router as processes, and in this process an endpoint that speaks OpenAI's
chat completions. A loop is one turn of the agent of robustness/loop/agent.py: the model asks for the tool again and
again, whose every result has 5 KB; with the instructions, the last calls read some 200,000 tokens. A node that is drawn
is killed (SIGKILL) at an instant that is drawn, and started again, until there were enough kills; then the loops come
to their ends.

What must hold of each loop: no model call and no tool call begins after it was finished (the next call shows its
outcome); at most --calls and one for each kill are paid; before its last answer the store has at most twice its unique
bytes; its text is what the model said. `heard again`: loops whose client got more text twice than the answers that were
under way.

Exit status: 0 if all of that holds; 1 if not.
"""

import asyncio
import json
import sys
import tempfile
from contextlib import ExitStack
from pathlib import Path
from typing import Annotated, Any

import typer
from rich.console import Console

from harness.cluster import Cluster
from harness.etcd import EtcdProcess
from harness.postgres import PostgresProcess
from robustness.loop.run import FLAGS, ROUTER_FLAGS, Plan, run
from robustness.loop.stored import stored_in_postgres, stored_in_sqlite

SHOWN = 10

app = typer.Typer(add_completion=False, pretty_exceptions_enable=False)


@app.command(help=__doc__)
def main(
    calls: Annotated[int, typer.Option(min=2, help="Model calls of a loop.")] = 100,
    kills: Annotated[int, typer.Option(min=0, help="Of nodes, in all.")] = 500,
    beside: Annotated[int, typer.Option(min=1, help="Loops at a time.")] = 4,
    slowest: Annotated[float, typer.Option(min=0, help="The longest time of an answer, in seconds.")] = 0.2,
    longest: Annotated[float, typer.Option(min=0, help="From one kill to the next, at most, in seconds.")] = 3.0,
    store: Annotated[str, typer.Option(help="sqlite, or postgresql (one of its own).")] = "sqlite",
    seed: Annotated[int, typer.Option(help="Of what is drawn.")] = 1,
    as_json: Annotated[bool, typer.Option("--json", help="Print JSON.")] = False,
) -> None:
    """Runs it."""
    if store not in ("sqlite", "postgresql"):
        raise typer.BadParameter("--store is sqlite or postgresql")
    plan = Plan(calls, kills, beside, slowest, longest, seed)
    with ExitStack() as stack:
        made = tempfile.TemporaryDirectory(prefix="agentring-loop-", ignore_cleanup_errors=True)
        directory = Path(stack.enter_context(made))
        directory.chmod(0o755)  # PostgreSQL runs as another user, in a directory of its own
        found = asyncio.run(_run(stack, plan, store, directory))
    if as_json:
        print(json.dumps(found, indent=1))
    else:
        _print(found)
    sys.exit(1 if found["faults"] or found["heard_again"] else 0)


async def _run(stack: ExitStack, plan: Plan, store: str, directory: Path) -> dict[str, Any]:
    etcd = await asyncio.to_thread(EtcdProcess, directory)
    stack.callback(etcd.stop)
    flags: tuple[str, ...] = FLAGS
    if store == "postgresql":
        server = await asyncio.to_thread(PostgresProcess, directory / "postgresql")
        stack.callback(server.stop)
        url = server.database()
        flags = (*FLAGS, f"--store={url}")

        def stored(session_id: str) -> dict[str, int]:
            return stored_in_postgres(server, url.rpartition("/")[2], session_id)
    else:
        file = directory / "store.db"
        flags = (*FLAGS, f"--store=sqlite:///{file}")

        def stored(session_id: str) -> dict[str, int]:
            return stored_in_sqlite(file, session_id)

    cluster = Cluster(etcd.url, directory, lease_ttl_s=2)
    stack.callback(cluster.stop)

    def start() -> Cluster:
        cluster.start(nodes=2, flags=flags, router_flags=ROUTER_FLAGS)
        return cluster

    return await run(start, flags, plan, stored, directory)


def _print(found: dict[str, Any]) -> None:
    console = Console(highlight=False, soft_wrap=True)
    console.print(
        f"{found['loops']} loops, {found['kills']} kills ({found['kills_of_loops']} of a loop that ran), "
        f"{found['restarts']} restarts; {found['calls']} model calls, {found['paid']} paid; {found['tool_calls']} tool "
        f"calls, {found['tools_run']} run; {found['context_bytes']} bytes of context"
    )
    console.print(
        f"stored at most {found['stored_times']:.2f} times the unique {found['unique_bytes']} bytes: {found['stored']}"
    )
    console.print(f"{found['text_bytes']} bytes of text, {found['received_bytes']} received")
    for kind in ("faults", "heard_again"):
        console.print(f"{kind.replace('_', ' ')}: {len(found[kind])}")
        for line in found[kind][:SHOWN]:
            console.print(f"  {line}")


if __name__ == "__main__":
    app()
