"""A child process that runs an agent once, for the node that asked for it.

Guarantees: the agent is run by the same code as on a node (run/agent_run.py), with the same bounds; the process ends
when the run has, and when the node has ended. What needs the lease, the store or the claims is requested of the node.
Called in a process that was just forked.
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

from agent_node import agent_output
from agent_node.agent_errors import log_failure, text_of
from agent_node.agents.lifespans import Lifespans
from agent_node.agents.registry import LoadedAgents
from agent_node.audit import NoAuditLog
from agent_node.child_process.messages import BEAT_S, Begin, Channel
from agent_node.child_process.recorded_steps import ChildSteps
from agent_node.child_process.stand_ins import NodesLog, NodesRecords, StandingClock
from agent_node.json_values import NotJson, to_json
from agent_node.log_fields import named
from agent_node.once.steps import Once
from agent_node.run.agent_run import run_agent
from agent_node.run.environment import RunEnvironment
from agent_node.run.outcome import Failed, Outcome, new_error_id
from agent_node.run.run_input import TurnInput
from agent_node.run.time_limit import PausableDeadline
from agent_node.store import ToolStart
from agent_node.store.once_records import OnceCaller
from agentring import log
from agentring.cluster.etcd.client import EtcdClient
from agentring.cluster.lease import Lease
from agentring.errors import NodeDraining
from agentring.plain_json import type_name
from agentring.process import forks
from agentring.process.entry import drive
from agentring.process.owned_loop import OwnedLoop, log_errors_without_text
from agentring.v1 import session_pb2

_ANY_TTL_S = 60
_step: ContextVar[int | None] = ContextVar("agentring_step", default=None)
"""Of which step the current code is a part."""


def serve(connection: socket.socket, agents: LoadedAgents, log_level: str) -> None:
    """Runs what the node sends, and returns once that has ended. connection: to the node."""
    log.configure(log_level)
    agent_output.install(log_level)
    log_errors_without_text()
    faulthandler.register(signal.SIGUSR1, file=sys.stderr, all_threads=False)
    connection.setblocking(False)
    forks.close_in_children(connection.fileno())
    with asyncio.Runner(loop_factory=OwnedLoop) as runner:
        forks.end_children_in(runner.get_loop())
        drive(runner.get_loop(), _serve(connection, agents))
        os._exit(0)  # what the agent has left behind is not waited for


async def _serve(connection: socket.socket, agents: LoadedAgents) -> None:
    reader, writer = await asyncio.open_unix_connection(sock=connection)
    channel = Channel(reader, writer)
    channel.send("hello", os.getpid())
    begin = await channel.receive()
    if begin is None:
        return
    async with asyncio.TaskGroup() as group:
        child = _Child(channel, begin[1], group)
        beats = group.create_task(_beat(channel))
        receiving = group.create_task(child.receive())
        running = group.create_task(child.run(agents))
        await asyncio.wait([running, receiving], return_when=asyncio.FIRST_COMPLETED)
        if not running.done():
            os._exit(0)  # the node has ended
        await writer.drain()
        await receiving  # until the node has received it
        beats.cancel()


async def _beat(channel: Channel) -> None:
    while True:
        channel.send("beat")
        await asyncio.sleep(BEAT_S)


class _Child:
    def __init__(self, channel: Channel, begin: Begin, group: asyncio.TaskGroup) -> None:
        self._channel = channel
        self._group = group
        self._begin = begin
        self._numbers = count(1)
        self._requests: dict[int, _Request] = {}
        self._running: asyncio.Task[None] | None = None
        self._steps: dict[int, asyncio.Task[None]] = {}
        self._is_cut_off = False
        """The run is left to its next owner."""

    async def run(self, agents: LoadedAgents) -> None:
        self._running = asyncio.current_task()
        begin = self._begin
        agent = agents.by_name[begin.agent]
        lifespans = Lifespans({begin.agent: agent}, agents.settings)
        env = RunEnvironment(
            begin.node_id,
            Lease(cast(EtcdClient, None), StandingClock(), lease_id=0, ttl_s=_ANY_TTL_S, granted_at_s=0.0),
            NoAuditLog(),
            begin.limits,
            begin.incarnation,
            cast(Once, self) if begin.has_once else None,
            opened=lifespans.opened,
        )
        questions = self if begin.asks else None
        turn = replace(begin.turn, restart=self._restart, tool_starts=self._start_tool, questions=questions)
        if begin.has_records:
            turn = replace(turn, records=lambda: NodesRecords(self._request))
        if begin.life_id is not None:
            steps = partial(ChildSteps, begin.life_id, self._group, self._request, self._channel.send, self._check)
            turn = replace(turn, steps=steps, decide_end=partial(self._request, "decide"))
        outcome: Outcome | None = None
        try:
            if left_out := await lifespans.open():
                outcome = _not_opened(turn, left_out[begin.agent])
            else:
                outcome = await run_agent(env, agent, turn, NodesLog(self._channel), begin.epoch)
        except asyncio.CancelledError:
            pass
        await lifespans.close()
        if outcome is None:
            self._channel.send("cancelled")
        else:
            self._channel.send("done", outcome)

    async def receive(self) -> None:
        """Until the node has ended."""
        while (message := await self._channel.receive()) is not None:
            match message:
                # The node may have answered what the agent does not wait for any more.
                case ("reply", number, error, value) if number in self._requests:
                    self._requests[number].finish(error, value)
                case ("notify", number, value) if number in self._requests:
                    self._requests[number].notify(value)
                case ("step", number, step, run) if number in self._requests:
                    request = self._requests[number]
                    context = request.context.copy()
                    running = self._run_step(step, request, run)
                    task = self._steps[step] = asyncio.get_running_loop().create_task(running, context=context)
                    task.add_done_callback(partial(self._step_over, step))
                case ("cut", step) if step in self._steps:
                    self._steps[step].cancel()
                case ("cancel", is_cut_off) if self._running is not None:
                    self._is_cut_off = is_cut_off
                    self._running.cancel()

    async def ask(
        self, ordinal: int, question: session_pb2.InputRequired, publish: Callable[[str], None], time: PausableDeadline
    ) -> session_pb2.Input:
        """As Questions."""
        time.pause()
        try:
            asked = question.SerializeToString(deterministic=True)
            answer = await self._request("ask", ordinal, asked, notify=publish)
            return session_pb2.Input.FromString(answer)
        finally:
            time.resume()

    async def call(
        self,
        caller: OnceCaller,
        key: str,
        function: Callable[..., Awaitable[Any]],
        *,
        timeout_s: float,
        idempotent: bool,
        publish_unknown: Callable[[], None],
        may_run: object = None,
    ) -> Any:
        """As Once. What is halted is the node's to know."""
        return await self._request(
            "once",
            _step.get(),
            key,
            timeout_s,
            idempotent,
            notify=lambda _: publish_unknown(),
            function=function,
        )

    def _check(self) -> None:
        if self._is_cut_off:
            raise NodeDraining

    def _restart(self, event: session_pb2.Event) -> None:
        self._channel.send("restart", event.SerializeToString())

    async def _start_tool(self, start: ToolStart) -> None:
        await self._request("tool", start)

    async def _request(
        self,
        kind: str,
        *fields: Any,
        notify: Callable[[Any], None] = lambda _: None,
        function: Callable[..., Awaitable[Any]] | None = None,
    ) -> Any:
        number = next(self._numbers)
        request = self._requests[number] = _Request(notify, function)
        self._channel.send(kind, number, *fields)
        try:
            await asyncio.wait([request.reply])
        except asyncio.CancelledError:
            self._channel.send("drop", number)
            await asyncio.wait([request.reply])  # as on the node, where a step that is cut off is stored first
            raise
        finally:
            del self._requests[number]
        return request.reply.result()

    def _step_over(self, step: int, _: object) -> None:
        del self._steps[step]

    async def _run_step(self, step: int, request: "_Request", run: Mapping[str, Any]) -> None:
        _step.set(step)
        assert request.function is not None
        try:
            result = await request.function(**run)
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


def _not_opened(turn: TurnInput, why: str) -> Failed:
    error_id = new_error_id()
    fields = named(turn.ref, turn.agent, turn.turn_id, turn.attempt, turn.trace)
    log_failure("agent_failed", None, reason="AGENT_ERROR", error_id=error_id, why=why, **fields)
    return Failed("AGENT_ERROR", error_id)


class _Request:
    """Of the child to its node."""

    def __init__(self, notify: Callable[[Any], None], function: Callable[..., Awaitable[Any]] | None) -> None:
        """notify: called with what the node says before it replies; function: of a step."""
        self.notify = notify
        self.function = function
        self.reply: asyncio.Future[Any] = asyncio.get_running_loop().create_future()
        self.context = contextvars.copy_context()

    def finish(self, error: BaseException | None, value: Any) -> None:
        if self.reply.done():
            return
        if error is None:
            self.reply.set_result(value)
        elif isinstance(error, asyncio.CancelledError):
            self.reply.cancel()
        else:
            self.reply.set_exception(error)
            self.reply.exception()  # nobody may be waiting for it any more
