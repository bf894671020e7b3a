"""A registered node keeps its own record in etcd right.

Guarantees: a node whose key is gone, or another incarnation's, is fenced as soon as the membership shows it; a record
that somebody else has altered, or that has lost its lease, is put right; a node whose cluster's history is broken is
fenced. Run by ClusterDuties for each registration, from its begin to its end.
"""

import structlog

from agentring.cluster.clock import Clock
from agentring.cluster.etcd.errors import EtcdError
from agentring.cluster.lease import FenceReason
from agentring.cluster.membership import Membership
from agentring.cluster.registration import Registration
from agentring.errors import NodeFenced

_PAUSE_S = 0.25

_log = structlog.get_logger()


async def repair_own_record(registration: Registration, membership: Membership, clock: Clock) -> None:
    """Until cancelled."""
    snapshot = None
    while True:
        snapshot = await membership.next(snapshot)
        while not registration.compare_with(membership.current or snapshot):
            await _put_again(registration)
            await clock.sleep(_PAUSE_S)  # until the membership shows it


async def watch_history(registration: Registration, membership: Membership) -> None:
    """Until cancelled."""
    await membership.closed.wait()
    registration.lease.fence(FenceReason.HISTORY_BROKEN)


async def _put_again(registration: Registration) -> None:
    if registration.changing:
        return  # what it is to be is not known yet
    _log.error("own_record_altered")
    try:
        await registration.put_again()
    except EtcdError as error:
        _log.warning("own_record_not_put_again", error=str(error))
    except NodeFenced:
        pass  # the next look says the same
