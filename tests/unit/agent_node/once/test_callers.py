"""Whether the caller that ran a step has ended: its own row says, not whether a node has it at the moment."""

from agent_node.once.sweep import has_ended
from agent_node.store import MemoryStore, MemoryTaskStore, Ownership, TaskEnd, TaskRequest
from agent_node.store.once_records import OnceCaller
from agentring.ids import parse_session, parse_task
from agentring.v1.task_pb2 import TASK_STATE_FAILED
from harness.stored_turns import accepted, cancelled, epoch

SESSION, TASK = parse_session("acme", "s"), parse_task("acme", "k")


async def test_a_task_has_ended_with_its_row_and_not_with_its_runner() -> None:
    tasks = MemoryTaskStore()

    async def ended() -> bool:
        return await has_ended(MemoryStore(max_history_turns=1), tasks, OnceCaller(TASK))

    assert await ended()  # its retention is over
    await tasks.accept(TaskRequest(TASK, "agent", b"f" * 32, b"", 60.0, False, "r"))
    assert not await ended()
    await tasks.start(TASK, epoch(1), "n1/1")
    assert not await ended()
    await tasks.requeue(TASK, epoch(1))  # without an owner, and to be run again
    assert not await ended()
    await tasks.start(TASK, epoch(2), "n2/1")
    await tasks.end(TASK, epoch(2), TaskEnd(TASK_STATE_FAILED, b"", b"", None))
    assert await ended()


async def test_a_turn_has_ended_with_its_row_and_not_with_its_sessions_owner() -> None:
    sessions, owner = MemoryStore(max_history_turns=1), Ownership(SESSION, epoch(1), "n1/1")

    async def ended() -> bool:
        return await has_ended(sessions, MemoryTaskStore(), OnceCaller(SESSION, "t1"))

    assert await ended()  # its session does not exist any more
    await sessions.activate(owner, "agent")
    turn = accepted(1)
    await sessions.accept_turn(owner, turn, None)
    assert not await ended()
    await sessions.end_turn(owner, cancelled(turn), None)
    assert await ended()
