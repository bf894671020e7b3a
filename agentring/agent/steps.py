"""What of a run is recorded, so that an attempt after a crash goes on at its last finished step.

docs/agents.md, "Steps", is the guide.
"""

from collections.abc import AsyncIterator, Awaitable, Callable
from contextlib import AbstractContextManager
from datetime import datetime
from typing import Any, Protocol
from uuid import UUID

from agentring.agent.retry import Retry
from agentring.agent.stream import StepStream


class Steps(Protocol):
    """The part of Context that is recorded."""

    async def step(
        self,
        name: str,
        function: Callable[..., Awaitable[Any]],
        /,
        *args: Any,
        key: str | None = None,
        idempotent: bool = True,
        retry: Retry | None = None,
        timeout_s: float | None = None,
        pure: bool = False,
        returns: Any = None,
        **kwargs: Any,
    ) -> Any:
        """Runs `function(*args, **kwargs)`, records its outcome, and returns its result: where the turn is cut off and
        runs again, the recorded outcome is returned and the function not called.

            answer = await ctx.step("model", model.complete, messages, retry=Retry(most_tries=4), timeout_s=60)

        The result must be JSON, of 16 MiB at most. What is returned is what was recorded, in the first attempt, too: a
        tuple comes as a list. Where the function names `idempotency_key` or `fencing_token` as a parameter it is called
        with the step's (the same in every attempt) and the owner's.

        The step is known again by its name, its arguments and its place among equal ones. key: in the arguments' place,
        at most 4 KiB; needed where they are not JSON, dataclasses or pydantic models, and where equal steps run at the
        same time. idempotent: whether the function may be called again where it was cut off before its outcome was
        recorded; False: it then is unknown for good. retry: how often it is tried within the step where it raises; only
        if idempotent. timeout_s: of each try. pure: it has no effect, so the agent may leave it out, or begin it anew,
        where an earlier attempt did otherwise. returns: the type of the result: a dataclass or pydantic model, or
        `list[...]`, `dict[str, ...]` or `... | None` of one; without it the result is JSON.

        In every attempt the agent must ask for the same steps: the turn fails (STEP_DIVERGED) where another step is to
        begin, or the agent ends, while a recorded one was not asked for. At most 10,000 steps and 64 MiB of results in
        a turn, steps in steps at most 8 deep. No question may be asked while a step is open.

        Raises StepFailed (the function raised, its time was over, its result cannot be kept), StepUnknown; before the
        function is called TypeError and ValueError where the step cannot be told from others, RuntimeError where a
        bound is met, NodeFenced, and StoreUnavailable, after which the run is over. Cancellation: the function is
        cancelled. If the agent itself did that, it is recorded: the next attempt waits to be cancelled there again.
        """

    def stream_step(
        self,
        name: str,
        function: Callable[..., AsyncIterator[Any] | Awaitable[AsyncIterator[Any]]],
        /,
        *args: Any,
        key: str | None = None,
        idempotent: bool = True,
        retry: Retry | None = None,
        timeout_s: float | None = None,
        pure: bool = False,
        returns: Any = None,
        **kwargs: Any,
    ) -> StepStream:
        """A step whose function is an async generator: its pieces come one by one, and all of them are recorded at its
        end as one step. A model's answer, say, with what came beside the words (tool calls, usage) as `result`:

            stream = ctx.stream_step("model", complete, prompt, retry=Retry(), timeout_s=120)
            async for piece in stream:
                yield piece
            usage = stream.result

        The function yields str, and as its last one other value if it likes: JSON, a Result, or with `returns=` a
        dataclass or pydantic model. Where the turn is cut off and runs again, a stream that had come to its end is
        answered from its record, in fewer pieces (in the same ones where other steps began between two of them); one
        that had not is called again. Else as `step`: retry counts only while no piece has come; timeout_s is the time
        for the whole of it, of which the agent's own between two pieces is a part.
        """

    def scope(self, name: str, *, resumes: bool = False) -> AbstractContextManager[None]:
        """What is in it has a place of its own: equal steps of two scopes are two, though they run at the same time.

            with ctx.scope(city):
                found = await ctx.step("look up", look_up)

        Holds for the tasks that are begun in it, too. resumes: what is in it goes on by itself where an earlier attempt
        was cut off, with what that one has stored (`ctx.storage.latest`), as frameworks do: so its recorded steps may
        be left out, and new ones may begin at any time. Raises TypeError, ValueError as `step`.
        """

    async def now(self) -> datetime:
        """The time in UTC, recorded with the next step: later attempts get the same. By the node's wall clock.

            deadline = await ctx.now() + timedelta(days=1)

        Raises as `step`."""

    def uuid(self) -> UUID:
        """A random UUID, the same in every attempt: the first, second, third … in its scope.

        order_id = str(ctx.uuid())
        """

    def random(self) -> float:
        """A random number, at least 0 and below 1, the same in every attempt, as `uuid`. Not for secrets.

        city = cities[int(ctx.random() * len(cities))]
        """
