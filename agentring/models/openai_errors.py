"""What the openai package raises, as ModelFailed: whether to try again, and what to do.

Guarantees: nothing of the key, nor of the messages, is in an error; an endpoint's own words are cut short, and the key
is taken out of them, since some endpoints repeat it.
"""

from __future__ import annotations

from datetime import UTC, datetime
from email.utils import parsedate_to_datetime
from typing import TYPE_CHECKING

from agentring.models.errors import ModelFailed

if TYPE_CHECKING:
    import openai

_MOST_PROBLEM = 300
_ADVICE = {
    400: "the endpoint does not take the request: look at the model's name, its options, and how long the messages are",
    401: "set OPENAI_API_KEY to a key that this endpoint takes",
    403: "the key may not use this model",
    404: "look at the model's name and at OPENAI_BASE_URL, which ends in /v1 mostly",
    413: "the messages are too long for the endpoint",
    422: "the endpoint does not take the request: look at the model's options",
}
_RETRYABLE = frozenset({408, 409, 425, 429})
"""Besides all from 500 on."""
_FINAL_CODES = frozenset({"insufficient_quota", "billing_hard_limit_reached"})
"""429 that no wait makes good."""


class Failures:
    """Makes the errors of one model at one endpoint."""

    def __init__(self, model: str, endpoint: str, secrets: tuple[str, ...]) -> None:
        """secrets: what must not be in an error."""
        self._model = model
        self._endpoint = endpoint
        self._secrets = tuple(secret for secret in secrets if secret)

    def of_status(self, error: openai.APIStatusError) -> ModelFailed:
        """The endpoint answered with an error."""
        status = error.status_code
        code = error.code or error.type or ""
        is_final = code in _FINAL_CODES
        advice = "the account has no money left: look at its billing" if is_final else _ADVICE.get(status, "")
        return ModelFailed(
            self._model,
            self._endpoint,
            self._clean(error.message),
            status=status,
            advice=advice,
            is_retryable=not is_final and (status >= 500 or status in _RETRYABLE),
            retry_after_s=_retry_after_s(error),
        )

    def in_stream(self, error: openai.APIError) -> ModelFailed:
        """The endpoint said in its stream that it has failed."""
        code = error.code or error.type or ""
        is_final = code in _FINAL_CODES or "invalid" in code or "context_length" in code
        problem = f"its stream ended with the error {self._clean(error.message)}"
        return self._failed(problem, is_retryable=not is_final, model_calls=1)

    def broken(self, why: str, *, has_begun: bool) -> ModelFailed:
        """There was no answer, or not all of it."""
        advice = "" if has_begun else "look whether the endpoint runs and OPENAI_BASE_URL is its address"
        return self._failed(self._clean(why), is_retryable=True, model_calls=int(has_begun), advice=advice)

    def silent(self, problem: str, *, has_begun: bool) -> ModelFailed:
        """It took too long."""
        advice = "give OpenAIModel a longer timeout_s or silence_s if the model needs it"
        return self._failed(problem, is_retryable=True, model_calls=int(has_begun), advice=advice)

    def refused(self, problem: str, advice: str, *, has_begun: bool = False) -> ModelFailed:
        """It would not be better the next time."""
        return self._failed(self._clean(problem), advice=advice, model_calls=int(has_begun))

    def _failed(
        self, problem: str, *, is_retryable: bool = False, model_calls: int = 0, advice: str = ""
    ) -> ModelFailed:
        return ModelFailed(
            self._model,
            self._endpoint,
            problem,
            advice=advice,
            is_retryable=is_retryable,
            model_calls=model_calls,
        )

    def _clean(self, text: str) -> str:
        for secret in self._secrets:
            text = text.replace(secret, "***")
        return " ".join(text.split())[:_MOST_PROBLEM]


def _retry_after_s(error: openai.APIStatusError) -> float | None:
    """Seconds, or a date, as HTTP has it; `retry-after-ms`, as some endpoints add."""
    headers = error.response.headers
    try:
        if (milliseconds := headers.get("retry-after-ms")) is not None:
            wait_s = float(milliseconds) / 1000
        elif (value := headers.get("retry-after")) is None:
            return None
        else:
            wait_s = _seconds(value)
    except (ValueError, TypeError, OverflowError):
        return None
    return wait_s if 0 <= wait_s < 1e9 else None


def _seconds(value: str) -> float:
    try:
        return float(value)
    except ValueError:
        return max(0.0, (parsedate_to_datetime(value) - datetime.now(UTC)).total_seconds())
