"""The root of the tree, and the one error that is our own fault."""

from dataclasses import dataclass, fields
from typing import ClassVar

from grpc import StatusCode


@dataclass(eq=False)
class AgentringError(Exception):
    """Something that a caller is told, with a gRPC status and a reason."""

    code: ClassVar[StatusCode] = StatusCode.INTERNAL
    reason: ClassVar[str] = "INTERNAL"
    sentence: ClassVar[str] = "something went wrong; the log has more under this error_id"
    retry_after_s: ClassVar[float | None] = None
    """How long to wait before trying again; None: trying again does not help."""

    @property
    def wait_s(self) -> float | None:
        """As retry_after_s; where it is known of this very refusal, that."""
        return self.retry_after_s

    @property
    def retryable(self) -> bool:
        """Whether the same call may succeed later."""
        return self.retry_after_s is not None

    @property
    def variables(self) -> dict[str, str]:
        """The fields, as the ErrorInfo's metadata."""
        return {f.name: str(getattr(self, f.name)) for f in fields(self)}

    def __str__(self) -> str:
        """One sentence, then the fields."""
        values = ", ".join(f"{name}={value}" for name, value in self.variables.items())
        return f"{self.sentence} ({values})" if values else self.sentence


@dataclass(eq=False)
class InternalError(AgentringError):
    """A fault of ours. The error_id stands in the log beside the traceback."""

    error_id: str
