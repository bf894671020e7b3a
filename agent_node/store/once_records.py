"""What a store keeps of the steps that run once (`ctx.once`), and the rules by which a run's row changes.

Guarantees, by rules that every store carries out in one step: an ended run is not run again before its retention is
over; one that was cut off is run again only where both it and whoever asks say that it may be (idempotent), and is
UNKNOWN otherwise, until somebody resolves it. The states are those of task_pb2.TaskState.
"""

from collections.abc import Callable
from dataclasses import dataclass, replace

from agent_node.store.clock import Moment, in_ns
from agentring.errors import RunNotFound, RunNotResolvable
from agentring.ids import Epoch, OnceRef, SessionRef, TaskRef
from agentring.v1 import task_pb2
from agentring.v1.task_pb2 import (
    TASK_STATE_COMPLETED,
    TASK_STATE_FAILED,
    TASK_STATE_PENDING,
    TASK_STATE_RUNNING,
    TASK_STATE_UNKNOWN,
)

ENDED = (TASK_STATE_COMPLETED, TASK_STATE_FAILED, TASK_STATE_UNKNOWN)
OPEN = (TASK_STATE_PENDING, TASK_STATE_RUNNING)
TURN_ENDED = "TurnEnded"
"""The error's type where the turn of a run ended before the run did."""
MOST_DEATHS = 2
"""A step that ran on so many nodes when they ended, and not in a child process, is not run again."""
RUNS_APART = "RUNS_APART"
"""In the place of the error's type of one that runs in a process of its own (agent_node/child_process): where its node
ends too, it was not the step that ended it."""
ENDED_NODE = "AGENT_ENDED_NODE"
"""The error's type of a run that has ended the processes in which it was run."""


@dataclass(frozen=True, slots=True)
class OnceOwnership:
    """A key in the hands of one incarnation of a node: every write is compared with it."""

    ref: OnceRef
    epoch: Epoch
    owner: str
    """Names the incarnation, as `node_id/incarnation`."""


@dataclass(frozen=True, slots=True)
class OnceCaller:
    """Whose agent asks for a run."""

    ref: SessionRef | TaskRef
    turn_id: str = ""
    """Empty in tasks."""


@dataclass(frozen=True, slots=True)
class RunStart:
    """How a run is to begin."""

    caller: OnceCaller
    idempotent: bool
    run_id: str
    """Where no run of the key is known: names this one and its later attempts."""
    failure_s: float
    """How long a failure is everybody's, where the step may be run again."""
    failed_s: float = 3_600.0
    """How long it is everybody's that the step ends its nodes."""
    in_child: bool = False
    """It is run in a child process."""
    not_begun: frozenset[Epoch] = frozenset()
    """Epochs of claims under which nothing was run for certain, though the store may have a run under them."""


@dataclass(frozen=True, slots=True)
class Ending:
    """How a run ended: COMPLETED with a result, FAILED with an error, UNKNOWN, or PENDING: it was cut off, and may be
    run again."""

    state: task_pb2.TaskState.ValueType
    result_json: str = ""
    error_type: str = ""
    error_text: str = ""


@dataclass(frozen=True, slots=True)
class StoredRun:
    """The runs of one key: the latest."""

    ref: OnceRef
    run_id: str
    """The same for all attempts until the outcome's retention is over."""
    epoch: Epoch
    owner: str
    attempt: int
    idempotent: bool
    caller: OnceCaller
    ending: Ending
    """Its state says how far the run is."""
    created_ns: int
    """Wall clock, for people, as is the next."""
    ended_ns: int | None = None
    deaths: int = 0
    """How many attempts ended with their node, and may be why."""
    expires_ns: int | None = None
    """When it is forgotten, by the store's clock; None: not by itself."""
    settled_ns: int | None = None
    """When it ended, by the store's clock; None: it has not, or an earlier release did not say."""

    @property
    def state(self) -> task_pb2.TaskState.ValueType:
        """How far the run is."""
        return self.ending.state

    @property
    def expiry_wall_ns(self) -> int | None:
        """About when it is forgotten, for people: by the wall clock, if nodes run until then."""
        if self.expires_ns is None or self.settled_ns is None or self.ended_ns is None:
            return self.expires_ns
        return self.ended_ns + self.expires_ns - self.settled_ns

    def has_expired(self, now: Moment) -> bool:
        """Whether its retention is over."""
        return self.expires_ns is not None and now.is_past(self.expires_ns)

    def stands(self, failure_s: float, now: Moment, *, idempotent: bool) -> bool:
        """Whether a call gets this ending instead of running the step. failure_s, idempotent: as RunStart."""
        if self.state not in ENDED or self.has_expired(now):
            return False
        is_harmless = self.ending.error_type != ENDED_NODE
        may_run_again = self.state == TASK_STATE_FAILED and self.idempotent and idempotent and is_harmless
        return not may_run_again or now.about_ns < (self.settled_ns or 0) + in_ns(failure_s)


Change = Callable[[StoredRun | None, Moment], StoredRun]
"""Makes the row to be of the row that is, at a moment of the store's clock; raises AgentringErrors instead."""


def begin(ownership: OnceOwnership, start: RunStart) -> Change:
    """Lets the key's owner run it: the row is RUNNING then, or says how the run has ended."""

    def change(row: StoredRun | None, now: Moment) -> StoredRun:
        running = Ending(TASK_STATE_RUNNING, error_type=RUNS_APART if start.in_child else "")
        if row is None or row.has_expired(now):
            return StoredRun(
                ownership.ref,
                start.run_id,
                ownership.epoch,
                ownership.owner,
                1,
                start.idempotent,
                start.caller,
                running,
                now.wall_ns,
            )
        if row.stands(start.failure_s, now, idempotent=start.idempotent):
            return row
        was_begun = row.state == TASK_STATE_RUNNING and row.epoch not in start.not_begun
        may_be_why = was_begun and row.ending.error_type != RUNS_APART
        deaths = row.deaths + (may_be_why and row.owner != ownership.owner)
        if was_begun and not (row.idempotent and start.idempotent):
            return ended(row, Ending(TASK_STATE_UNKNOWN), now, None)
        if deaths >= MOST_DEATHS:
            failed = Ending(TASK_STATE_FAILED, error_type=ENDED_NODE, error_text="two nodes ended that ran the step")
            return ended(replace(row, deaths=deaths), failed, now, start.failed_s)
        attempt = row.attempt + (row.epoch not in start.not_begun)
        return replace(
            row,
            attempt=attempt,
            deaths=deaths,
            idempotent=start.idempotent,
            caller=start.caller,
            ending=running,
            ended_ns=None,
            expires_ns=None,
            settled_ns=None,
        )

    return lambda row, now: _raised(change(row, now), ownership)


def end_orphan(ownership: OnceOwnership, caller: OnceCaller, keep_s: float) -> Change:
    """Ends a run that was cut off and that nobody will run again, its caller having ended. Another caller may have
    begun it meanwhile, and have been cut off too: then it is that one's."""

    def change(row: StoredRun | None, now: Moment) -> StoredRun:
        if row is None:
            raise RunNotFound
        if row.state not in OPEN or row.expires_ns is not None or row.caller != caller:
            return row
        if row.state == TASK_STATE_RUNNING and not row.idempotent:
            return ended(row, Ending(TASK_STATE_UNKNOWN), now, None)
        failed = Ending(TASK_STATE_FAILED, error_type=TURN_ENDED, error_text="the turn ended before its step did")
        return ended(row, failed, now, keep_s)

    return lambda row, now: _raised(change(row, now), ownership)


def resolve(ownership: OnceOwnership, result_json: str | None, keep_s: float) -> Change:
    """Settles a run that is UNKNOWN or has failed: with a result, or (None) so that the next call runs it again.

    Raises RunNotFound, RunNotResolvable.
    """

    def change(row: StoredRun | None, now: Moment) -> StoredRun:
        row = check_resolvable(row, now)
        if result_json is None:
            return ended(replace(row, deaths=0), Ending(TASK_STATE_PENDING), now, keep_s)
        return ended(row, Ending(TASK_STATE_COMPLETED, result_json), now, keep_s)

    return lambda row, now: _raised(change(row, now), ownership)


def check_resolvable(row: StoredRun | None, now: Moment) -> StoredRun:
    """The row. Raises RunNotFound, RunNotResolvable."""
    if row is None or row.has_expired(now):
        raise RunNotFound
    if row.state not in (TASK_STATE_UNKNOWN, TASK_STATE_FAILED):
        raise RunNotResolvable(task_pb2.TaskState.Name(row.state))
    return row


def ended(row: StoredRun, ending: Ending, now: Moment, keep_s: float | None) -> StoredRun:
    """The row once the run has come to this ending. keep_s: for how long it is known; None: until somebody resolves it
    or runs it again."""
    expires_ns = None if keep_s is None else now.expiry_ns(keep_s)
    return replace(row, ending=ending, ended_ns=now.wall_ns, expires_ns=expires_ns, settled_ns=now.about_ns)


def _raised(row: StoredRun, ownership: OnceOwnership) -> StoredRun:
    return replace(row, epoch=ownership.epoch, owner=ownership.owner)
