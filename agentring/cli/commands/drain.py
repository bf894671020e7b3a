"""`agentring drain NODE`: hands a node's sessions on and takes it off the ring; `undrain NODE`: back again."""

from typing import Annotated

import typer

from agentring.cli.calls import open_channel
from agentring.cli.local.cluster_file import find_router
from agentring.cli.options import DEFAULT_DATA_DIR, DataDirOption, JsonOption, RouterOption
from agentring.cli.terminal.printing import console, print_json, to_fields
from agentring.v1.cluster_pb2 import DrainNodeRequest, DrainNodeResponse, UndrainNodeRequest
from agentring.v1.cluster_pb2_grpc import ClusterServiceStub


def drain(
    node: Annotated[str, typer.Argument(help="The node's id.")],
    force: Annotated[
        bool, typer.Option("--force", help="Also the last ACTIVE node of an agent, which then nobody serves.")
    ] = False,
    timeout_s: Annotated[float, typer.Option(min=1.0, help="How long to wait; the drain goes on after that.")] = 600.0,
    router: RouterOption = None,
    data_dir: DataDirOption = DEFAULT_DATA_DIR,
    as_json: JsonOption = False,
) -> None:
    """Drain a node: its turns end, its sessions go to others. Its process stays until you end or undrain it."""
    before = None
    with open_channel(find_router(router, data_dir)) as channel:
        request = DrainNodeRequest(node_id=node, force=force)
        for progress in ClusterServiceStub(channel).DrainNode(request, timeout=timeout_s):
            if progress != before:
                print_progress(node, progress, as_json=as_json)
            before = progress


def undrain(
    node: Annotated[str, typer.Argument(help="The node's id.")],
    timeout_s: Annotated[float, typer.Option(min=1.0, help="How long to wait; it comes back after that too.")] = 60.0,
    router: RouterOption = None,
    data_dir: DataDirOption = DEFAULT_DATA_DIR,
    as_json: JsonOption = False,
) -> None:
    """Make a node that drains, or was drained, ACTIVE again."""
    with open_channel(find_router(router, data_dir)) as channel:
        request = UndrainNodeRequest(node_id=node)
        answer = ClusterServiceStub(channel).UndrainNode(request, timeout=timeout_s)
    if as_json:
        print_json(to_fields(answer))
    else:
        console().print(f"{node} is ACTIVE again, as incarnation {answer.incarnation}")


def print_progress(node: str, progress: DrainNodeResponse, *, as_json: bool) -> None:
    """One line."""
    if as_json:
        print_json(to_fields(progress))
    elif progress.done:
        console().print(f"{node} has left")
    else:
        console().print(f"{node}: {progress.sessions_left} sessions left, {progress.turns_running} turns running")
