"""A child process that runs an agent once, for the node that asked for it.

Guarantees: the agent is run by the same code as on a node (run/agent_run.py), with the same bounds; the process ends
when the run has, and when the node is gone. What needs the lease, the store or the claims is asked of the node. Called
in a process that was just forked.
"""

import asyncio
import contextvars
import faulthandler
import os
import signal
import socket
import sys
from collections.abc import Awaitable, Callable, Mapping
from contextvars import ContextVar
from dataclasses import replace
from functools import partial
from itertools import count
from typing import Any, cast

from agent_node.agent_errors import text_of
from agent_node.audit import NoAuditLog
from agent_node.child_process.messages import BEAT_S, Begin, Channel
from agent_node.json_values import NotJson, to_json
from agent_node.once.steps import Once
from agent_node.run.agent_run import run_agent
from agent_node.run.environment import RunEnvironment
from agent_node.run.time_limit import PausableDeadline
from agent_node.store import ToolStart
from agent_node.store.once_records import OnceCaller
from agentring import log
from agentring.agent import Agent
from agentring.cluster.lease import Lease
from agentring.plain_json import type_name
from agentring.process import forks
from agentring.process.entry import drive
from agentring.process.owned_loop import OwnedLoop, log_errors_without_text
from agentring.v1 import session_pb2

_step: ContextVar[int | None] = ContextVar("agentring_step", default=None)
"""Of which step the current code is a part."""


def serve(way: socket.socket, agents: Mapping[str, Agent], log_level: str) -> None:
    """Runs what the node says, and returns once that has ended."""
    log.configure(log_level)
    log_errors_without_text()
    faulthandler.register(signal.SIGUSR1, file=sys.stderr, all_threads=False)
    way.setblocking(False)
    forks.close_in_children(way.fileno())
    with asyncio.Runner(loop_factory=OwnedLoop) as runner:
        forks.end_children_in(runner.get_loop())
        drive(runner.get_loop(), _serve(way, agents))
        os._exit(0)  # what the agent has left behind is not waited for


async def _serve(way: socket.socket, agents: Mapping[str, Agent]) -> None:
    reader, writer = await asyncio.open_unix_connection(sock=way)
    channel = Channel(reader, writer)
    channel.send("hello", os.getpid())
    begin = await channel.receive()
    if begin is None:
        return
    child = _Child(channel, begin[1])
    async with asyncio.TaskGroup() as group:
        beating = group.create_task(_beat(channel))
        hearing = group.create_task(child.hear())
        running = group.create_task(child.run(agents[begin[1].agent]))
        await asyncio.wait([running, hearing], return_when=asyncio.FIRST_COMPLETED)
        if not running.done():
            os._exit(0)  # the node is gone
        await writer.drain()
        await hearing  # until the node has heard it
        beating.cancel()


async def _beat(channel: Channel) -> None:
    while True:
        channel.send("beat")
        await asyncio.sleep(BEAT_S)


class _Child:
    def __init__(self, channel: Channel, begin: Begin) -> None:
        self._channel = channel
        self._begin = begin
        self._numbers = count(1)
        self._asked: dict[int, _Asked] = {}
        self._running: asyncio.Task[None] | None = None
        self._steps: dict[int, asyncio.Task[None]] = {}

    async def run(self, agent: Agent) -> None:
        self._running = asyncio.current_task()
        begin = self._begin
        env = RunEnvironment(
            begin.node_id,
            cast(Lease, _NodesLease()),
            NoAuditLog(),
            begin.limits,
            begin.incarnation,
            cast(Once, self) if begin.has_once else None,
        )
        given = replace(begin.given, tool_starts=self._start_tool, questions=self if begin.asks else None)
        try:
            outcome = await run_agent(env, agent, given, cast(Any, _NodesLog(self._channel)), begin.epoch)
        except asyncio.CancelledError:
            self._channel.send("cancelled")
            return
        self._channel.send("done", outcome)

    async def hear(self) -> None:
        """Until the node is gone."""
        while (message := await self._channel.receive()) is not None:
            match message:
                # What the agent does not wait for any more may have been answered meanwhile.
                case ("reply", number, error, value) if number in self._asked:
                    self._asked[number].answered(error, value)
                case ("told", number, value) if number in self._asked:
                    self._asked[number].told(value)
                case ("step", number, step, run) if number in self._asked:
                    asked = self._asked[number]
                    context = asked.context.copy()
                    carrying = self._carry_out(step, asked, run)
                    task = self._steps[step] = asyncio.get_running_loop().create_task(carrying, context=context)
                    task.add_done_callback(partial(self._step_over, step))
                case ("cut", step) if step in self._steps:
                    self._steps[step].cancel()
                case ("cancel",) if self._running is not None:
                    self._running.cancel()

    async def ask(
        self, ordinal: int, question: session_pb2.InputRequired, tell: Callable[[str], None], time: PausableDeadline
    ) -> session_pb2.Input:
        """As Questions."""
        time.hold()
        try:
            answer = await self._ask("ask", ordinal, question.SerializeToString(deterministic=True), told=tell)
            return session_pb2.Input.FromString(answer)
        finally:
            time.go_on()

    async def call(
        self,
        caller: OnceCaller,
        key: str,
        function: Callable[..., Awaitable[Any]],
        *,
        timeout_s: float,
        idempotent: bool,
        tell_unknown: Callable[[], None],
    ) -> Any:
        """As Once."""
        return await self._ask(
            "once",
            _step.get(),
            key,
            timeout_s,
            idempotent,
            told=lambda _: tell_unknown(),
            function=function,
        )

    async def _start_tool(self, start: ToolStart) -> None:
        await self._ask("tool", start)

    async def _ask(
        self,
        kind: str,
        *what: Any,
        told: Callable[[Any], None] = lambda _: None,
        function: Callable[..., Awaitable[Any]] | None = None,
    ) -> Any:
        number = next(self._numbers)
        asked = self._asked[number] = _Asked(told, function)
        self._channel.send(kind, number, *what)
        try:
            await asyncio.wait([asked.reply])
        except asyncio.CancelledError:
            self._channel.send("drop", number)
            await asyncio.wait([asked.reply])  # as on the node, where a step that is cut off is written down first
            raise
        finally:
            del self._asked[number]
        return asked.reply.result()

    def _step_over(self, step: int, _: object) -> None:
        del self._steps[step]

    async def _carry_out(self, step: int, asked: "_Asked", run: Mapping[str, Any]) -> None:
        _step.set(step)
        assert asked.function is not None
        try:
            result = await asked.function(**run)
        except asyncio.CancelledError:
            self._channel.send("step_cut", step)  # where it was not the node
            raise
        except Exception as error:
            self._channel.send("step_done", step, (type_name(type(error)), text_of(error)), None)
            return
        try:
            self._channel.send("step_done", step, None, to_json(result))
        except NotJson as error:
            self._channel.send("step_done", step, ("ResultNotKept", error.detail), None)


class _Asked:
    def __init__(self, told: Callable[[Any], None], function: Callable[..., Awaitable[Any]] | None) -> None:
        self.told = told
        self.function = function
        self.reply: asyncio.Future[Any] = asyncio.get_running_loop().create_future()
        self.context = contextvars.copy_context()

    def answered(self, error: BaseException | None, value: Any) -> None:
        if self.reply.done():
            return
        if error is None:
            self.reply.set_result(value)
        elif isinstance(error, asyncio.CancelledError):
            self.reply.cancel()
        else:
            self.reply.set_exception(error)
            self.reply.exception()  # that nobody waits for it any more is no fault


class _NodesLease:
    """The node ends this process where its lease may be gone."""

    def check(self) -> None:
        """As Lease."""


class _NodesLog:
    """The run's EventLog is on the node."""

    def __init__(self, channel: Channel) -> None:
        self._channel = channel

    def append(self, event: session_pb2.Event) -> None:
        """As EventLog."""
        self._channel.send("event", event.SerializeToString())

    def append_text(self, turn_id: str, attempt: int, offset: int, text: str) -> int:
        """As EventLog."""
        self._channel.send("text", turn_id, attempt, offset, text)
        return len(text.encode())
