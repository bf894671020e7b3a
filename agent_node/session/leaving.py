"""How a session ends here: closed for good, or handed on to its next owner by a drain or a passivation.

Guarantees: turns that were accepted before are cancelled, end, or are left to the next owner, as the stage says; the
last checkpoint comes after everything that was let in, and nothing is stored or published after it.
"""

import asyncio

from agent_node.session.state import SessionState
from agent_node.session.turn_loop import cancel_all, cut_off
from agentring.errors import SessionClosed, SessionMoving


async def close(session: SessionState, now_s: float) -> None:
    """As Session.close."""
    async with session.lock:
        session.closed = True
    await cancel_all(session, "SESSION_CLOSED")
    async with session.writer:
        head_seq = session.log.head_seq
        rows = session.events.rows(session.log, head_seq)
        await session.store.close_session(session.ownership, head_seq, rows)
        session.events.written(rows)
    session.closed_at_s = now_s
    session.log.end(SessionClosed())


async def settle(session: SessionState, timeout_s: float) -> None:
    """As Session.settle."""
    session.draining = True
    durable, questions = session.store.durable, session.questions
    try:
        async with asyncio.timeout(timeout_s):
            async with session.lock:  # what was let in before is accepted now
                pass
            # A turn may wait for its answer for days: the next owner lets it.
            await session.changed.until(lambda: session.all_ended or (durable and questions.is_waiting))
            if session.all_ended:
                return
    except TimeoutError:
        pass
    session.begins_nothing = durable
    async with session.lock:  # what is let in only now must not begin behind the last checkpoint
        await (cut_off(session) if durable else cancel_all(session, "NODE_DRAINING"))


async def passivate(session: SessionState) -> bool:
    """As Session.passivate."""
    async with session.lock:
        if not session.is_idle:
            return False
        await cut_off(session)  # a turn that waits for an answer: the next owner runs it again
        await release(session)
        session.log.end(SessionMoving())  # a call that still has this actor asks again, and finds the next one
        return True


async def release(session: SessionState) -> None:
    """The last checkpoint; nothing can be stored any more. Turns that have not ended are the next owner's."""
    async with session.writer:
        # What a turn that is cut off here has published is provisional: the next owner's first event covers it.
        head_seq = session.checkpoint_seq
        rows = session.events.rows(session.log, head_seq)
        await session.store.release(session.ownership, head_seq, session.log.used_seq, rows)
        session.events.written(rows)
