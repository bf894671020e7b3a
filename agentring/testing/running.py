"""Carries a turn or a task to its end on the nodes of a test, however many of them die meanwhile."""

import asyncio
import json
from collections.abc import AsyncIterator, Callable
from contextlib import asynccontextmanager
from typing import TypeAlias

from agent_node.events.whole_log import all_events
from agent_node.run.typed_state import VERSION_KEY
from agent_node.session.session import Session
from agent_node.task.run import TaskRun
from agentring.agent import Answer, JsonObject
from agentring.client.event_reading import read_questions
from agentring.client.events import Question
from agentring.ids import parse_task
from agentring.plain_json import to_struct
from agentring.testing.ended_turn import Turn, read_events, turn_of
from agentring.testing.errors import NodeDied, QuestionUnanswered, TurnTimeout
from agentring.testing.location import location_of
from agentring.testing.node import Node
from agentring.testing.nodes import AGENT, SESSION, Nodes
from agentring.v1 import session_pb2, task_pb2
from agentring.v1.session_pb2 import Event

Replies: TypeAlias = Callable[[Question], Answer | None]
"""What the test answers; None: nothing."""

_RETENTION_S = 3_600.0


def input_of(text: str, data: JsonObject | None) -> session_pb2.Input:
    """As it comes from a client. Raises NotJson."""
    found = session_pb2.Input(text=text)
    if data is not None:
        found.data.CopyFrom(to_struct(data))
    return found


def shown_state(state_json: str) -> JsonObject:
    """Without what the node adds of its own."""
    state: JsonObject = json.loads(state_json)
    state.pop(VERSION_KEY, None)
    return state


async def run_turn(nodes: Nodes, turn_id: str, given_input: session_pb2.Input, replies: Replies, wait_s: float) -> Turn:
    """Raises QuestionUnanswered, TurnTimeout, and what the session fails with."""
    events: list[Event] = []
    cuts: list[str] = []
    await nodes.premises.expire()
    while True:
        node = await nodes.alive()
        try:
            session = await node.call(lambda node=node: node.host.open(SESSION, AGENT))  # type: ignore[misc]
        except NodeDied:
            cuts.append(node.life.cut)
            continue
        try:
            async with _within(wait_s, node):
                await _to_its_end(node, session, turn_id, given_input, replies)
        except NodeDied:
            cuts.append(node.life.cut)
            events += await _events_of(session, turn_id)
            continue
        except (QuestionUnanswered, TurnTimeout):
            await node.call(lambda session=session: session.cancel(turn_id))  # type: ignore[misc]
            raise
        events += await _events_of(session, turn_id)
        turn, stored = session.turn(turn_id), session.stored
        return turn_of(
            list(read_events(events)),
            nodes.step_logs[turn.life_id],
            state=shown_state(stored.state_json),
            cuts=cuts,
            error=nodes.agent.errors.get(f"{SESSION.tenant}/session/{SESSION.session_id}/{turn_id}"),
        )


async def run_task(nodes: Nodes, key: str, given_input: session_pb2.Input, wait_s: float) -> Turn:
    """Raises TurnTimeout, and as TaskRuns.run."""
    ref = parse_task("", key)
    events: list[Event] = []
    cuts: list[str] = []
    await nodes.premises.expire()
    while True:
        node = await nodes.alive()
        run: TaskRun | None = None
        try:
            async with _within(wait_s, node):
                run, _ = await node.call(
                    lambda node=node: node.task_runs.run(  # type: ignore[misc]
                        ref, AGENT, given_input, _RETENTION_S, task_pb2.ON_DUPLICATE_JOIN
                    )
                )
                await node.until_done(asyncio.ensure_future(run.ended.wait()))
        except NodeDied:
            cuts.append(node.life.cut)
            events += all_events(run.log) if run is not None else []
            continue
        except TurnTimeout:
            if run is not None:
                await node.call(lambda node=node, run=run: node.task_runs.cancel(run))  # type: ignore[misc]
            raise
        if not run.has_ended:
            run.log.check()
        return turn_of(
            list(read_events([*events, *all_events(run.log)])),
            nodes.step_logs[run.request_id],
            state={},
            cuts=cuts,
            error=nodes.agent.errors.get(f"{ref.tenant}/task/{ref.task_key}"),
        )


async def _to_its_end(
    node: Node, session: Session, turn_id: str, given_input: session_pb2.Input, replies: Replies
) -> None:
    await node.call(lambda: session.submit(turn_id, given_input, session_pb2.ON_BUSY_ENQUEUE))
    woken = asyncio.Event()
    session.log.subscribe(woken)
    node.life.on_death.append(woken.set)
    try:
        while not node.life.is_over and session.turn(turn_id).end_seq is None:
            session.log.check()
            if (asked := _question(session, turn_id)) is not None:
                await _reply(node, session, asked, replies)
                continue
            woken.clear()
            await woken.wait()
    finally:
        session.log.unsubscribe(woken)
        node.life.on_death.remove(woken.set)
    if session.turn(turn_id).end_seq is None:
        raise NodeDied


def _question(session: Session, turn_id: str) -> Question | None:
    if not session.questions.is_waiting:
        return None
    asked = read_questions(session.questions.open_questions())
    return next((each for each in asked if each.turn_id == turn_id), None)


async def _reply(node: Node, session: Session, asked: Question, replies: Replies) -> None:
    answer = replies(asked)
    if answer is None:
        raise QuestionUnanswered(
            f"the agent asks {asked.prompt!r}, and the test has no answer: call t.answers(...) before the turn"
        )
    given_input = input_of(answer.text, answer.data)
    await node.call(lambda: session.reply(asked.input_id, given_input))


async def _events_of(session: Session, turn_id: str) -> list[Event]:
    """Also those that memory has dropped because the store has them: those of a long turn, say."""
    log, found, turn = session.log, list[Event](), session.turns.get(turn_id)
    before, seq = -1, (turn.accepted_seq - 1 if turn is not None else log.head_seq)
    while before < seq < log.head_seq:
        before, (seq, events) = seq, await log.recall(seq)
        found += [event for each in events if (event := each.whole().event).turn_id == turn_id]
    return found


@asynccontextmanager
async def _within(wait_s: float, node: Node) -> AsyncIterator[None]:
    try:
        async with asyncio.timeout(wait_s):
            yield
    except TimeoutError:
        life = node.life
        where = location_of(life.waits_at, life.generator)
        hint = (
            "; a node that died before may hold what it waits for, a lock say: in the process of a test nothing is "
            "given back by a death"
            if life.number > 1
            else ""
        )
        raise TurnTimeout(
            f"not ended after {wait_s:g} s: the agent waits at {where}{hint} (timeout_s= says how long it may take)"
        ) from None
