"""What `ctx.once` raises in an agent. They never go to clients: an agent that lets one through has failed as with any
error of its own."""

from dataclasses import dataclass


@dataclass(eq=False)
class OnceFailed(Exception):
    """The step's run failed, here or on another node: everybody who asked for it is told so."""

    key: str
    type_name: str
    """The name of the class of what the function raised, `TurnEnded` where its turn was over before it was, or
    `ResultNotKept` where it returned no JSON or too much."""
    text: str
    """What that said, at most 1,000 characters of it."""

    def __str__(self) -> str:
        """One line."""
        return f"the step {self.key} failed: {self.type_name}: {self.text}"


@dataclass(eq=False)
class OnceUnknown(Exception):
    """The step must not run twice and was cut off: nobody knows whether it took effect, until somebody resolves it."""

    key: str

    def __str__(self) -> str:
        """One line."""
        return f"the step {self.key} was cut off and must not run twice; resolve it"


@dataclass(eq=False)
class OnceTimeout(TimeoutError):
    """Another's run of the step, or the key, was not to be had in time. That run goes on."""

    key: str
    timeout_s: float

    def __str__(self) -> str:
        """One line."""
        return f"the step {self.key} was waited for in vain for {self.timeout_s} s"

    def __reduce__(self) -> tuple[type["OnceTimeout"], tuple[str, float]]:
        """It crosses processes; what OSError keeps of its arguments is not enough."""
        return OnceTimeout, (self.key, self.timeout_s)
