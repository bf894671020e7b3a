"""`agentring tasks`: a tenant's tasks as the store has them, one of them, and its end."""

from datetime import UTC
from enum import StrEnum
from functools import partial
from typing import Annotated

import typer
from rich.console import Group
from rich.table import Table
from rich.text import Text

from agentring.cli.calls import CALL_DEADLINE_S, open_channel, tenant_metadata
from agentring.cli.local.cluster_file import find_router
from agentring.cli.options import DEFAULT_DATA_DIR, DataDirOption, JsonOption, RouterOption, TenantOption
from agentring.cli.terminal.listing import read_list, to_state, to_word
from agentring.cli.terminal.printing import console, print_json, to_fields
from agentring.v1 import task_pb2
from agentring.v1.task_pb2_grpc import TaskServiceStub

app = typer.Typer(help="See tasks, and cancel them.", no_args_is_help=True)

KeyArgument = Annotated[str, typer.Argument(help="The task's key.")]


class State(StrEnum):
    """What a listing can be restricted to."""

    pending = "pending"
    running = "running"
    completed = "completed"
    failed = "failed"
    cancelled = "cancelled"


@app.command("list")
def list_tasks(
    prefix: Annotated[str, typer.Argument(help="Only tasks whose key begins so; empty: all.")] = "",
    state: Annotated[State | None, typer.Option(help="Only tasks in this state.")] = None,
    agent: Annotated[str, typer.Option(help="Only tasks of this agent; empty: of any.")] = "",
    limit: Annotated[int, typer.Option(min=1, help="At most so many.")] = 100,
    router: RouterOption = None,
    tenant: TenantOption = "",
    data_dir: DataDirOption = DEFAULT_DATA_DIR,
    as_json: JsonOption = False,
) -> None:
    """List tasks in the order of their keys."""
    request = task_pb2.ListTasksRequest(task_key_prefix=prefix, agent=agent, state=to_state(state))
    with open_channel(find_router(router, data_dir)) as channel:
        ask = partial(TaskServiceStub(channel).ListTasks, timeout=CALL_DEADLINE_S, metadata=tenant_metadata(tenant))
        found = read_list(ask, request, task_pb2.ListTasksResponse(), "tasks", limit)
    if as_json:
        print_json(to_fields(found))
    else:
        console().print(render(found))


@app.command("show")
def show(
    key: KeyArgument,
    router: RouterOption = None,
    tenant: TenantOption = "",
    data_dir: DataDirOption = DEFAULT_DATA_DIR,
    as_json: JsonOption = False,
) -> None:
    """Show a task, with its text and its result."""
    with open_channel(find_router(router, data_dir)) as channel:
        task = (
            TaskServiceStub(channel)
            .GetTask(task_pb2.GetTaskRequest(task_key=key), timeout=CALL_DEADLINE_S, metadata=tenant_metadata(tenant))
            .task
        )
    if as_json:
        print_json(to_fields(task))
    else:
        console().print(render(task_pb2.ListTasksResponse(tasks=[task])))
        if task.text:
            console().print(task.text)


@app.command("cancel")
def cancel(
    key: KeyArgument,
    router: RouterOption = None,
    tenant: TenantOption = "",
    data_dir: DataDirOption = DEFAULT_DATA_DIR,
    as_json: JsonOption = False,
) -> None:
    """Cancel a task's run; one that has ended stays as it is. Says how it ended."""
    with open_channel(find_router(router, data_dir)) as channel:
        done = TaskServiceStub(channel).CancelTask(
            task_pb2.CancelTaskRequest(task_key=key), timeout=CALL_DEADLINE_S, metadata=tenant_metadata(tenant)
        )
    if as_json:
        print_json(to_fields(done))
    else:
        console().print(to_word(done.state))


def render(found: task_pb2.ListTasksResponse) -> Group:
    """The table, and whether there are more."""
    table = Table("task", "agent", "state", "node", "attempt", "made (UTC)")
    for one in found.tasks:
        made = f"{one.create_time.ToDatetime(UTC):%Y-%m-%d %H:%M:%S}"
        table.add_row(one.task_key, one.agent, to_word(one.state), one.node_id, str(one.attempt), made)
    more = [Text(f"there are more than {len(found.tasks)}: --limit says how many are shown")]
    return Group(table, *(more if found.next_page_token else []))
