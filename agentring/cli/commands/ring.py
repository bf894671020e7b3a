"""`agentring ring`: the ring that a router routes by, and each node's share of it."""

from rich.console import Group
from rich.table import Table
from rich.text import Text

from agentring.cli.calls import CALL_DEADLINE_S, open_channel
from agentring.cli.local.cluster_file import find_router
from agentring.cli.options import DEFAULT_DATA_DIR, DataDirOption, JsonOption, RouterOption
from agentring.cli.terminal.printing import console, print_json, to_fields
from agentring.v1.cluster_pb2 import GetRingRequest, GetRingResponse
from agentring.v1.cluster_pb2_grpc import ClusterServiceStub


def ring(router: RouterOption = None, data_dir: DataDirOption = DEFAULT_DATA_DIR, as_json: JsonOption = False) -> None:
    """Show the ring and each node's share of it."""
    with open_channel(find_router(router, data_dir)) as channel:
        found = ClusterServiceStub(channel).GetRing(GetRingRequest(), timeout=CALL_DEADLINE_S)
    if as_json:
        print_json(to_fields(found))
    else:
        console().print(render(found))


def render(found: GetRingResponse) -> Group:
    """What the ring is made of, and its members."""
    title = f"ring at revision {found.revision}, checksum {found.checksum}, {found.points_per_weight} points per weight"
    table = Table("node", "weight", "points", "share")
    for member in found.members:
        table.add_row(member.node_id, str(member.weight), str(member.points), f"{member.share:.1%}")
    return Group(Text(title), table)
