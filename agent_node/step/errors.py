"""What ends a run whose steps cannot be gone on with. An agent that catches one has failed all the same."""


class StepsFailed(Exception):
    """The run fails, whatever its agent makes of it."""

    reason = ""
    """As turn_failed.reason."""

    def __init__(self, detail: str) -> None:
        """detail: what was wrong, for people."""
        super().__init__(detail)
        self.detail = detail


class StepDiverged(StepsFailed):
    """This attempt goes another way than an earlier one, whose steps are recorded."""

    reason = "STEP_DIVERGED"


class StepCorrupt(StepsFailed):
    """What is stored of a step is not what was written."""

    reason = "STEP_CORRUPT"
