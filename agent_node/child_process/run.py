"""One run of an agent in a child process, as the node sees it.

Guarantees: the events of the run, and its tools, questions and steps, take the same path as those of a run on the node,
and only while the lease stands; a child that ends before its run has (AGENT_ENDED_NODE: on the node it would have ended
that), or whose event loop does not turn for as long as would have cost the node its lease (AGENT_BLOCKED), fails this
run alone, and the log names the run; a child ends with its run, whatever the agent makes of that. Used by runs.py.
"""

import asyncio
import contextvars
from collections.abc import Coroutine
from contextlib import suppress
from dataclasses import replace
from functools import partial
from itertools import count
from typing import Any

from agent_node.child_process.failures import check, failed
from agent_node.child_process.fork_server import ForkServer
from agent_node.child_process.messages import BEAT_S, Begin, Channel, Message
from agent_node.child_process.recorded_steps import NodeSteps
from agent_node.child_process.step import Step
from agent_node.run.environment import RunEnvironment
from agent_node.run.open_calls import OpenCalls
from agent_node.run.outcome import Outcome
from agent_node.run.run_gate import RunGate
from agent_node.run.run_input import RunEvents, TurnInput
from agent_node.run.slots import RunSlot
from agent_node.run.time_limit import PausableDeadline
from agent_node.store.once_records import OnceCaller
from agentring.errors import AgentringError
from agentring.ids import Epoch
from agentring.v1 import session_pb2

_LAST_WORDS_S = 0.2
"""How long a blocked child may take to log where it stands."""
_LET_RUN_EVERY_S = 0.25
_ENDS = ("done", "cancelled")
_WITHOUT_REPLY = ("event", "text", "restart", "mark", "drop")


class ChildRun:
    """Made for one run, with a child that is there."""

    def __init__(
        self,
        env: RunEnvironment,
        turn: TurnInput,
        log: RunEvents,
        epoch: Epoch,
        channel: Channel,
        slot: RunSlot,
    ) -> None:
        self._env = env
        self._turn = turn
        self._log = log
        self._epoch = epoch
        self._channel = channel
        self._slot = slot
        self._requests: dict[int, asyncio.Task[None]] = {}
        self._steps: dict[int, Step] = {}
        self._step_numbers = count(1)
        self._tools = OpenCalls()
        self._is_stopping = False
        self._time = PausableDeadline(env.limits.timeout_s)
        self._time.pause()  # the child keeps the deadline itself
        self._gate = RunGate(env, turn, self._time, slot, lambda: self._is_stopping)
        self._recorded = NodeSteps(turn.steps(), self._gate.pass_by) if turn.steps is not None else None
        self._records = turn.records() if turn.records is not None else None
        self._end_unstored = False
        """Why the run is to end could not be stored."""

    async def carry_out(
        self, forker: ForkServer, pid: int, blocked_s: float, log_fields: dict[str, str | int]
    ) -> Outcome:
        """From its beginning to its end, and the child's."""
        env, turn = self._env, self._turn
        bare = replace(
            turn, tool_starts=None, questions=None, steps=None, records=None, restart=None, decide_end=None, slot=None
        )
        begin = Begin(
            agent=turn.agent,
            turn=bare,
            asks=turn.questions is not None,
            has_once=env.once is not None,
            has_records=turn.records is not None,
            epoch=self._epoch,
            limits=env.limits,
            node_id=env.node_id,
            incarnation=env.incarnation,
            life_id=self._recorded.life_id if self._recorded is not None else None,
        )
        self._channel.send("begin", begin)
        try:
            async with asyncio.TaskGroup() as group:
                outcome: Outcome | None = None
                allowing = group.create_task(self._let_run(forker, pid))
                try:
                    outcome = await self._until_done(blocked_s, group)
                    if outcome is None:
                        env.lease.check()  # once it is over, children are ended for that
                        check(forker)
                        outcome = failed("AGENT_ENDED_NODE", "agent_ended_its_process", log_fields)
                        self._blame_steps()
                except TimeoutError:
                    env.lease.check()
                    forker.ask_where(pid)
                    await asyncio.sleep(_LAST_WORDS_S)
                    outcome = failed("AGENT_BLOCKED", "agent_blocked_its_process", log_fields, for_s=blocked_s)
                    self._blame_steps()
                except asyncio.CancelledError:
                    await self._stop(group)
                    raise
                finally:
                    allowing.cancel()
                    forker.kill(pid)
                    self._cut_off_rest()
                    with suppress(AgentringError):  # the run's own ending says what ended it
                        self._publish_cut_off()
        except ExceptionGroup as group_error:
            raise group_error.exceptions[0] from None
        return outcome

    async def _let_run(self, forker: ForkServer, pid: int) -> None:
        """Says how long the child may go on: until the watchdog would end the node itself."""
        lease = self._env.lease
        while True:
            forker.let_run(pid, lease.fence_in_s + lease.margin_s / 2)
            await asyncio.sleep(_LET_RUN_EVERY_S)

    async def _until_done(self, blocked_s: float, group: asyncio.TaskGroup) -> Outcome | None:
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
                outcome: Outcome = message[1]
                return outcome
            self._handle(message, group)

    def _publish_cut_off(self) -> None:
        self._env.lease.check()
        for event in self._tools.cut_off():
            self._log.append(event)

    def _blame_steps(self) -> None:
        for step in list(self._steps.values()):
            step.ended_its_process()

    def _cut_off_rest(self) -> None:
        """Ends what the agent has left behind; a step that is to blame comes to its end."""
        if self._recorded is not None:
            self._recorded.close()
        for step in list(self._steps.values()):
            step.cut_off()
        in_steps = {step.number for step in self._steps.values()}
        for number, task in self._requests.items():
            if number not in in_steps:
                task.cancel()

    async def _stop(self, group: asyncio.TaskGroup) -> None:
        """Lets the child end the run by itself, for as long as it may take: its clean-up may run steps."""
        is_cut_off = self._end_unstored or (self._recorded is not None and self._recorded.is_cut_off)
        self._is_stopping = True
        self._channel.send("cancel", is_cut_off)
        with suppress(TimeoutError):
            async with asyncio.timeout(self._env.limits.cancel_grace_s):
                while (message := await self._channel.receive()) is not None and message[0] not in _ENDS:
                    if not self._end_unstored or message[0] in _WITHOUT_REPLY:  # else the group takes nothing more
                        self._handle(message, group)

    def _handle(self, message: Message, group: asyncio.TaskGroup) -> None:
        context = contextvars.copy_context()
        call: Coroutine[Any, Any, Any]
        match message:
            case ("event" | "text" | "restart", *_):
                self._append(message)
                return
            case ("mark", number) if self._recorded is not None:
                self._recorded.mark(number)
                return
            case ("step_done", step, error, result):
                if step in self._steps:
                    self._steps[step].finish(error, result)
                return
            case ("step_cut", step):
                if step in self._steps:
                    self._steps[step].cut_off()
                return
            case ("drop", number) if number in self._requests:
                self._requests[number].cancel()
                return
            case ("tool", number, start):
                call = self._start_tool(start)
            case ("steps", number, method, *arguments) if self._recorded is not None:
                call = self._recorded.answer(method, *arguments)
            case ("decide", number, reason) if self._turn.decide_end is not None:
                call = self._decide_end(reason)
            case ("records", number, method, *arguments) if self._records is not None:
                call = getattr(self._records, method)(*arguments)
            case ("ask", number, ordinal, question):
                call = self._ask(number, ordinal, question)
            case ("once", number, within, key, timeout_s, idempotent):
                call = self._once(number, key, timeout_s, idempotent=idempotent)
                if within in self._steps:
                    context = self._steps[within].context.copy()
            case _:
                return
        task = self._requests[number] = group.create_task(self._answer(number, call), context=context)
        task.add_done_callback(partial(self._finished, number))

    def _finished(self, number: int, task: "asyncio.Task[None]") -> None:
        self._requests.pop(number, None)
        if task.cancelled() or task.exception() is not None:  # also one that had not begun
            self._channel.send("reply", number, asyncio.CancelledError(), None)

    def _append(self, message: Message) -> None:
        self._env.lease.check()
        if message[0] == "restart":
            assert self._turn.restart is not None
            self._turn.restart(session_pb2.Event.FromString(message[1]))
        elif message[0] == "event":
            event = session_pb2.Event.FromString(message[1])
            self._log.append(event)
            self._tools.note(event)
        else:
            self._log.append_text(*message[1:])

    async def _decide_end(self, reason: str) -> None:
        assert self._turn.decide_end is not None
        try:
            await self._turn.decide_end(reason)
        except Exception:
            self._end_unstored = True
            raise

    async def _answer(self, number: int, call: Coroutine[Any, Any, Any]) -> None:
        try:
            reply: Message = ("reply", number, None, await call)
        except Exception as error:
            if self._end_unstored:
                raise  # ends the run here, which goes on elsewhere
            reply = ("reply", number, error, None)
        try:
            self._channel.send(*reply)
        except Exception as error:  # what cannot be pickled
            self._channel.send("reply", number, RuntimeError(type(error).__name__), None)

    async def _start_tool(self, start: Any) -> None:
        self._env.lease.check()
        if self._turn.tool_starts is not None:
            await self._turn.tool_starts(start)
        else:
            self._env.audit.write(
                "tool_started", self._turn.ref, epoch=self._epoch, turn=start.turn_id, tool=start.name
            )

    async def _ask(self, number: int, ordinal: int, question: bytes) -> bytes:
        assert self._turn.questions is not None
        self._slot.release()
        answer = await self._turn.questions.ask(
            ordinal,
            session_pb2.InputRequired.FromString(question),
            lambda input_id: self._channel.send("notify", number, input_id),
            self._time,
        )
        await self._slot.acquire()
        return answer.SerializeToString()

    async def _once(self, number: int, key: str, timeout_s: float, *, idempotent: bool) -> Any:
        assert self._env.once is not None

        async def function(**run: Any) -> Any:
            step = next(self._step_numbers)
            running = self._steps[step] = Step(number, idempotent)
            self._channel.send("step", number, step, run)
            try:
                return await running.result
            except asyncio.CancelledError:
                self._channel.send("cut", step)
                raise
            finally:
                del self._steps[step]

        return await self._env.once.call(
            OnceCaller(self._turn.ref, self._turn.turn_id),
            key,
            function,
            timeout_s=timeout_s,
            idempotent=idempotent,
            publish_unknown=lambda: self._channel.send("notify", number, None),
            in_child=True,
            may_run=self._gate.pass_by,
        )
