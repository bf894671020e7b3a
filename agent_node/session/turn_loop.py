"""Runs a session's turns: takes them from its mailbox, one at a time, each to its end.

Guarantees: every turn that it takes ends, and ends once, unless it is cut off or the session fails: then its next owner
runs it again. What ends a turn is decided at one place (`_finish`), so a cancel that comes while the agent returns is
either before or after, never both. A run and the start of a tool are stored before they are published or called. A turn
whose agent never waits runs in the round of the event loop in which it begins, and one of a session in each round.
"""

import asyncio
from contextvars import copy_context
from dataclasses import replace
from functools import partial

from agent_node.events.encoding import turn_started
from agent_node.json_values import from_struct
from agent_node.run.agent_run import AgentRun, run_agent
from agent_node.run.first_steps import FirstSteps
from agent_node.run.input_parts import parts_of
from agent_node.run.open_calls import cut_off_calls
from agent_node.run.outcome import Completed, Failed, Outcome, attempts_exhausted, cancelled_by_nobody, failed_before
from agent_node.run.restarts import ValidNumbers
from agent_node.run.run_input import TurnInput
from agent_node.run.slots import RunSlot
from agent_node.session import turn_end
from agent_node.session.mailbox import WaitingTurn
from agent_node.session.questions import TurnQuestions
from agent_node.session.state import ENDED, RunningTurn, SessionState
from agent_node.session.turn_records import TurnRecords
from agent_node.session.turn_steps import TurnSteps, decide_end, decided_end
from agent_node.session.uninterrupted import run_to_end
from agent_node.store import StoredTurn, ToolStart
from agent_node.store.session_records import text_of
from agent_node.store.step_records import Life
from agentring.errors import NodeFenced
from agentring.v1.session_pb2 import TURN_STATE_RUNNING


async def run_turns(session: SessionState) -> None:
    """Runs turn after turn, until cancelled. Raises what the store raises, NodeFenced."""
    try:
        async with asyncio.TaskGroup() as group:
            while True:
                # In a frame of its own, which an idle session does not keep: a turn's input and outcome may be large.
                await _run_to_end(session, await session.mailbox.get(), group)
                if len(session.mailbox):
                    await asyncio.sleep(0)  # turns that wait for nothing would leave the event loop no moment
    except ExceptionGroup as failed:
        raise failed.exceptions[0] from None  # the turn's failure, or ours because of it


async def cancel(session: SessionState, turn_id: str, reason: str) -> StoredTurn:
    """Cancels a turn, if it waits or runs, and returns it once it has ended. Raises TurnNotFound, what the session was
    dropped with, and what the store raises."""
    running = session.running
    if session.mailbox.take_back(turn_id):
        await _cut_off_calls(session, session.turn(turn_id))
        await turn_end.cancel(session, turn_id, reason)
        session.changed.wake()
    elif running is not None and running.turn_id == turn_id:
        await _stop(session, running, reason)
    turn = await session.look_up_turn(turn_id)
    if turn.state not in ENDED:
        session.writer.check()
        raise NodeFenced
    return turn


async def cancel_all(session: SessionState, reason: str) -> None:
    """Cancels every turn, and returns once they have ended. Raises as `cancel`."""
    # All at once, so that none of those that wait starts when the running one ends.
    cancels = [
        session.flights.begin(turn.turn_id, partial(cancel, session, turn.turn_id, reason))
        for turn in session.turns.open
    ]
    for each in cancels:
        await asyncio.shield(each)


async def cut_off(session: SessionState) -> None:
    """Stops the turns that run and wait, and neither stores nor publishes anything of it."""
    session.mailbox.take_back_all()
    if session.running is not None:
        await _stop(session, session.running, None)


async def _stop(session: SessionState, running: RunningTurn, reason: str | None) -> None:
    running.cancel_reason = reason
    if reason is not None:
        await decide_end(session, running.turn_id, reason)
    if running.task is not None:
        running.task.cancel()
    await session.changed.until(lambda: session.running is not running or session.log.end_error is not None)


async def _run_to_end(session: SessionState, waiting: WaitingTurn, group: asyncio.TaskGroup) -> None:
    # Nothing is awaited before it is in `running`: a turn is always either in the mailbox or cancellable.
    slot = RunSlot(session.slots, session.ref.tenant, waiting.terms.subject)
    session.running = running = RunningTurn(waiting.turn_id, slot)
    try:
        if not _run_at_once(session, waiting, running):
            await _run_in_task(session, waiting, running, group)
        await _finish(session, waiting, running)
    finally:
        session.running = None
        session.changed.wake()
    session.questions.forget(waiting.turn_id)


def _run_at_once(session: SessionState, waiting: WaitingTurn, running: RunningTurn) -> bool:
    """Runs a turn that waits for nothing, and that nothing can cut off therefore; whether that was all of it. Raises
    what prevents that it is written to the log."""
    turn, slot = session.turn(waiting.turn_id), running.slot
    if turn.state != TURN_STATE_RUNNING or turn.attempt > 1 or turn.deaths or session.is_halted:
        return False
    if not slot.acquire_free():
        return False
    try:
        session.writer.check()
        _publish_start(session, turn)
        run_input = _run_input(session, waiting, turn, slot)
        run = AgentRun(session.env, session.agent, run_input, session.log, session.claim.epoch)
        running.outcome = run.begin()
        if running.outcome is None:
            running.run = run
            return False
    except NodeFenced:
        pass
    except BaseException:
        slot.release()
        raise
    slot.release()
    return True


async def _run_in_task(
    session: SessionState, waiting: WaitingTurn, running: RunningTurn, group: asyncio.TaskGroup
) -> None:
    """Runs a turn, or the rest of one that has begun, in a task of its own, which can be cancelled."""
    ended: asyncio.Future[None] = asyncio.get_running_loop().create_future()
    running.begun_s = asyncio.get_running_loop().time()
    context = copy_context()
    steps = FirstSteps(_run(session, waiting, running, ended))
    task = group.create_task(steps, context=context)
    task.add_done_callback(lambda _: _resolve(ended))
    # A cancellation must reach the agent, which may have begun: so the task has, before anybody can cancel it.
    steps.take(task, context)
    if steps.is_over:
        return
    running.task = task
    try:
        session.writer.check()
    except Exception:
        task.cancel()  # a write has failed in what the agent did first
    await ended
    if not task.cancelled():
        task.result()


async def _run(
    session: SessionState, waiting: WaitingTurn, running: RunningTurn, ended: "asyncio.Future[None]"
) -> None:
    """ended: resolved with the last step."""
    try:
        if running.run is not None:
            running.outcome = await running.run.wait()
        else:
            await session.acquire_slot(running)
            running.outcome = await _run_agent(session, waiting, running.slot)
    except NodeFenced:
        pass
    finally:
        running.slot.release()
        _resolve(ended)


def _resolve(ended: "asyncio.Future[None]") -> None:
    if not ended.done():
        ended.set_result(None)


async def _run_agent(session: SessionState, waiting: WaitingTurn, slot: RunSlot) -> Outcome:
    turn = await _start(session, waiting.turn_id)
    if (reason := await decided_end(session, turn)) and session.running is not None:
        if (failed := failed_before(reason)) is not None:
            return failed
        session.running.cancel_reason = reason
        raise asyncio.CancelledError
    runs_cut_off = session.questions.runs_cut_off(turn.turn_id)
    if turn.attempt - runs_cut_off > session.env.limits.max_attempts:
        async with session.writer:
            last_gain = await session.store.steps.last_gain(Life(session.ref.tenant, turn.life_id))
        if session.env.limits.are_exhausted(turn.attempt - runs_cut_off, last_gain):
            return attempts_exhausted(turn.attempt)
    run_input = _run_input(session, waiting, turn, slot)
    return await run_agent(session.env, session.agent, run_input, session.log, session.claim.epoch)


def _run_input(session: SessionState, waiting: WaitingTurn, turn: StoredTurn, slot: RunSlot) -> TurnInput:
    stored = session.stored
    valid = session.restarted or ValidNumbers(turn.accepted_seq - 1)
    session.restarted = None
    return TurnInput(
        ref=stored.ref,
        turn_id=waiting.turn_id,
        attempt=turn.attempt,
        text=text_of(waiting.input),
        data=from_struct(waiting.input.data),
        state_json=stored.state_json,
        history=stored.history,
        turn_number=stored.turns_completed + 1,
        tool_starts=partial(_before_tool, session),
        questions=TurnQuestions(session.questions, waiting.turn_id, slot),
        agent=stored.agent,
        deaths=turn.deaths,
        published=turn.published,
        turn_seq=turn.accepted_seq,
        restart=partial(valid.append_further, session.log),
        steps=partial(TurnSteps, session, turn, valid),
        decide_end=partial(_decide_end, session, turn.turn_id),
        parts=parts_of(waiting.input),
        records=partial(TurnRecords, session),
        trace=waiting.trace,
        slot=slot,
        terms=waiting.terms,
    )


async def _decide_end(session: SessionState, turn_id: str, reason: str) -> None:
    await run_to_end(session.tasks, partial(decide_end, session, turn_id, reason))


async def _start(session: SessionState, turn_id: str) -> StoredTurn:
    """Stores that a turn runs, then publishes it."""
    session.writer.check()
    turn = session.turn(turn_id)
    if turn.state != TURN_STATE_RUNNING:
        turn = replace(turn, state=TURN_STATE_RUNNING)
        session.turns.put(turn)
        await run_to_end(session.tasks, partial(_store_start, session, turn))
        _append_start(session, turn)
    else:
        _publish_start(session, turn)
    return turn


def _publish_start(session: SessionState, turn: StoredTurn) -> None:
    """Of a turn that was accepted as running, which saved a write."""
    session.audit("turn_started", turn, session.begun_commit, attempt=turn.attempt)
    _append_start(session, turn)


def _append_start(session: SessionState, turn: StoredTurn) -> None:
    session.log.append_body(turn.turn_id, turn.attempt, turn_started(session.env.node_id))


async def _store_start(session: SessionState, turn: StoredTurn) -> None:
    async with session.writer:
        commit = await session.store.start_turn(session.ownership, turn)
    session.audit("turn_started", turn, commit, attempt=turn.attempt)


async def _before_tool(session: SessionState, start: ToolStart) -> None:
    """Stores that a tool is about to be called. Cancellation: it is stored, and audited, all the same."""
    storing = partial(_start_tool, session, start)
    await (run_to_end(session.tasks, storing) if session.store.waits else storing())


async def _start_tool(session: SessionState, start: ToolStart) -> None:
    async with session.writer:
        commit = await session.store.start_tool(session.ownership, start)
    session.audit("tool_started", session.turn(start.turn_id), commit, tool=start.name)


async def _cut_off_calls(session: SessionState, turn: StoredTurn) -> None:
    """Those that earlier attempts have shown, and this one has not come to."""
    if turn.published:
        await cut_off_calls(session.log, turn.turn_id, turn.attempt, turn.accepted_seq)


async def _finish(session: SessionState, waiting: WaitingTurn, running: RunningTurn) -> None:
    session.writer.check()
    is_cancelled = running.task is not None and running.task.cancelled()
    if is_cancelled and running.cancel_reason is None:
        return
    await _cut_off_calls(session, session.turn(waiting.turn_id))
    if is_cancelled:
        if running.cancel_reason:
            await turn_end.cancel(session, waiting.turn_id, running.cancel_reason)
        else:
            await turn_end.fail(session, waiting.turn_id, cancelled_by_nobody())
        return
    match running.outcome:
        case Completed() as outcome:
            await turn_end.complete(session, waiting.turn_id, text_of(waiting.input), outcome)
        case Failed() as outcome:
            await turn_end.fail(session, waiting.turn_id, outcome)
        case None:
            raise NodeFenced
