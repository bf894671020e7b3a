"""What runs on this node, as `agentring ps` shows it: built when it is asked for, at no cost to what runs."""

import asyncio
import time
from collections.abc import Iterator

from agent_node.halt.halts import Halts
from agent_node.lifecycle.incarnation import Incarnation
from agent_node.run.steps_under_way import StepsUnderWay
from agent_node.session.session import Session
from agent_node.task.run import TaskRun
from agentring.ids import SessionRef, TaskRef
from agentring.v1 import halt_pb2, task_pb2
from agentring.v1.halt_pb2 import RunningWork

_STEPS_SHOWN = 8


def running_work(incarnation: Incarnation, halts: Halts, tenant: str) -> Iterator[RunningWork]:
    """Each turn and task run. tenant: empty: of all tenants."""
    for session in incarnation.host.sessions:
        if tenant in ("", session.ref.tenant) and (work := _of_session(session, halts)) is not None:
            yield work
    for run in incarnation.task_runs.under_way:
        if tenant in ("", run.ref.tenant):
            yield _of_task(run, halts)


def _of_session(session: Session, halts: Halts) -> RunningWork | None:
    running = session.running
    if running is None or (turn := session.turns.get(running.turn_id)) is None:
        return None
    state = halt_pb2.WORK_STATE_RUNNING
    if session.questions.is_waiting:
        state = halt_pb2.WORK_STATE_ASKING
    elif not running.slot.is_held:
        state = halt_pb2.WORK_STATE_WAITING
    work = _work(session.ref, session.stored.agent, turn.attempt, state, halts, running.open_steps)
    work.session_id, work.turn_id = session.ref.session_id, running.turn_id
    work.turns_waiting = len(session.mailbox)
    _set_age(work, asyncio.get_running_loop().time() - running.begun_s)
    return work


def _of_task(run: TaskRun, halts: Halts) -> RunningWork:
    is_waiting = run.state == task_pb2.TASK_STATE_PENDING
    state = halt_pb2.WORK_STATE_WAITING if is_waiting else halt_pb2.WORK_STATE_RUNNING
    work = _work(run.ref, run.agent, run.attempt, state, halts, run.open_steps)
    work.task_key = run.ref.task_key
    _set_age(work, time.monotonic() - run.begun_s)
    return work


def _work(
    ref: SessionRef | TaskRef,
    agent: str,
    attempt: int,
    state: halt_pb2.WorkState.ValueType,
    halts: Halts,
    steps: StepsUnderWay | None,
) -> RunningWork:
    if (halt := halts.find(ref, agent)) is not None and halt.hold:
        state = halt_pb2.WORK_STATE_HELD
    work = RunningWork(tenant_id=ref.tenant, agent=agent, attempt=attempt, state=state)
    if steps is not None:
        work.open_steps.extend(steps.shown()[:_STEPS_SHOWN])
    return work


def _set_age(work: RunningWork, age_s: float) -> None:
    work.age_s = max(0.0, age_s)
    work.begin_time.FromNanoseconds(time.time_ns() - int(work.age_s * 1e9))
