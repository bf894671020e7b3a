"""Group commit: transactions that come while one is being committed share the next one, and so one write to the disk.

Guarantees: works are carried out one at a time, in the order of their coming; each gets its own outcome, and only after
the commit; one that is refused (an AgentringError, raised before it has written anything) fails alone; where one breaks
the group in any other way, the group is undone and each is tried by itself. A caller that is cancelled before its work
began does not delay the others. Waits are bounded, in number and in time. A group is closed once its transaction has
begun, so that what comes while others hold the lock is in it. Does not wait for a group to fill: an idle store commits
at once.

One thread carries out the groups, so the event loop never waits for the disk, and a group costs two changes of thread,
however many statements it has. Used by sqlite.py, where one transaction writes at a time in any case.
"""

import asyncio
import threading
from collections import deque
from collections.abc import Callable, Sequence
from queue import SimpleQueue
from typing import Any, Generic, TypeVar

import structlog

from agentring.errors import AgentringError, StoreUnavailable

_MOST_IN_GROUP = 256
_MOST_WAITING = 20_000

C = TypeVar("C")
T = TypeVar("T")

Work = Callable[[C], Any]
Take = Callable[[], Sequence[Work[C]]]
"""Those whose turn it is: what came while somebody waited for the lock is among them."""
Outcome = tuple[Any, BaseException | None]
"""What a work returned, or what it raised."""

_log = structlog.get_logger()


def work_off(connection: C, works: Sequence[Work[C]]) -> list[Outcome]:
    """Carries out the works of one transaction. Raises what breaks it."""
    outcomes: list[Outcome] = []
    for work in works:
        try:
            outcomes.append((work(connection), None))
        except AgentringError as refusal:
            outcomes.append((None, refusal))
    return outcomes


class GroupCommit(Generic[C]):
    """The one writer. Resource handling: `close()`."""

    def __init__(self, commit: Callable[[Take[C]], list[Outcome]], timeout_s: float) -> None:
        """commit: runs in the writer's thread; a transaction of the works that it takes once it has what it must wait
        for, committed when it returns; raises what broke it, and StoreUnavailable where trying each work by itself
        would not help."""
        self._commit = commit
        self._timeout_s = timeout_s
        self._orders: SimpleQueue[asyncio.AbstractEventLoop | None] = SimpleQueue()
        """For the thread: each has it carry out a group and tell that loop; None: it ends."""
        self._writer: threading.Thread | None = None
        """Made with the first work. The process does not wait for it at its end: what is not committed is undone."""
        self._waiting: deque[tuple[Work[C], asyncio.Future[Any]]] = deque()
        self._rests = asyncio.Event()
        """No group is on its way to the thread, with it, or on its way back."""
        self._rests.set()
        self._closed = False
        self._deadlines: deque[tuple[float, asyncio.Future[Any]]] = deque()
        """The same futures, until they are done, each with its time on the loop's clock: the first ends first."""
        self._timer: asyncio.TimerHandle | None = None

    async def transact(self, work: Callable[[C], T]) -> T:
        """Carries out a work in some transaction. Raises what it raises, and StoreUnavailable.

        Cancellation: the work may be carried out all the same.
        """
        if self._closed or len(self._waiting) >= _MOST_WAITING:
            raise StoreUnavailable
        loop = asyncio.get_running_loop()
        done: asyncio.Future[T] = loop.create_future()
        deadline_s = loop.time() + self._timeout_s
        self._deadlines.append((deadline_s, done))
        if self._timer is None:
            self._timer = loop.call_at(deadline_s, self._give_up, loop)
        self._waiting.append((work, done))
        if self._rests.is_set():
            self._rests.clear()
            self._go_on(loop)
        return await done

    async def close(self) -> None:
        """Returns once nothing is under way. Who comes after that is refused."""
        while not self._rests.is_set():
            await self._rests.wait()
        self._closed = True
        if self._timer is not None:
            self._timer.cancel()
        for _, done in self._deadlines:
            if not done.done():
                done.set_exception(StoreUnavailable())
        if (thread := self._writer) is not None:
            self._orders.put(None)
            await asyncio.to_thread(thread.join)

    def _go_on(self, loop: asyncio.AbstractEventLoop) -> None:
        """Has the thread carry out what waits, or lets it rest."""
        if self._waiting:
            # Once the loop has gone through what is due now: it brings more that can share the transaction.
            loop.call_soon(self._begin, loop)
        else:
            self._rests.set()

    def _begin(self, loop: asyncio.AbstractEventLoop) -> None:
        if self._writer is None:
            thread = threading.Thread(target=self._serve, name="store-writer", daemon=True)
            try:
                thread.start()
            except RuntimeError:  # there can be none now: who comes next tries again, and all have their deadlines
                self._rests.set()
                raise
            self._writer = thread
        self._orders.put(loop)

    def _deliver(self, loop: asyncio.AbstractEventLoop, outcomes: list[tuple[asyncio.Future[Any], Outcome]]) -> None:
        try:
            for done, (value, error) in outcomes:
                if done.done():
                    continue
                if error is None:
                    done.set_result(value)
                else:
                    done.set_exception(error)
        finally:
            deadlines = self._deadlines
            while deadlines and deadlines[0][1].done():
                deadlines.popleft()
            self._go_on(loop)

    def _give_up(self, loop: asyncio.AbstractEventLoop) -> None:
        deadlines, now_s = self._deadlines, loop.time()
        while deadlines and (deadlines[0][1].done() or deadlines[0][0] <= now_s):
            _, done = deadlines.popleft()
            if not done.done():
                done.set_exception(StoreUnavailable())
        self._timer = loop.call_at(deadlines[0][0], self._give_up, loop) if deadlines else None

    def _serve(self) -> None:
        """The writer's thread."""
        while (loop := self._orders.get()) is not None:
            try:
                self._commit_next(loop)
            except BaseException as error:  # or the loop was closed meanwhile: the thread is there for the next group
                _log.error("store_writer_error", error=type(error).__name__)
            del loop  # it is not kept until the next group

    def _commit_next(self, loop: asyncio.AbstractEventLoop) -> None:
        group: list[tuple[Work[C], asyncio.Future[Any]]] = []
        outcomes: list[Outcome] = []
        begun_for = len(self._waiting)

        def take(at_most: int = _MOST_WAITING) -> list[Work[C]]:
            for _ in range(min(at_most, len(self._waiting))):
                work, done = self._waiting.popleft()
                if not done.done():
                    group.append((work, done))
                    if len(group) == _MOST_IN_GROUP:
                        break
            return [work for work, _ in group]

        try:
            outcomes = self._commit(take)
        except Exception as error:
            if not group:
                take(begun_for)  # who came later has not waited yet
            if isinstance(error, StoreUnavailable) or len(group) == 1:
                outcomes = [(None, error)] * len(group)
            else:
                outcomes = [self._alone(work) for work, _ in group]
        finally:
            # Also what is no Exception leaves the writer at work; those who are then told nothing have their deadlines.
            answers = [(done, outcome) for (_, done), outcome in zip(group, outcomes, strict=False)]
            loop.call_soon_threadsafe(self._deliver, loop, answers)

    def _alone(self, work: Work[C]) -> Outcome:
        try:
            (outcome,) = self._commit(lambda: [work])
        except Exception as error:
            return None, error
        return outcome
