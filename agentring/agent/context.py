"""What the author of an agent sees: an agent is an async generator over a Context.

    async def greeter(ctx: Context) -> AsyncIterator[AgentEvent]:
        ctx.state["greeted"] = ctx.state.get("greeted", 0) + 1
        yield f"Hello for the {ctx.state['greeted']}. time, "
        yield "nice to see you."
        yield Result({"greeted": ctx.state["greeted"]})

docs/agents.md is the guide: what may be yielded, what is stored, deadlines, failures, limits.
"""

from collections.abc import AsyncIterator, Awaitable, Callable, Mapping, Sequence
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any, Protocol

from agentring.agent.files import File, InputParts
from agentring.agent.messages import Past
from agentring.agent.metered import Metered
from agentring.agent.output import Output
from agentring.agent.run_info import RunInfo
from agentring.agent.steps import Steps
from agentring.agent.storage import Storage
from agentring.agent.tool_use import ToolUse

JsonObject = dict[str, Any]
"""A dict that survives json.dumps and json.loads unchanged."""

if TYPE_CHECKING:
    from typing_extensions import TypeVar

    StateT = TypeVar("StateT", default=JsonObject)
    """What `ctx.state` is."""
else:
    from typing import TypeVar  # whose defaults are of Python 3.13, and for type checkers alone

    StateT = TypeVar("StateT")


@dataclass(frozen=True, slots=True)
class Result:
    """What the agent returns beside its text: the turn's or the task's result. The last one yielded counts."""

    data: Mapping[str, Any]


@dataclass(frozen=True, slots=True)
class Answer:
    """The user's answer to a question."""

    text: str
    data: JsonObject


class NobodyToAsk(RuntimeError):
    """A task has no user who could answer."""


AgentEvent = str | Result | File


@dataclass(frozen=True, slots=True)
class PastTurn:
    """A completed turn of the session."""

    input_text: str
    output_text: str


class Context(Steps, ToolUse, Metered, RunInfo, Output, InputParts, Past, Protocol[StateT]):
    """One turn of a session, or the run of a task, as its agent sees it. `Context[MyState]` is that of an agent with
    `@agent(state=MyState)`."""

    state: StateT
    """The session's state, to be changed in place or assigned anew: a JSON object, or what the agent was declared with.
    Empty, or made of defaults, for a new session and for a task."""

    @property
    def input_text(self) -> str:
        """The user's text; of an input of several parts the words, each part's on lines of their own."""

    @property
    def input_data(self) -> JsonObject:
        """The input's parameters; empty where there are none."""

    @property
    def history(self) -> Sequence[PastTurn]:
        """The session's latest completed turns, oldest first. Empty for a task."""

    @property
    def storage(self) -> Storage:
        """Bytes by key, of the session or the task."""

    async def once(
        self,
        key: str,
        function: Callable[..., Awaitable[Any]],
        /,
        *,
        timeout_s: float = 60.0,
        idempotent: bool = True,
        args: Mapping[str, Any] | None = None,
    ) -> Any:
        """Runs a step once in the whole cluster, and returns its result to all turns and tasks that ask for its key.

            receipt = await ctx.once("charge-order-7", bank.charge, args={"amount": 7}, idempotent=False)

        The function is called as `function(**args, idempotency_key=…, fencing_token=…)`: the key is the same for every
        attempt, the token grows with each. args: any Python values, which never leave the process; what stands in the
        mapping when `once` is called is what counts. The result must be JSON, of 256 KiB at most, and is replayed for
        an hour; a failure for 10 s, or for an hour where the step must not run again. While another turn or task runs
        the step, this one waits for it, at most timeout_s seconds; the step itself may take as long as the turn. The
        outcome is recorded in the turn, too: one that is run again gets the same, however long it has waited. key: 1
        to 256 printable ASCII characters without the space, the tenant's own. idempotent: whether the step may be run
        again where it was cut off; False: it is UNKNOWN then, and stays so until somebody resolves it (`agentring once
        resolve`).

        Raises OnceFailed (the function raised, here or elsewhere), OnceUnknown, OnceTimeout; TaskCycle where the wait
        would be for a key that the caller itself holds; other AgentringErrors where etcd or the store did not answer
        within timeout_s, or the key is malformed; and before anything is claimed TypeError where args are not arguments
        that the function takes, ValueError where they have one of the two names above. Cancellation: a step that this
        turn runs is cut off; it is run again by whoever waits for it, or becomes UNKNOWN. So `ask` and `once` do not go
        together: where one is under way in this turn the other raises RuntimeError. Ask before the step.
        """

    async def ask(self, prompt: str, *, schema: JsonObject | None = None) -> Answer:
        """Asks the user, and returns the answer once there is one, which may take days.

        schema: a JSON Schema of the answer's data, for the client; the answer is not checked against it. While it waits
        the turn takes none of the node's slots for running turns, its deadline is paused, and the session may leave the
        node: the turn then runs again from its start, on the node that activates the session, and questions that were
        answered are answered at once. So up to its last question the agent must do the same in every run. One question
        at a time, at most 100 in a turn, of at most 16 KiB, and not while a step, a step of `once` or a tool that must
        not run twice is under way, which leaving the node would cut off: RuntimeError. Raises also ValueError,
        NodeFenced, and NobodyToAsk in tasks.
        """


Agent = Callable[[Context[Any]], AsyncIterator[AgentEvent]]

TurnContext = Context
"""The name that Context had first."""
