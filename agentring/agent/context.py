"""What the author of an agent sees: the agent is an async generator over a Context.

    async def greeter(ctx: Context) -> AsyncIterator[AgentEvent]:
        ctx.state["greeted"] = ctx.state.get("greeted", 0) + 1
        yield f"Hello for the {ctx.state['greeted']}. time, "
        yield "nice to see you."
        yield Result({"greeted": ctx.state["greeted"]})

A yielded `str` is words, sent as they come. The session's state is the turn's own copy until the turn completes: a turn
that fails or is cancelled leaves it as it was. Between two yields the agent must await whatever takes long; a blocked
event loop costs the node its lease. A run whose node ended is run again in a process of its own, where nothing is that
other runs keep in memory; if it ends or blocks that one too, it has failed (AGENT_ENDED_NODE, AGENT_BLOCKED). A
time-out of its own (`asyncio.timeout`) may go over a yield, which it then ends like an await; where an agent hands on
another one's events it belongs around that loop. An agent whose task is cancelled by nobody but itself has failed
(AGENT_CANCELLED_ITSELF), unless it catches that. Agents are found by the entry point group `agentring.agents`, or given
to a node as `--agent name=package.module:attribute`.
"""

from collections.abc import AsyncIterator, Awaitable, Callable, Mapping, Sequence
from dataclasses import dataclass
from typing import Any, Protocol

from agentring.ids import Epoch, NodeId

JsonObject = dict[str, Any]
"""What survives json.dumps and json.loads unchanged."""


@dataclass(frozen=True, slots=True)
class Result:
    """What the agent returns beside its words; the last one counts. It becomes the turn's or the task's result."""

    data: Mapping[str, Any]


@dataclass(frozen=True, slots=True)
class Answer:
    """What the user answered."""

    text: str
    data: JsonObject


class NobodyToAsk(RuntimeError):
    """A task has no user who could answer."""


AgentEvent = str | Result


@dataclass(frozen=True, slots=True)
class PastTurn:
    """A completed turn of the session."""

    input_text: str
    output_text: str


class Context(Protocol):
    """One turn of a session, or the run of a task, as its agent sees it."""

    @property
    def input_text(self) -> str:
        """The user's words."""

    @property
    def input_data(self) -> JsonObject:
        """The user's structured parameters; empty where there are none."""

    @property
    def state(self) -> JsonObject:
        """The session's state, to be changed in place. Empty for a new session and for a task."""

    @property
    def history(self) -> Sequence[PastTurn]:
        """The session's latest completed turns, oldest first. Empty for a task."""

    @property
    def turn_number(self) -> int:
        """Which turn of the session this is, counting completed ones, from 1; 1 for a task."""

    @property
    def attempt(self) -> int:
        """Which run of this turn or task, from 1."""

    @property
    def node_id(self) -> NodeId:
        """The node that it runs on."""

    @property
    def fencing_token(self) -> Epoch:
        """The owner's epoch. Hand it to whatever can compare: a lower one than seen before must be refused."""

    @property
    def idempotency_key(self) -> str:
        """The same for every attempt of this turn or task, different for any other."""

    async def tool(self, name: str, function: Callable[..., Awaitable[Any]], /, **arguments: Any) -> Any:
        """Calls `function(**arguments)` and tells the session's streams of the call and its answer.

        Arguments and answer must be JSON. Raises what the function raises, and NodeFenced before the call where the
        node may no longer own the session.
        """

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
        """Runs a step once in the whole cluster, whoever asks for it under this key, and returns its result to all.

            receipt = await ctx.once("charge-order-7", bank.charge, args={"amount": 7}, idempotent=False)

        The function is called as `function(**args, idempotency_key=…, fencing_token=…)`: the key is the same for every
        attempt, the token grows with each. args: any Python values, which never leave the process; what stands in the
        mapping when `once` is called is what counts. The result must be JSON, of 256 KiB at most, and is replayed for
        an hour. While another turn or task runs the step, this one waits for it, at most timeout_s seconds; the step
        itself may take as long as the turn. key: 1 to 256 printable ASCII characters without the space, the tenant's
        own. idempotent: whether the step may be run again where it was cut off; False: it is UNKNOWN then, and stays so
        until somebody resolves it (`agentring once resolve`).

        Raises OnceFailed (whoever runs it: the function raised), OnceUnknown, OnceTimeout; TaskCycle where the wait
        would be for a key that the caller itself holds; and before anything is claimed TypeError where args are not
        arguments that the function takes, ValueError where they have one of the two names above. Cancellation: a step
        that this turn runs is cut off; it is run again by whoever waits for it, or becomes UNKNOWN. So `ask` and `once`
        do not go together: where one is under way in this turn the other raises RuntimeError. Ask before the step.
        """

    async def ask(self, prompt: str, *, schema: JsonObject | None = None) -> Answer:
        """Asks the user, and returns the answer once there is one, which may take days.

        schema: a JSON Schema of the answer's data, for the client; the answer is not checked against it. While it waits
        the turn holds no place on the node, its deadline rests, and the session may leave the node: the turn then runs
        again from its start, on whichever node the session is activated, and its earlier questions are answered at once
        by what was answered before. So up to its last question the agent must do the same in every run. One question at
        a time, at most 100 in a turn, of at most 16 KiB, and not while a step of `once` is under way, which leaving the
        node would cut off: RuntimeError. Raises also ValueError, NodeFenced, and NobodyToAsk in tasks.
        """


Agent = Callable[[Context], AsyncIterator[AgentEvent]]

TurnContext = Context
"""The name that Context had first."""
