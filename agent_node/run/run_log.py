"""One run's way into the event log.

Guarantees: nothing is written once the node may have lost its lease, nor after the run's end. Used by RunContext
(context.py).
"""

from agent_node.run.emitted import EmittedEvents
from agent_node.run.run_input import RunEvents
from agent_node.run.yielded_text import YieldedText
from agentring.cluster.lease import Lease
from agentring.v1 import session_pb2


class RunLog:
    """Appends the events of one run."""

    def __init__(self, lease: Lease, log: RunEvents, turn_id: str, attempt: int, max_text_bytes: int) -> None:
        """turn_id, attempt: of the run, added to each event; max_text_bytes: the most that its text may be."""
        self.text = YieldedText(self._append_text, max_text_bytes, together=log.collects_text)
        self._lease = lease
        self._log = log
        self._turn_id = turn_id
        self._attempt = attempt
        self.emitted = EmittedEvents()
        self.is_closed = False

    def check(self) -> None:
        """Raises NodeFenced; RuntimeError where the run is over."""
        self._lease.check()
        if self.is_closed:
            raise RuntimeError("the turn is over")

    def append(self, event: session_pb2.Event) -> None:
        """Appends an event of the run. Raises as `check`, and what the log raises."""
        self.check()
        self.text.publish()  # what was yielded before
        event.turn_id, event.attempt = self._turn_id, self._attempt
        self._log.append(event)
        self.emitted.add(event)

    def _append_text(self, offset: int, *texts: str) -> int:
        self.check()
        return self._log.append_text(self._turn_id, self._attempt, offset, *texts)

    def close(self) -> None:
        """The run is over: what its agent left behind, a task of its own say, writes nothing any more."""
        self.is_closed = True
        self.text.close()
