"""`agentring status`: the routers' health and the nodes, as a router sees them."""

from dataclasses import asdict, dataclass

import grpc
from grpc_health.v1.health_pb2 import HealthCheckRequest, HealthCheckResponse
from grpc_health.v1.health_pb2_grpc import HealthStub
from rich.console import Group
from rich.table import Table
from rich.text import Text

from agentring.cli.calls import CALL_DEADLINE_S, open_channel
from agentring.cli.errors import CallFailed
from agentring.cli.local.cluster_file import find_cluster, find_routers
from agentring.cli.local.readiness import NOBODY_SERVES
from agentring.cli.options import DEFAULT_DATA_DIR, DataDirOption, JsonOption, RouterOption
from agentring.cli.terminal.printing import console, print_json, to_fields
from agentring.rpc.health import SESSIONS
from agentring.v1.cluster_pb2 import ListNodesRequest, ListNodesResponse, NodeState
from agentring.v1.cluster_pb2_grpc import ClusterServiceStub


@dataclass(frozen=True, slots=True)
class RouterHealth:
    """What a router answered about itself."""

    address: str
    health: str
    """SERVING, NO_NODES where it serves but knows of no node that takes sessions, NOT_SERVING, or the status with which
    the call failed."""


def status(
    router: RouterOption = None, data_dir: DataDirOption = DEFAULT_DATA_DIR, as_json: JsonOption = False
) -> None:
    """Show the routers' health and the nodes."""
    routers = find_routers(router, data_dir)
    healths = [_ask_health(address) for address in routers]
    membership = _list_nodes(routers)
    # The local cluster alone says it: it is a matter of how its processes were started, and no router's to answer.
    cluster = find_cluster(data_dir) if router is None else None
    data_plane = cluster.data_plane if cluster is not None else ""
    if as_json:
        said = {"data_plane": data_plane} if data_plane else {}
        print_json({"routers": [asdict(one) for one in healths], **said, **to_fields(membership)})
    else:
        console().print(render(healths, membership, data_plane))


def render(healths: list[RouterHealth], membership: ListNodesResponse, data_plane: str = "") -> Group:
    """The routers' and the nodes' tables, how far drains are, and how the data plane runs where that is known."""
    routers = Table("router", "health")
    for one in healths:
        routers.add_row(one.address, one.health, style=None if one.health == "SERVING" else "red")
    nodes = Table("node", "address", "state", "agents", "weight", "incarnation")
    for node in membership.nodes:
        state = "DRAINED" if node.drained else NodeState.Name(node.state).removeprefix("NODE_STATE_")
        agents = ", ".join(sorted(node.agents))
        row = (node.node_id, node.address, state, agents, str(node.weight), str(node.incarnation))
        nodes.add_row(*row, style=None if state == "ACTIVE" else "yellow")
    drains = [
        Text(f"{each.node_id} drains: {each.sessions_left} sessions left, {each.turns_running} turns running")
        for each in membership.draining
    ]
    if not any(node.state == NodeState.NODE_STATE_ACTIVE for node in membership.nodes):
        drains.append(Text(NOBODY_SERVES, style="red"))
    about = [Text(f"data plane: {data_plane}")] if data_plane else []
    return Group(routers, *about, Text(f"nodes at revision {membership.revision}:"), nodes, *drains)


def _ask_health(address: str) -> RouterHealth:
    try:
        with open_channel(address) as channel:
            # (its type stubs leave the method out)
            stub = HealthStub(channel)
            answer = stub.Check(HealthCheckRequest(), timeout=CALL_DEADLINE_S)  # type: ignore[attr-defined]
            if answer.status == HealthCheckResponse.SERVING and not _serves_sessions(stub):
                return RouterHealth(address, "NO_NODES")
    except CallFailed as error:
        return RouterHealth(address, error.reason or error.code)
    return RouterHealth(address, HealthCheckResponse.ServingStatus.Name(answer.status))


def _serves_sessions(stub: HealthStub) -> bool:
    try:
        answer = stub.Check(HealthCheckRequest(service=SESSIONS), timeout=CALL_DEADLINE_S)  # type: ignore[attr-defined]
    except grpc.RpcError as error:
        if error.code() is not grpc.StatusCode.NOT_FOUND:
            raise
        return True  # a router of an earlier release, which does not say
    return bool(answer.status == HealthCheckResponse.SERVING)


def _list_nodes(routers: tuple[str, ...]) -> ListNodesResponse:
    """What the first router that answers says. Raises CallFailed, the first router's, if none does."""
    failures: list[CallFailed] = []
    for address in routers:
        try:
            with open_channel(address) as channel:
                return ClusterServiceStub(channel).ListNodes(ListNodesRequest(), timeout=CALL_DEADLINE_S)
        except CallFailed as error:
            failures.append(error)
    raise failures[0]
