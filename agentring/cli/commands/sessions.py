"""`agentring sessions`: a tenant's sessions, as the store has them."""

from datetime import UTC
from functools import partial
from typing import Annotated

import typer
from rich.console import Group
from rich.table import Table
from rich.text import Text

from agentring.cli.calls import CALL_DEADLINE_S, open_channel, tenant_metadata
from agentring.cli.local.cluster_file import find_router
from agentring.cli.options import DEFAULT_DATA_DIR, DataDirOption, JsonOption, RouterOption, TenantOption
from agentring.cli.terminal.listing import read_list
from agentring.cli.terminal.printing import console, print_json, to_fields
from agentring.v1.session_pb2 import ListSessionsRequest, ListSessionsResponse, Session
from agentring.v1.session_pb2_grpc import SessionServiceStub


def sessions(
    prefix: Annotated[str, typer.Argument(help="Only sessions whose id begins so; empty: all.")] = "",
    agent: Annotated[str, typer.Option(help="Only sessions of this agent; empty: of any.")] = "",
    limit: Annotated[int, typer.Option(min=1, help="At most so many.")] = 100,
    router: RouterOption = None,
    tenant: TenantOption = "",
    data_dir: DataDirOption = DEFAULT_DATA_DIR,
    as_json: JsonOption = False,
) -> None:
    """List sessions in the order of their ids, as the store has them."""
    with open_channel(find_router(router, data_dir)) as channel:
        ask = partial(
            SessionServiceStub(channel).ListSessions, timeout=CALL_DEADLINE_S, metadata=tenant_metadata(tenant)
        )
        request = ListSessionsRequest(session_id_prefix=prefix, agent=agent)
        found = read_list(ask, request, ListSessionsResponse(), "sessions", limit)
    if as_json:
        print_json(to_fields(found))
    else:
        console().print(render(found))


def render(found: ListSessionsResponse) -> Group:
    """The table, and whether there are more."""
    table = Table("session", "agent", "node", "turns", "state", "made (UTC)")
    for one in found.sessions:
        made = f"{one.create_time.ToDatetime(UTC):%Y-%m-%d %H:%M:%S}"
        table.add_row(one.session_id, one.agent, one.node_id, str(one.turns_completed), _state(one), made)
    more = [Text(f"there are more than {len(found.sessions)}: --limit says how many are shown")]
    return Group(table, *(more if found.next_page_token else []))


def _state(one: Session) -> str:
    if one.closed:
        return "closed"
    waiting = f"{one.waiting_turns} waiting"
    if one.questions:
        return f"asks, {waiting}"  # agentring questions shows what
    if one.running_turn_id or one.waiting_turns:
        return f"runs, {waiting}" if one.running_turn_id else waiting
    return "idle" if one.node_id else "passivated"
