"""`agentring chat SESSION`: speak with an agent, a line a turn."""

import sys
from typing import Annotated

import typer

from agentring.cli.errors import NothingToRead
from agentring.cli.local.cluster_file import find_cluster, find_routers
from agentring.cli.options import DEFAULT_DATA_DIR, DataDirOption, RouterOption, TenantOption, for_data_dir
from agentring.cli.terminal.chat_loop import ChatLoop
from agentring.cli.terminal.conversation import Conversation
from agentring.cli.terminal.event_view import EventView
from agentring.cli.terminal.interrupts import run_interruptible
from agentring.cli.terminal.printing import console
from agentring.cli.terminal.stdin_lines import StdinLines


def chat(
    session: Annotated[str, typer.Argument(help="The session; it is made if it does not exist.")],
    agent: Annotated[str, typer.Option(help="The agent that a new session is bound to.")] = "assistant",
    router: RouterOption = None,
    tenant: TenantOption = "",
    steps: Annotated[bool, typer.Option("--steps", help="Show steps that take longer than 0.25 s.")] = False,
    data_dir: DataDirOption = DEFAULT_DATA_DIR,
) -> None:
    """Speak with an agent: each line is a turn, the input's end is the end.

    A question that is open in the session is asked first: the next line answers it.
    """
    found = find_routers(router, data_dir)
    routers, local = ",".join(found), find_cluster(data_dir)
    logs = f"agentring logs{for_data_dir(data_dir)}" if local is not None and found[0] in local.router else ""
    if sys.stdin is None:
        raise NothingToRead
    if not run_interruptible(_chat(routers, session, agent, tenant, EventView(console(), session, logs, steps=steps))):
        raise typer.Exit(1)


async def _chat(routers: str, session: str, agent: str, tenant: str, view: EventView) -> bool:
    """Runs a turn for each line of the input; whether all of them completed. Raises CallFailed."""
    conversation = Conversation(routers, session, agent, tenant, view)
    loop = ChatLoop(conversation, view, StdinLines(sys.stdin.fileno()))
    try:
        await loop.run()
    finally:
        await conversation.close()
    return loop.all_completed
