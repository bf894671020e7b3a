"""What a run fails with because of its steps, whatever its agent makes of it."""

from agent_node.run.time_limit import PausableDeadline
from agent_node.step.errors import StepsFailed


class StepsFailure:
    """Of one run."""

    def __init__(self, time: PausableDeadline) -> None:
        """time: the run's, which a failure ends."""
        self._time = time
        self.error: StepsFailed | None = None
        """The first."""

    def take(self, error: StepsFailed) -> None:
        """The run's steps have failed."""
        if self.error is None:
            self.error = error
            self._time.expire()
