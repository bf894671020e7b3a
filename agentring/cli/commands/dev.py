"""`agentring dev`: a local cluster with an author's agents, a chat with one of them, and their logs beside it.

A change of the code comes to the nodes while sessions and streams go on (cli/local/reloading.py). When it ends, by the
input's end, Ctrl-C or an error, no process of it is left.
"""

import asyncio
import sys
from contextlib import suppress
from importlib.metadata import entry_points
from pathlib import Path
from typing import Annotated

import typer

from agentring.cli.errors import CallFailed, CommandError, NothingToRead, PortUnavailable
from agentring.cli.local.cluster_file import ClusterFile
from agentring.cli.local.data_dir import DataDir
from agentring.cli.local.foreground import run_cluster
from agentring.cli.local.local_cluster import ClusterPlan, LocalCluster
from agentring.cli.local.log_files import LogFollower, LogLine
from agentring.cli.local.node_command import Hosting
from agentring.cli.local.ports import LOOPBACK, check_listenable
from agentring.cli.local.reloading import Reloader, dev_variables
from agentring.cli.local.target import Target, find_target
from agentring.cli.options import DEFAULT_DATA_DIR, DataDirOption, EnvFileOption, for_data_dir
from agentring.cli.terminal.chat_loop import ChatLoop
from agentring.cli.terminal.conversation import Conversation
from agentring.cli.terminal.event_view import EventView
from agentring.cli.terminal.log_view import shown
from agentring.cli.terminal.printing import console
from agentring.cli.terminal.stdin_lines import StdinLines

_NODES = 2
"""One goes on while the other one is replaced."""
_DRAIN_S = 0.5
"""What runs longer after a change is run again, with the new code."""
_PORT = 7700
_OF_AGENTS = ("printed", "logged")
_ALREADY_SAID = "agent_left_out"


def dev(
    target: Annotated[
        str,
        typer.Argument(help="my_agents.py, package.module or package.module:attribute; else the project's agents."),
    ] = "",
    agent: Annotated[str, typer.Option(help="The agent to chat with; else the first one.")] = "",
    session: Annotated[str, typer.Option(help="The session to chat in; else one of the agent's own.")] = "",
    chat: Annotated[bool, typer.Option(help="Whether to chat; without, it runs until Ctrl-C.")] = True,
    port: Annotated[
        int | None, typer.Option(min=0, max=65_535, help="The router's; 0: any; else 7700, or any where that is taken.")
    ] = None,
    env_file: EnvFileOption = None,
    data_dir: DataDirOption = DEFAULT_DATA_DIR,
) -> None:
    """Run an agent on a local cluster and chat with it; a change of its code comes to the nodes by itself."""
    found = find_target(target, Path.cwd())
    if chat and sys.stdin is None:
        raise NothingToRead
    place = DataDir(data_dir)
    hosting = Hosting(found.agents, dev_variables(env_file), found.import_from, _DRAIN_S)
    plan = ClusterPlan(
        nodes=_NODES,
        routers=1,
        host=LOOPBACK,
        port=_free_port() if port is None else port,
        data_dir=place,
        etcd=(),
        store=f"sqlite:///{place.store.absolute()}",
        lease_ttl_s=10,
        hosting=hosting,
    )
    with place.locked():
        work = _Work(plan, found, env_file, agent, session, chats=chat)
        asyncio.run(work.run())
    print("stopped", flush=True)


def _free_port() -> int:
    """The usual one, or any."""
    with suppress(PortUnavailable):
        check_listenable(LOOPBACK, _PORT)
        return _PORT
    return 0


class _Work:
    """What goes on beside the cluster."""

    def __init__(
        self, plan: ClusterPlan, target: Target, env_file: Path | None, agent: str, session: str, *, chats: bool
    ) -> None:
        self.cluster = LocalCluster(plan)
        self._plan = plan
        self._target = target
        self._agent = agent
        self._session = session
        self._chats = chats
        self._logs = f"agentring logs{for_data_dir(plan.data_dir.path)}"
        self._view = EventView(console(), session or "chat", self._logs)
        self._follower = LogFollower(plan.data_dir.logs)
        self._reloader = Reloader(self.cluster, target, env_file, self._say)

    async def run(self) -> None:
        """Until it is to end. Raises CommandError."""
        try:
            async with asyncio.TaskGroup() as tasks:
                watching = tasks.create_task(self._reloader.watch())  # a change while the nodes start is one
                await run_cluster(self._plan, self.cluster, self._beside)
                watching.cancel()
        except BaseExceptionGroup as group:
            raise _one_of(group) from None

    async def _beside(self, started: ClusterFile) -> None:
        for line in self.cluster.notes:
            self._view.warn(line)
        self._view.note(f"{_NODES} nodes and a router at {started.router[0]}; all of their logs: {self._logs}")
        try:
            async with asyncio.TaskGroup() as tasks:
                background = [
                    tasks.create_task(work)
                    for work in (self.cluster.watch(self._say), self._reloader.run(), self._show_logs())
                ]
                await self._chat(started.router[0])
                for task in background:
                    task.cancel()
        except BaseExceptionGroup as group:
            raise _one_of(group) from None
        finally:
            await self._reloader.close()

    async def _chat(self, router: str) -> None:
        agent = await self._until_hosted()
        agents, place = ", ".join(self._own_agents()), self._target.import_from
        self._view.note(f"agents: {agents}; save a change in {place}, and the next turn is the new code's")
        if not self._chats:
            await asyncio.Event().wait()
        session = self._session or f"dev-{agent}"
        view = self._view = EventView(console(), session, self._logs)
        conversation = Conversation(router, session, agent, "", view)
        loop = ChatLoop(conversation, view, StdinLines(sys.stdin.fileno()))
        try:
            while True:
                try:
                    await loop.run()
                    break
                except CallFailed as failed:
                    view.warn(str(failed))
                    if not await loop.wait_for_line():
                        break
        finally:
            await conversation.close()

    async def _until_hosted(self) -> str:
        """The agent to chat with, once there is one."""
        while True:
            own = self._own_agents()
            if self._agent in own or (own and not self._agent):
                return self._agent or own[0]
            if own:
                self._view.warn(f"there is no agent {self._agent}, but: {', '.join(own)}")
            self._view.note("waiting for a change of the code")
            self._reloader.reloaded.clear()
            await self._reloader.reloaded.wait()

    def _own_agents(self) -> list[str]:
        named = {word.partition("=")[0] for word in self._target.agents if "=" in word}
        installed = {point.name for point in entry_points(group="agentring.agents")} - named
        return [name for name in self.cluster.agents if name not in installed]

    def _say(self, line: str) -> None:
        self._view.beside([(line, "bold")])

    async def _show_logs(self) -> None:
        async for lines in self._follower.lines():
            found = [part for line in lines if _is_shown(line) for part in shown(line.source, line.text, line.fields)]
            if found:
                self._view.beside(found)


def _one_of(group: BaseExceptionGroup[BaseException]) -> BaseException:
    """The error that a command ends with; the group where there is another one, which is a fault of ours."""
    failures, others = group.split(CommandError)
    if failures is None or others is not None:
        return group
    error: BaseException = failures
    while isinstance(error, BaseExceptionGroup):
        error = error.exceptions[0]
    return error


def _is_shown(line: LogLine) -> bool:
    """What an author looks for: what the agents print and log, and what went wrong in a run."""
    fields = line.fields
    if not line.source.startswith("n") or fields.get("event") == _ALREADY_SAID:
        return False
    return fields.get("event") in _OF_AGENTS or "turn" in fields or "task" in fields
