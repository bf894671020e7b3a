"""Asks etcd periodically whether it would take a transaction, and puts the answer on the condition board.

The question is a transaction that writes nothing: its compare never holds, on a key of its own, since etcd's access
control asks for the permission to write all the same. It is refused exactly where a claim would
be, also where etcd's quota is exhausted (then reads and leases go on, and only transactions fail), so a node that
claims nothing at the moment is known to be degraded too. Run by routers and nodes.
"""

from agentring.cluster.clock import Clock
from agentring.cluster.condition import ConditionBoard, Trouble
from agentring.cluster.etcd.client import EtcdClient
from agentring.cluster.etcd.errors import EtcdError, EtcdHistoryBroken, EtcdNoSpace
from agentring.cluster.etcd.types import Compare, Put
from agentring.cluster.keys import Keys

PROBE_S = 1.0
_NEVER = -1
"""No key has this revision."""


class CoordinatorProbe:
    """Resource handling: one task must run `run()`."""

    def __init__(self, etcd: EtcdClient, keys: Keys, clock: Clock, board: ConditionBoard) -> None:
        """board: gets the answer."""
        self._etcd = etcd
        self._keys = keys
        self._clock = clock
        self._board = board

    async def run(self) -> None:
        """Until cancelled."""
        while True:
            self._board.report(await self.probe())
            await self._clock.sleep(PROBE_S)

    async def probe(self) -> Trouble | None:
        """What is wrong now; None: nothing."""
        try:
            await self._etcd.txn([Compare(self._keys.probe, "create", _NEVER)], [Put(self._keys.probe, b"", 0)])
        except EtcdHistoryBroken:
            return Trouble.HISTORY_BROKEN
        except EtcdNoSpace:
            return Trouble.NO_SPACE
        except EtcdError:
            return Trouble.UNAVAILABLE
        return None
