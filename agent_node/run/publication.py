"""How far a run has told what it says, as the commits of its steps keep it.

Guarantees: what a commit keeps is one point of the run's event log, with the words and the number of emitted events up
to there; it lies before the first word of a streaming step that has no outcome yet, since an attempt after this one may
get other words of it. Used by the run's steps.
"""

from collections.abc import Callable
from hashlib import blake2b

from agent_node.run.republished import DIGEST_BYTES, Republished
from agent_node.run.run_log import RunLog
from agent_node.run.step_events import StepEvents
from agent_node.store.published import Published
from agent_node.store.step_records import StepState, StoredStep


class RunPublication:
    """A Publication (agent_node/step/step_run.py). Made with the run's first step."""

    def __init__(self, log: RunLog, mark: Callable[[], int], republished: Republished | None) -> None:
        """mark: as StepRecorder; republished: what of it is not told again; None: the run is in its first attempt."""
        self._log = log
        self._steps = StepEvents(log)
        self._mark = mark
        self._republished = republished
        self._hash = blake2b(digest_size=DIGEST_BYTES)
        self._hashed = 0
        self._streams = 0
        self._before: Published | None = None
        """Before the first of the open streams; None: this attempt had told nothing yet."""

    def begin_stream(self) -> None:
        """As Publication."""
        if not self._streams:
            self._before = self._here()
        self._streams += 1

    def end_stream(self) -> None:
        """As Publication."""
        self._streams -= 1

    def now(self) -> Published:
        """As Publication."""
        published = self._before if self._streams else self._here()
        if published is None:
            assert self._republished is not None
            published = self._republished.last
        return published

    def step_begun(self, row: StoredStep, replayed: int) -> None:
        """As Publication."""
        self._steps.begun(row, replayed)

    def step_ended(self, row: StoredStep, state: StepState) -> None:
        """As Publication."""
        self._steps.ended(row, state)

    def end(self) -> None:
        """As Publication."""
        self._steps.end()

    def _here(self) -> Published | None:
        if self._republished is not None and not self._republished.is_over:
            return None
        text, emitted = self._log.text, self._log.emitted
        text.publish()
        for piece in text.since(self._hashed):
            self._hash.update(piece.encode())
            self._hashed += 1
        return Published(self._mark(), text.size_bytes, emitted.count, self._hash.digest(), emitted.digest)
