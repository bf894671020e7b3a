"""One run of an agent in a child process, as the node sees it.

Guarantees: what the run tells, and the tools, questions and steps that it asks for, go the same way as those of a run
on the node, and only while the lease stands; a child that ends before its run has (AGENT_ENDED_NODE: on the node it
would have ended that), or whose event loop does not turn for as long as would have cost the node its lease
(AGENT_BLOCKED), fails this run alone, and the log says whose it was; a child ends with its run, whatever the agent
makes of that. Used by runs.py.
"""

import asyncio
import contextvars
from collections.abc import Coroutine
from contextlib import suppress
from dataclasses import replace
from functools import partial
from itertools import count
from typing import Any

import structlog

from agent_node.child_process.fork_server import ForkServer
from agent_node.child_process.messages import BEAT_S, Begin, Channel, Message
from agent_node.child_process.step import Step
from agent_node.events.log import EventLog
from agent_node.run.agent_run import Failed
from agent_node.run.context import Completed, TurnInput, new_error_id
from agent_node.run.environment import RunEnvironment
from agent_node.run.slots import RunSlot
from agent_node.run.time_limit import PausableDeadline
from agent_node.store.once_records import OnceCaller
from agentring.errors import SessionMoving
from agentring.ids import Epoch
from agentring.v1 import session_pb2

_LAST_WORDS_S = 0.2
"""How long a blocked child may take to say where it stands."""
_LET_RUN_EVERY_S = 0.25
_ENDS = ("done", "cancelled")

_log = structlog.get_logger()


class ChildRun:
    """Made for one run, with a child that is there."""

    def __init__(
        self,
        env: RunEnvironment,
        given: TurnInput,
        log: EventLog,
        epoch: Epoch,
        channel: Channel,
        place: RunSlot,
    ) -> None:
        self._env = env
        self._given = given
        self._log = log
        self._epoch = epoch
        self._channel = channel
        self._place = place
        self._asked: dict[int, asyncio.Task[None]] = {}
        self._steps: dict[int, Step] = {}
        self._step_numbers = count(1)
        self._time = PausableDeadline(env.limits.timeout_s)
        self._time.hold()  # the child sees to its time itself

    async def carry_out(
        self, forker: ForkServer, pid: int, blocked_s: float, told: dict[str, str | int]
    ) -> Completed | Failed:
        """From its beginning to its end, and the child's."""
        env, given = self._env, self._given
        bare = replace(given, tool_starts=None, questions=None)
        asks, has_once = given.questions is not None, env.once is not None
        self._channel.send(
            "begin",
            Begin(given.agent, bare, asks, has_once, self._epoch, env.limits, env.node_id, env.incarnation),
        )
        try:
            async with asyncio.TaskGroup() as group:
                outcome: Completed | Failed | None = None
                letting = group.create_task(self._let_run(forker, pid))
                try:
                    outcome = await self._until_done(blocked_s, group)
                    if outcome is None:
                        env.lease.check()  # once it is over, children are ended for that
                        check(forker)
                        outcome = failed("AGENT_ENDED_NODE", "agent_ended_its_process", told)
                        self._blame_steps()
                except TimeoutError:
                    env.lease.check()
                    forker.ask_where(pid)
                    await asyncio.sleep(_LAST_WORDS_S)
                    outcome = failed("AGENT_BLOCKED", "agent_blocked_its_process", told, for_s=blocked_s)
                    self._blame_steps()
                except asyncio.CancelledError:
                    await self._stop()
                    raise
                finally:
                    letting.cancel()
                    forker.kill(pid)
                    self._let_go()
        except ExceptionGroup as group_error:
            raise group_error.exceptions[0] from None
        return outcome

    async def _let_run(self, forker: ForkServer, pid: int) -> None:
        """Says how long the child may go on: until the watchdog would end the node itself."""
        lease = self._env.lease
        while True:
            forker.let_run(pid, lease.fence_in_s + lease.margin_s / 2)
            await asyncio.sleep(_LET_RUN_EVERY_S)

    async def _until_done(self, blocked_s: float, group: asyncio.TaskGroup) -> Completed | Failed | None:
        """The outcome; None: the child has ended before. Raises TimeoutError: its event loop stands still."""
        while True:
            try:
                async with asyncio.timeout(blocked_s):
                    message = await self._channel.receive()
            except TimeoutError:  # unless it was this process that stood still
                async with asyncio.timeout(2 * BEAT_S):
                    message = await self._channel.receive()
            if message is None:
                return None
            if message[0] == "done":
                outcome: Completed | Failed = message[1]
                return outcome
            self._deal_with(message, group)

    def _blame_steps(self) -> None:
        for step in list(self._steps.values()):
            step.ended_its_process()

    def _let_go(self) -> None:
        """What the agent has left behind ends here; a step that is to blame comes to its end."""
        for step in list(self._steps.values()):
            step.cut_off()
        in_steps = {step.number for step in self._steps.values()}
        for number, task in self._asked.items():
            if number not in in_steps:
                task.cancel()

    async def _stop(self) -> None:
        """Lets the child end the run by itself, for as long as it may take."""
        self._channel.send("cancel")
        with suppress(TimeoutError):
            async with asyncio.timeout(self._env.limits.cancel_grace_s):
                while (message := await self._channel.receive()) is not None and message[0] not in _ENDS:
                    if message[0] in ("event", "text"):
                        self._tell(message)
                    elif message[0] == "drop":
                        self._drop(message[1])

    def _deal_with(self, message: Message, group: asyncio.TaskGroup) -> None:
        context = contextvars.copy_context()
        call: Coroutine[Any, Any, Any]
        match message:
            case ("event" | "text", *_):
                self._tell(message)
                return
            case ("step_done", step, error, result):
                if step in self._steps:
                    self._steps[step].done(error, result)
                return
            case ("step_cut", step):
                if step in self._steps:
                    self._steps[step].cut_off()
                return
            case ("drop", number):
                self._drop(number)
                return
            case ("tool", number, start):
                call = self._start_tool(start)
            case ("ask", number, ordinal, question):
                call = self._ask(number, ordinal, question)
            case ("once", number, within, key, timeout_s, idempotent):
                call = self._once(number, key, timeout_s, idempotent=idempotent)
                if within in self._steps:
                    context = self._steps[within].context.copy()
            case _:
                return
        task = self._asked[number] = group.create_task(self._answer(number, call), context=context)
        task.add_done_callback(partial(self._answered, number))

    def _drop(self, number: int) -> None:
        if (asked := self._asked.get(number)) is not None:
            asked.cancel()

    def _answered(self, number: int, task: "asyncio.Task[None]") -> None:
        self._asked.pop(number, None)
        if task.cancelled():  # also one that had not begun
            self._channel.send("reply", number, asyncio.CancelledError(), None)

    def _tell(self, message: Message) -> None:
        self._env.lease.check()
        if message[0] == "event":
            self._log.append(session_pb2.Event.FromString(message[1]))
        else:
            self._log.append_text(*message[1:])

    async def _answer(self, number: int, call: Coroutine[Any, Any, Any]) -> None:
        try:
            reply: Message = ("reply", number, None, await call)
        except Exception as error:
            reply = ("reply", number, error, None)
        try:
            self._channel.send(*reply)
        except Exception as error:  # what cannot be pickled
            self._channel.send("reply", number, RuntimeError(type(error).__name__), None)

    async def _start_tool(self, start: Any) -> None:
        self._env.lease.check()
        if self._given.tool_starts is not None:
            await self._given.tool_starts(start)
        else:
            self._env.audit.write(
                "tool_started", self._given.ref, epoch=self._epoch, turn=start.turn_id, tool=start.name
            )

    async def _ask(self, number: int, ordinal: int, question: bytes) -> bytes:
        assert self._given.questions is not None
        self._place.give_up()
        answer = await self._given.questions.ask(
            ordinal,
            session_pb2.InputRequired.FromString(question),
            lambda input_id: self._channel.send("told", number, input_id),
            self._time,
        )
        await self._place.take()
        return answer.SerializeToString()

    async def _once(self, number: int, key: str, timeout_s: float, *, idempotent: bool) -> Any:
        assert self._env.once is not None

        async def function(**run: Any) -> Any:
            step = next(self._step_numbers)
            carried = self._steps[step] = Step(number, idempotent)
            self._channel.send("step", number, step, run)
            try:
                return await carried.result
            except asyncio.CancelledError:
                self._channel.send("cut", step)
                raise
            finally:
                del self._steps[step]

        return await self._env.once.call(
            OnceCaller(self._given.ref, self._given.turn_id),
            key,
            function,
            timeout_s=timeout_s,
            idempotent=idempotent,
            tell_unknown=lambda: self._channel.send("told", number, None),
            apart=True,
        )


def check(forker: ForkServer) -> None:
    """Raises SessionMoving where the child has ended because those who forked it have."""
    if forker.is_gone:
        raise SessionMoving


def failed(reason: str, event: str, told: dict[str, str | int], **more: float) -> Failed:
    """The outcome, which is logged."""
    error_id = new_error_id()
    _log.error(event, reason=reason, error_id=error_id, **told, **more)
    return Failed(reason, error_id)
