"""`agentring locate SESSION`: which node owns a session, or would, and why."""

from datetime import UTC, datetime, timedelta
from typing import Annotated

import typer
from rich.console import Group
from rich.table import Table
from rich.text import Text

from agentring.cli.calls import CALL_DEADLINE_S, open_channel, tenant_metadata
from agentring.cli.cluster_file import find_routers
from agentring.cli.options import DEFAULT_DATA_DIR, DataDirOption, JsonOption, RouterOption, TenantOption
from agentring.cli.printing import console, print_json, to_fields
from agentring.v1.cluster_pb2 import LocateSessionRequest, LocateSessionResponse
from agentring.v1.cluster_pb2_grpc import ClusterServiceStub


def locate(
    session: Annotated[str, typer.Argument(help="The session.")],
    agent: Annotated[str, typer.Option(help="The agent, for a session that does not exist yet; empty: any.")] = "",
    router: RouterOption = None,
    tenant: TenantOption = "",
    data_dir: DataDirOption = DEFAULT_DATA_DIR,
    as_json: JsonOption = False,
) -> None:
    """Show which node owns a session, or would, and why."""
    request = LocateSessionRequest(session_id=session, agent=agent, tenant_id=tenant)
    with open_channel(find_routers(router, data_dir)[0]) as channel:
        found = ClusterServiceStub(channel).LocateSession(
            request, timeout=CALL_DEADLINE_S, metadata=tenant_metadata(tenant)
        )
    if as_json:
        print_json(to_fields(found))
    else:
        console().print(render(session, found))


def render(session: str, found: LocateSessionResponse) -> Group:
    """The owner, the reason, and the candidates in the ring's order."""
    if found.node_id:
        owner = f"{session} is on {found.node_id} at {found.address}, epoch {found.epoch}"
        if found.claim_time.seconds:
            since = found.claim_time.ToDatetime(UTC)
            owner += f", since {since:%Y-%m-%d %H:%M:%S} UTC ({told_age(datetime.now(UTC) - since)})"
    else:
        owner = f"{session} has no owner"
    place = f"candidates from ring position {found.ring_position:016x} on, revision {found.ring_revision}:"
    candidates = Table("node", "accepted", "reason")
    for one in found.candidates:
        candidates.add_row(one.node_id, "yes" if one.accepted else "no", one.reason)
    return Group(Text(owner, style="bold"), Text(found.why), Text(place), candidates)


def told_age(age: timedelta) -> str:
    """In one unit, by this machine's clock, which may be behind the owner's."""
    seconds = max(0.0, age.total_seconds())
    for unit_s, unit in ((86_400, "d"), (3_600, "h"), (60, "min")):
        if seconds >= unit_s:
            return f"{seconds / unit_s:.0f} {unit}"
    return f"{seconds:.0f} s"
