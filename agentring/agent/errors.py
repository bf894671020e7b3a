"""What `ctx.once`, `ctx.step`, `ctx.storage` and tools raise in an agent. Clients never see them: an agent that does
not catch one has failed, as with any error of its own."""

from collections.abc import Sequence
from dataclasses import dataclass


@dataclass(eq=False)
class OnceFailed(Exception):
    """The step's run failed, here or on another node; everybody who asked for it gets this."""

    key: str
    type_name: str
    """The class name of what the function raised; `TurnEnded` where its turn ended before the function did;
    `ResultNotKept` where the result is no JSON, or too large."""
    text: str
    """The exception's text, at most 1,000 characters of it."""

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
    """Another run of the step did not end in time, or the key could not be claimed in time. That run goes on."""

    key: str
    timeout_s: float

    def __str__(self) -> str:
        """One line."""
        return f"the step {self.key} was waited for in vain for {self.timeout_s} s"

    def __reduce__(self) -> tuple[type["OnceTimeout"], tuple[str, float]]:
        """It crosses processes; what OSError keeps of its arguments is not enough."""
        return OnceTimeout, (self.key, self.timeout_s)


@dataclass(eq=False)
class StepFailed(Exception):
    """The function of `ctx.step` raised, in this attempt or an earlier one; both get this."""

    name: str
    """The step's."""
    type_name: str
    """The class name of what the function raised; `TimeoutError` where its time was over; `ResultNotKept` where the
    result is no JSON, or too large."""
    text: str
    """The exception's text, at most 1,000 characters of it."""

    def __str__(self) -> str:
        """One line."""
        return f"the step {self.name} failed: {self.type_name}: {self.text}"


@dataclass(eq=False)
class StepUnknown(Exception):
    """The step must not run twice (`idempotent=False`) and was cut off: nobody knows whether it took effect. Later
    attempts get this, too: look outside whether it did, with the step's idempotency key."""

    name: str
    """The step's."""

    def __str__(self) -> str:
        """One line."""
        return f"the step {self.name} was cut off and must not run twice"


@dataclass(frozen=True, slots=True)
class ArgumentProblem:
    """Of one argument of a tool."""

    path: str
    """Where: `$.days`, `$.cart[3].price`; `$`: all of them."""
    text: str
    """What is wrong, for a model or for people."""
    kind: str
    """The same as a word, without anything of the value: `missing`, `int_parsing`, `literal_error`."""


@dataclass(eq=False)
class ToolArgumentInvalid(ValueError):
    """A tool was not called: its arguments have not the types that its function declares.

    An agent that gets one for arguments that a model made hands its text back to the model, which then tries again:

        try:
            answer = await ctx.call_tool(tool, call.arguments)
        except ToolArgumentInvalid as invalid:
            answer = str(invalid)

    One that it does not catch fails the turn with TOOL_ARGUMENT_INVALID.
    """

    tool: str
    """Its name."""
    problems: Sequence[ArgumentProblem]
    """At least one."""

    def __post_init__(self) -> None:
        """Problems may come as lists of their fields."""
        self.problems = [
            each if isinstance(each, ArgumentProblem) else ArgumentProblem(*each) for each in self.problems
        ]

    def __reduce__(self) -> tuple[type["ToolArgumentInvalid"], tuple[str, list[list[str]]]]:
        """It is recorded, and comes again as itself."""
        return ToolArgumentInvalid, (self.tool, [[each.path, each.text, each.kind] for each in self.problems])

    def __str__(self) -> str:
        """One line, with every problem."""
        said = "; ".join(f"{problem.path}: {problem.text}" for problem in self.problems)
        return f"the arguments of {self.tool} are invalid: {said}"


@dataclass(eq=False)
class StorageFull(Exception):
    """What was to be written is beyond a bound of `ctx.storage`; nothing of it was.

    assert str(StorageFull("report", "10,000 keys are the most")) == "report cannot be stored: 10,000 keys are the most"
    """

    key: str
    text: str
    """Which bound, and by how much."""

    def __str__(self) -> str:
        """One line."""
        return f"{self.key} cannot be stored: {self.text}"


@dataclass(eq=False)
class StorageConflict(Exception):
    """Another step that was open at the same time has written this key of `ctx.storage`.

    assert str(StorageConflict("report")) == "another step writes report at the same time"
    """

    key: str

    def __str__(self) -> str:
        """One line."""
        return f"another step writes {self.key} at the same time"
