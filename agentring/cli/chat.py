"""`agentring chat SESSION`: speak with an agent, a line a turn."""

import asyncio
import sys
from typing import Annotated

import typer
from rich.console import Console

from agentring.cli.cluster_file import find_routers
from agentring.cli.conversation import Conversation
from agentring.cli.lines import Lines
from agentring.cli.options import DEFAULT_DATA_DIR, DataDirOption, RouterOption, TenantOption
from agentring.cli.screen import Screen

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
    try:
        all_completed = asyncio.run(_chat(address, session, agent, tenant))
    except KeyboardInterrupt:
        raise typer.Exit(_INTERRUPTED) from None
    if not all_completed:
        raise typer.Exit(1)


async def _chat(router: str, session: str, agent: str, tenant: str) -> bool:
    """Runs a turn for each line of the input; whether all of them completed. Raises CallFailed."""
    screen = Screen(Console(highlight=False, markup=False, emoji=False), session)
    lines = Lines(sys.stdin.fileno())

    async def ask() -> str | None:
        screen.prompt()
        return await lines.next()

    all_completed = True
    conversation = Conversation(router, session, agent, tenant, screen)
    try:
        await conversation.attach()
        while (line := await ask()) is not None:
            if line.strip():
                all_completed &= await conversation.run_turn(line, ask)
    finally:
        await conversation.close()
    return all_completed
