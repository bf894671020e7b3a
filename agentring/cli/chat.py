"""`agentring chat SESSION`: speak with an agent, a line a turn."""

import asyncio
import sys
from typing import Annotated

import typer
from grpc import aio
from rich.console import Console

from agentring.cli.cluster_file import find_routers
from agentring.cli.conversation import Conversation
from agentring.cli.lines import Lines
from agentring.cli.options import DEFAULT_DATA_DIR, DataDirOption, RouterOption, TenantOption
from agentring.cli.screen import Screen
from agentring.rpc.limits import CHANNEL_OPTIONS
from agentring.v1.session_pb2 import Open
from agentring.v1.session_pb2_grpc import SessionServiceStub

_INTERRUPTED = 130


def chat(
    session: Annotated[str, typer.Argument(help="The session; it is made if it does not exist.")],
    agent: Annotated[str, typer.Option(help="The agent that a new session is bound to.")] = "assistant",
    router: RouterOption = None,
    tenant: TenantOption = "",
    data_dir: DataDirOption = DEFAULT_DATA_DIR,
) -> None:
    """Speak with an agent: each line is a turn, the input's end is the end."""
    address = find_routers(router, data_dir)[0]
    opening = Open(session_id=session, agent=agent)
    try:
        all_completed = asyncio.run(_chat(address, opening, tenant))
    except KeyboardInterrupt:
        raise typer.Exit(_INTERRUPTED) from None
    if not all_completed:
        raise typer.Exit(1)


async def _chat(router: str, opening: Open, tenant: str) -> bool:
    """Runs a turn for each line of the input; whether all of them completed. Raises CallFailed."""
    screen = Screen(Console(highlight=False, markup=False, emoji=False), opening.session_id)
    lines = Lines(sys.stdin.fileno())

    async def ask() -> str | None:
        screen.prompt()
        return await lines.next()

    all_completed = True
    async with aio.insecure_channel(router, options=CHANNEL_OPTIONS) as channel:
        conversation = Conversation(SessionServiceStub(channel), router, opening, tenant, screen)
        try:
            await conversation.attach()
            while (line := await ask()) is not None:
                if line.strip():
                    all_completed &= await conversation.run_turn(line, ask)
        finally:
            await conversation.close()
    return all_completed
