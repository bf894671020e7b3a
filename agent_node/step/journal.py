"""The recorded steps of a run's earlier attempts, and how this attempt comes to each again.

Guarantees: recorded outcomes are handed over in the order of their commits, so a race of two steps ends as it did; a
new step begins only when all that is recorded has been asked for, since an attempt that goes another way must not act;
what was recorded inside a step that has an outcome itself counts no more. Waits are bounded: they end when nothing is
asked for or handed over for so long (`False`), which the caller takes for a difference of the two attempts.

Steps without an effect (`pure`), and those that their agent cancelled, may be left out; new ones without an effect may
begin at any time. Used by steps.py.
"""

import asyncio
from collections.abc import Iterable

from agent_node.step.identity import each_id
from agent_node.step.outcome import was_cancelled
from agent_node.store.step_records import StepState, StoredStep

QUESTION = ""
"""The name of a question's row: no step has it."""


class Recorded:
    """A step of an earlier attempt that was not handed over yet."""

    __slots__ = ("is_asked", "row", "turn")

    def __init__(self, row: StoredStep) -> None:
        self.row = row
        self.is_asked = False
        self.turn: asyncio.Future[None] | None = None
        """Of its caller, which waits: resolved when all before it were handed over."""


class Journal:
    """Of one attempt."""

    def __init__(self, wait_s: float) -> None:
        """Nothing is recorded. wait_s: how long nothing may happen while somebody waits."""
        self._wait_s = wait_s
        self._order: dict[bytes, Recorded] = {}
        """Outcomes that were not handed over, in the order of their commits."""
        self._unasked: dict[bytes, StoredStep] = {}
        """Of steps that may not be left out."""
        self._begun: set[bytes] = set()
        """Steps inside which others are recorded."""
        self._notes: dict[bytes, StoredStep] = {}
        self._started: dict[bytes, StoredStep] = {}
        self._all_asked: asyncio.Future[None] | None = None
        self._progress = 0
        self.last_ordinal = 0
        self.count = 0
        """Of steps and noted values that have a row, or may have one."""
        self.size_bytes = 0
        """Of all values."""
        self.questions = 0
        """That were asked in any attempt."""
        self.replayed = 0
        """Steps that were asked for and have an outcome of an earlier attempt."""

    def load(self, rows: Iterable[StoredStep]) -> None:
        """All rows of the earlier attempts, in their order."""
        latest: dict[bytes, StoredStep] = {}
        for row in rows:
            self.last_ordinal = row.ordinal
            self.size_bytes += row.size_bytes
            latest.pop(row.step_id, None)  # the last one has the place
            latest[row.step_id] = row
        self.count = len(latest)
        self.questions = sum(row.name == QUESTION for row in latest.values())
        ended = {row.step_id for row in latest.values() if row.state not in (StepState.STARTED, StepState.NOTED)}
        for row in latest.values():
            outer_ids = each_id(row.outer_ids)
            if any(outer in ended for outer in outer_ids):
                continue
            self._begun.update(outer_ids)
            if row.state == StepState.NOTED:
                self._notes[row.step_id] = row
                continue
            if row.state == StepState.STARTED:
                self._started[row.step_id] = row
            else:
                self._order[row.step_id] = Recorded(row)
            if not _may_be_left_out(row):
                self._unasked[row.step_id] = row

    def ask(self, step_id: bytes) -> Recorded | None:
        """The step is asked for; None: it has no outcome yet."""
        self._progress += 1
        if self._unasked.pop(step_id, None) is not None:
            self._look_if_all_asked()
        if (recorded := self._order.get(step_id)) is not None:
            recorded.is_asked = True
            self.replayed += 1
        return recorded

    def knows(self, step_id: bytes) -> bool:
        """Whether its function must not be called: it has an outcome, or was called and may have taken effect."""
        return step_id in self._order or step_id in self._started

    def was_started(self, step_id: bytes) -> bool:
        """Whether its function was called and may have taken effect, but has no outcome. Once."""
        return self._started.pop(step_id, None) is not None

    def note(self, step_id: bytes) -> StoredStep | None:
        """A value that an earlier attempt was handed without a step."""
        return self._notes.get(step_id)

    async def in_turn(self, recorded: Recorded) -> bool:
        """Returns when all outcomes before it were handed over. Cancellation: it may be handed over all the same."""
        while (before := next(iter(self._order.values()), recorded)) is not recorded:
            recorded.turn = asyncio.get_running_loop().create_future()
            if await self._patiently(recorded.turn) or before.is_asked:
                continue  # one that waits to be cancelled may take as long as it took
            if not _may_be_left_out(before.row):
                return False
            self.handed_over(before.row.step_id)
        return True

    def handed_over(self, step_id: bytes) -> None:
        """The agent has got it."""
        self._progress += 1
        self._order.pop(step_id, None)
        self._wake_first()

    async def may_begin(self, step_id: bytes) -> bool:
        """Returns when everything recorded has been asked for; at once where the step had begun in an earlier attempt
        already."""
        while self._unasked and step_id not in self._begun and step_id not in self._notes:
            if self._all_asked is None:
                self._all_asked = asyncio.get_running_loop().create_future()
            if not await self._patiently(self._all_asked):
                return False
        return True

    def ended(self, step_id: bytes) -> None:
        """A step has an outcome now: what was recorded inside it counts no more."""
        if step_id not in self._begun:
            return
        for rows in (self._unasked, self._started):
            for inner in [each for each, row in rows.items() if step_id in each_id(row.outer_ids)]:
                del rows[inner]
        for inner in [each for each, one in self._order.items() if step_id in each_id(one.row.outer_ids)]:
            del self._order[inner]
        self._progress += 1
        self._look_if_all_asked()
        self._wake_first()

    def difference(self) -> str:
        """The first recorded step that was not asked for; empty: there is none."""
        row = min(self._unasked.values(), key=lambda row: row.ordinal, default=None)
        if row is None:
            return ""
        what = "a question" if row.name == QUESTION else f"the step {row.name}"
        return f"{what}, recorded by attempt {row.attempt}, is not asked for"

    async def _patiently(self, future: "asyncio.Future[None]") -> bool:
        """Whether it was resolved, while something happened."""
        progress = -1
        while not future.done() and progress != self._progress:
            progress = self._progress
            await asyncio.wait([future], timeout=self._wait_s)
        return future.done()

    def _look_if_all_asked(self) -> None:
        if not self._unasked and self._all_asked is not None:
            _resolve(self._all_asked)
            self._all_asked = None

    def _wake_first(self) -> None:
        first = next(iter(self._order.values()), None)
        if first is not None and first.turn is not None:
            _resolve(first.turn)


def _may_be_left_out(row: StoredStep) -> bool:
    """One that its agent cancelled is not even asked for where the cancellation comes before its beginning."""
    return row.pure or was_cancelled(row)


def _resolve(future: "asyncio.Future[None]") -> None:
    if not future.done():
        future.set_result(None)
