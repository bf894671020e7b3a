"""`agentring ps`: every turn and task of the cluster that runs now, or waits."""

from typing import Annotated

import typer
from rich.console import Group
from rich.table import Table
from rich.text import Text

from agentring.cli.calls import of_all_or_own, open_channel, tenant_metadata
from agentring.cli.local.cluster_file import find_router
from agentring.cli.options import DEFAULT_DATA_DIR, DataDirOption, JsonOption, RouterOption
from agentring.cli.terminal.printing import console, print_json, to_fields
from agentring.v1.halt_pb2 import ListRunningRequest, ListRunningResponse, RunningWork, WorkState
from agentring.v1.halt_pb2_grpc import HaltServiceStub

_BEYOND_S = 5.0


def ps(
    tenant: Annotated[str, typer.Option(help="Only this tenant's; without: those that you may see.")] = "",
    timeout_s: Annotated[float, typer.Option(min=0.1, max=10.0, help="How long a node may take.")] = 0.8,
    router: RouterOption = None,
    data_dir: DataDirOption = DEFAULT_DATA_DIR,
    as_json: JsonOption = False,
) -> None:
    """Show every running turn and task: its node, age, attempt and the steps that are open.

    Exit status 1: a node has not answered, so what it runs is missing.
    """
    with open_channel(find_router(router, data_dir)) as channel:
        stub = HaltServiceStub(channel)

        def ask(of_all: bool) -> list[ListRunningResponse]:
            request = ListRunningRequest(tenant_id=tenant, all_tenants=of_all, timeout_s=timeout_s)
            return list(stub.ListRunning(request, timeout=timeout_s + _BEYOND_S, metadata=tenant_metadata(tenant)))

        pages = of_all_or_own(tenant, ask)
    if as_json:
        print_json(
            {
                "running": [{"node_id": page.node_id, **to_fields(work)} for page in pages for work in page.running],
                "silent": [to_fields(each) for page in pages for each in page.silent],
            }
        )
    else:
        console().print(render(pages))
    if any(page.silent for page in pages):
        raise typer.Exit(1)


def render(pages: list[ListRunningResponse]) -> Group:
    """A table, the oldest first."""
    table = Table("node", "tenant", "session or task", "turn", "agent", "state", "age", "attempt", "steps", "waiting")
    found = [(page.node_id, work) for page in pages for work in page.running]
    for node_id, work in sorted(found, key=lambda each: -each[1].age_s):
        what = work.session_id or f"task {work.task_key}"
        state = WorkState.Name(work.state).removeprefix("WORK_STATE_").lower()
        age, attempt = f"{work.age_s:.1f} s", str(work.attempt)
        row = (work.tenant_id, what, work.turn_id, work.agent, state, age, attempt, _steps(work))
        table.add_row(node_id, *row, str(work.turns_waiting or ""))
    silent = [
        Text(f"{each.node_id} has not answered ({each.why}): what it runs is missing", style="red")
        for page in pages
        for each in page.silent
    ]
    return Group(table, *silent)


def _steps(work: RunningWork) -> str:
    return ", ".join(step.name for step in work.open_steps)
