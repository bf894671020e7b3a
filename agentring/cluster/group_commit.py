"""Several transactions of the same kind in one: what a node claims, or releases, at the same time.

Guarantees: each transaction succeeds or fails by its own compares, as if it were alone; a lone one goes at once, and
what comes while one group is under way goes with the next, so nobody waits for others to come; only a full group goes
while another one is under way, so that client and etcd work at the same time; no two transactions on one key are under
way at once, so they keep their order; a group that etcd refuses as a whole, which says nothing of those in it, is sent
again one by one; whoever stops waiting ends nobody else's wait. All that a group writes has one revision: epochs grow
with each claim of a key, but are not different among keys.

How a group goes: first as one transaction that writes all or nothing, which is what nearly always happens and costs
least. Where the compares of all do not hold, nothing was written, and the group goes again as a transaction of nested
ones, each by its own compares; so do the next groups, until one comes through whole.

Bounded: MAX_WAITING transactions wait at most; one is sent within timeout_s or not at all, and answered within another.
Called by Claims.
"""

import asyncio
from collections import deque
from collections.abc import Sequence
from dataclasses import dataclass

from agentring.cluster.etcd.client import EtcdClient
from agentring.cluster.etcd.errors import EtcdError, EtcdUnavailable
from agentring.cluster.etcd.types import Txn, TxnResult

MAX_GROUP = 100
"""etcd refuses more than 128 operations by default, and its own of the transaction count too."""
MAX_UNDER_WAY = 2
"""Groups. One is on the client's side while the other one is on etcd's."""
MAX_WAITING = 20_000


@dataclass(slots=True, eq=False)
class _Waiting:
    key: str
    txn: Txn
    answer: asyncio.Future[TxnResult]
    since_s: float


class GroupCommit:
    """One line of transactions."""

    def __init__(
        self, etcd: EtcdClient, tasks: asyncio.TaskGroup, *, timeout_s: float = 2.0, max_group: int = MAX_GROUP
    ) -> None:
        """tasks: owns the sending; timeout_s: of one group; max_group: 1: each goes by itself, and at once."""
        self._etcd = etcd
        self._tasks = tasks
        self._timeout_s = timeout_s
        self._max_group = max_group
        self._waiting: deque[_Waiting] = deque()
        self._senders = 0
        """Tasks that send, each one group at a time."""
        self._under_way: set[str] = set()
        """The keys of the groups that are under way."""
        self._as_one = True
        """Whether the next group is tried as one transaction."""

    async def commit(self, key: str, txn: Txn) -> TxnResult:
        """Carries a transaction out, one of those that concern the key at a time.

        Raises EtcdError; its outcome_unknown says whether the transaction may have landed. Cancellation: it may land
        all the same.
        """
        if self._max_group == 1:
            (result,) = await self._etcd.txns([txn], timeout_s=self._timeout_s)
            return result
        if len(self._waiting) >= MAX_WAITING:
            raise EtcdUnavailable
        loop = asyncio.get_running_loop()
        waiting = _Waiting(key, txn, loop.create_future(), loop.time())
        self._waiting.append(waiting)
        if not self._senders or (len(self._waiting) >= self._max_group and self._senders < MAX_UNDER_WAY):
            self._senders += 1
            self._tasks.create_task(self._send_groups())
        return await waiting.answer

    async def _send_groups(self) -> None:
        try:
            # The last sender leaves nobody waiting: with nothing under way, whatever waits can go.
            while (len(self._waiting) >= self._max_group or self._senders == 1) and (group := self._gathered()):
                self._under_way.update(waiting.key for waiting in group)
                try:
                    await self._send(group)
                finally:
                    self._under_way.difference_update(waiting.key for waiting in group)
        except BaseException:
            for waiting in self._waiting:  # the sender is cancelled: the node is at its end
                _fail(waiting, EtcdUnavailable())
            raise
        finally:
            self._senders -= 1

    def _gathered(self) -> list[_Waiting]:
        """The next group; what concerns a key that is in it already, or under way, stays where it was."""
        group: dict[str, _Waiting] = {}
        left: list[_Waiting] = []
        while self._waiting and len(group) < self._max_group:
            waiting = self._waiting.popleft()
            if waiting.answer.done():
                continue  # nobody waits for it any more
            if self._is_too_old(waiting):
                _fail(waiting, EtcdUnavailable())
            elif waiting.key in group or waiting.key in self._under_way:
                left.append(waiting)
            else:
                group[waiting.key] = waiting
        self._waiting.extendleft(reversed(left))
        return list(group.values())

    def _is_too_old(self, waiting: _Waiting) -> bool:
        return waiting.since_s < asyncio.get_running_loop().time() - self._timeout_s

    async def _carry_out(self, txns: Sequence[Txn]) -> list[TxnResult]:
        if self._as_one and len(txns) > 1:
            results = await self._etcd.txn_of_all(txns, timeout_s=self._timeout_s)
            if results is not None:
                return results
        results = await self._etcd.txns(txns, timeout_s=self._timeout_s)
        self._as_one = all(result.succeeded for result in results)
        return results

    async def _send(self, group: Sequence[_Waiting]) -> None:
        try:
            async with asyncio.timeout(self._timeout_s):
                results = await self._carry_out([waiting.txn for waiting in group])
        except TimeoutError:
            for waiting in group:
                _fail(waiting, EtcdUnavailable(outcome_unknown=True))
        except EtcdError as error:
            if len(group) > 1 and error.refused:
                for waiting in group:
                    if self._is_too_old(waiting):
                        _fail(waiting, EtcdUnavailable())
                    else:
                        await self._send([waiting])
                return
            for waiting in group:
                _fail(waiting, error)
        except BaseException:
            for waiting in group:
                _fail(waiting, EtcdUnavailable(outcome_unknown=True))
            raise
        else:
            for waiting, result in zip(group, results, strict=True):
                if not waiting.answer.done():
                    waiting.answer.set_result(result)


def _fail(waiting: _Waiting, error: EtcdError) -> None:
    if not waiting.answer.done():
        waiting.answer.set_exception(error)
        waiting.answer.exception()  # that nobody is left to hear it is no fault
