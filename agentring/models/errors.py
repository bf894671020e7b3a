"""Why a model did not answer, in one sentence for whoever runs the agent: which endpoint, which model, what to do."""

from dataclasses import dataclass


@dataclass(eq=False)
class ModelFailed(Exception):
    """A try of a model call has failed. In an agent it comes as `StepFailed` with this type's name and this text.

    raise ModelFailed("model-1", "https://models.example/v1", "rate limit", status=429, is_retryable=True)
    """

    model: str
    endpoint: str
    """Its URL, without what may be secret of it."""
    problem: str
    """What happened. It never has a key, nor anything of the messages that were sent."""
    status: int | None = None
    """Of HTTP; None: there was none."""
    advice: str = ""
    """What to do."""
    is_retryable: bool = False
    """Whether the same call may succeed later."""
    retry_after_s: float | None = None
    """How long the endpoint asked to wait; None: it did not say."""
    model_calls: int = 0
    """1: the endpoint had begun to answer, so the try may have to be paid."""

    def __str__(self) -> str:
        """One line."""
        status = f"HTTP {self.status}, " if self.status is not None else ""
        advice = f"; {self.advice}" if self.advice else ""
        return f"the model {self.model} at {self.endpoint} did not answer: {status}{self.problem}{advice}"
