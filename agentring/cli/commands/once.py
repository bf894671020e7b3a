"""`agentring once`: what became of steps that run once, and what is to become of those that nobody knows of."""

import json
import sys
from collections.abc import Iterable
from enum import StrEnum
from functools import partial
from typing import Annotated

import typer
from google.protobuf.empty_pb2 import Empty
from rich.table import Table

from agentring import plain_json
from agentring.cli.calls import CALL_DEADLINE_S, open_channel, tenant_metadata
from agentring.cli.errors import NothingToResolveWith
from agentring.cli.local.cluster_file import find_router
from agentring.cli.options import DEFAULT_DATA_DIR, DataDirOption, JsonOption, RouterOption, TenantOption
from agentring.cli.terminal.listing import read_list, to_state, to_word
from agentring.cli.terminal.printing import console, print_json, to_fields
from agentring.v1 import once_pb2
from agentring.v1.once_pb2_grpc import OnceServiceStub

app = typer.Typer(help="See and settle the runs of steps that run once (ctx.once).", no_args_is_help=True)

KeyArgument = Annotated[str, typer.Argument(help="The step's key.")]


class RunState(StrEnum):
    """What a listing can be restricted to."""

    pending = "pending"
    running = "running"
    completed = "completed"
    failed = "failed"
    unknown = "unknown"


@app.command("list")
def list_runs(
    state: Annotated[RunState | None, typer.Option(help="Only runs in this state.")] = None,
    prefix: Annotated[str, typer.Option(help="Only keys that begin so.")] = "",
    router: RouterOption = None,
    tenant: TenantOption = "",
    data_dir: DataDirOption = DEFAULT_DATA_DIR,
    as_json: JsonOption = False,
) -> None:
    """List runs: `--state unknown` are those that wait for somebody."""
    request = once_pb2.ListRunsRequest(once_key_prefix=prefix, state=to_state(state))
    with open_channel(find_router(router, data_dir)) as channel:
        ask = partial(OnceServiceStub(channel).ListRuns, timeout=CALL_DEADLINE_S, metadata=tenant_metadata(tenant))
        runs = read_list(ask, request, once_pb2.ListRunsResponse(), "runs", sys.maxsize).runs
    if as_json:
        print_json({"runs": [to_fields(run) for run in runs]})
    else:
        console().print(_render(runs))


@app.command("show")
def show(
    key: KeyArgument,
    router: RouterOption = None,
    tenant: TenantOption = "",
    data_dir: DataDirOption = DEFAULT_DATA_DIR,
    as_json: JsonOption = False,
) -> None:
    """Show a key's latest run."""
    with open_channel(find_router(router, data_dir)) as channel:
        found = OnceServiceStub(channel).GetRun(
            once_pb2.GetRunRequest(once_key=key), timeout=CALL_DEADLINE_S, metadata=tenant_metadata(tenant)
        )
    _print_run(found.run, as_json=as_json)


@app.command("resolve")
def resolve(
    key: KeyArgument,
    result: Annotated[
        str | None, typer.Option(help="It took effect: the result, as JSON, that every call gets.")
    ] = None,
    run_again: Annotated[bool, typer.Option("--run-again", help="The next call runs it again.")] = False,
    router: RouterOption = None,
    tenant: TenantOption = "",
    data_dir: DataDirOption = DEFAULT_DATA_DIR,
    as_json: JsonOption = False,
) -> None:
    """Settle a run that is unknown or has failed."""
    request = once_pb2.ResolveRunRequest(once_key=key)
    if (result is None) is not run_again:
        raise NothingToResolveWith
    if result is None:
        request.run_again.CopyFrom(Empty())
    else:
        try:
            request.result.CopyFrom(plain_json.to_value(plain_json.parse(result)))
        except plain_json.NotJson as error:
            raise NothingToResolveWith(str(error)) from None
        except ValueError:
            raise NothingToResolveWith from None
    with open_channel(find_router(router, data_dir)) as channel:
        settled = OnceServiceStub(channel).ResolveRun(
            request, timeout=CALL_DEADLINE_S, metadata=tenant_metadata(tenant)
        )
    _print_run(settled.run, as_json=as_json)


def _print_run(run: once_pb2.Run, *, as_json: bool) -> None:
    if as_json:
        print_json(to_fields(run))
    else:
        console().print(_render([run]))


def _render(runs: Iterable[once_pb2.Run]) -> Table:
    table = Table("key", "state", "attempt", "run by", "outcome")
    for run in runs:
        by = f"task {run.task_key}" if run.task_key else f"session {run.session_id}, turn {run.turn_id}"
        outcome = run.error_type
        if run.HasField("result"):
            outcome = json.dumps(plain_json.from_value(run.result), ensure_ascii=False)
        table.add_row(run.once_key, to_word(run.state).upper(), str(run.attempt), by, outcome)
    return table
