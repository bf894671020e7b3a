"""`python -m agent_node`: one agent node. See agent_node/settings.py for its flags."""

import asyncio
import sys
from collections.abc import Awaitable, Callable
from functools import partial

from agent_node import agent_output
from agent_node.agents.registry import LoadedAgents, load_agents
from agent_node.app import run_node
from agent_node.child_process import child
from agent_node.child_process import fork_server as forking
from agent_node.child_process.fork_server import ForkServer
from agent_node.lifecycle.clock_skew import ClockTooFarOff
from agent_node.lifecycle.data_dir import DataDirInUse
from agent_node.settings import NodeSettings
from agent_node.store.opening import StoreRefused
from agentring import settings
from agentring.audit.chain import BadKey
from agentring.auth.rules import AuthFileUnusable
from agentring.auth.signatures import SecretUnusable
from agentring.cluster.registration import NodeIdTaken
from agentring.cluster.store_record import StoreDiffers, StoreNotAccepted, StoreNotPrepared
from agentring.http2.listener import CannotListen
from agentring.process import entry as process
from agentring.process.owned_loop import OwnedLoop, log_errors_without_text
from agentring.process.polled_file import FileRefused

Load = Callable[[NodeSettings], Awaitable[LoadedAgents | None]]
"""Loads the agents. None: the node is not wanted any more."""


async def _load(node: NodeSettings) -> LoadedAgents:
    return load_agents(node.agent, node.agent_settings)


def main(load: Load = _load) -> None:
    """Runs the node until it is to stop."""
    node = settings.load(NodeSettings, sys.argv[1:], program="agent_node")
    forker = forking.start(partial(_children, node))  # before there is anything that a child must not have
    log_errors_without_text()
    process.run(
        partial(_run, node, forker, load),
        program="agent_node",
        log_level=node.log_level,
        cannot_start=(
            AuthFileUnusable,
            BadKey,
            CannotListen,
            ClockTooFarOff,
            DataDirInUse,
            FileRefused,
            NodeIdTaken,
            SecretUnusable,
            StoreDiffers,
            StoreNotAccepted,
            StoreNotPrepared,
            StoreRefused,
        ),
        new_loop=OwnedLoop,
        node_id=node.node_id,
    )


async def _run(
    node: NodeSettings, forker: ForkServer | None, load: Load, stop: asyncio.Event, ready: process.Ready
) -> None:
    agent_output.install(node.log_level)
    if (agents := await load(node)) is not None:
        await run_node(node, agents, stop, ready, forker)


def _children(node: NodeSettings) -> forking.Child:
    agents = load_agents(node.agent, node.agent_settings)
    return lambda connection: child.serve(connection, agents, node.log_level)


if __name__ == "__main__":
    main()
