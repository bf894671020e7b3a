"""What a node does for its durable store by the hour: passivation, and the burial of what was closed.

Passivation: sessions that have been idle for long are checkpointed and given up, so that a node's memory and claims
follow those that are in use. The next call for one activates it, on this node or another; while etcd takes no claims
nothing could, so there is no passivation then.

Idle is a session whose turns have all ended, to which no stream is attached, and of which nothing was told between one
look and the next. It costs a session nothing while it works. Called by the incarnation.
"""

import asyncio
from collections.abc import Callable

import structlog

from agent_node.session.host import Host
from agent_node.session.session import Session
from agent_node.store import Store
from agentring.cluster.clock import Clock
from agentring.errors import AgentringError

_LOOKS = 4
_BURY_EVERY_S = 60.0
_AT_ONCE = 64
_BREATHE_EVERY = 256

_log = structlog.get_logger()


async def passivate_idle(host: Host, clock: Clock, idle_timeout_s: float, claims_are_made: Callable[[], bool]) -> None:
    """Passivates sessions once they have been idle for idle_timeout_s, or up to a quarter longer, until cancelled.

    claims_are_made: whether etcd takes claims now; where it does not, what is given up could not be taken up again.
    """
    seen: dict[Session, tuple[int, int]] = {}
    """What each had told at the last look, and for how many looks it has been idle with that."""
    while True:
        await clock.sleep(idle_timeout_s / _LOOKS)
        if not claims_are_made():
            continue
        before, seen, due = seen, {}, []
        for number, session in enumerate(host.sessions, 1):
            told_before, looks = before.get(session, (-1, 0))
            told = session.log.head_seq
            seen[session] = told, looks + 1 if session.is_idle and told == told_before else 0
            if seen[session][1] >= _LOOKS:
                due.append(session)
            if number % _BREATHE_EVERY == 0:
                await asyncio.sleep(0)
        for start in range(0, len(due), _AT_ONCE):
            await asyncio.gather(*(_passivate(host, session) for session in due[start : start + _AT_ONCE]))


async def _passivate(host: Host, session: Session) -> None:
    try:
        await host.passivate(session)
    except AgentringError as error:
        _log.warning("passivation_failed", reason=error.reason)  # the session has failed, or the node is fenced


async def bury_closed(store: Store, clock: Clock, tombstone_s: float) -> None:
    """Removes closed sessions whose ids have rested for tombstone_s, until cancelled."""
    while True:
        await clock.sleep(min(tombstone_s, _BURY_EVERY_S) + 1)
        try:
            while await store.expire_closed(tombstone_s):
                pass
        except AgentringError as error:
            _log.warning("burial_failed", reason=error.reason)
