"""The agent of a test, watched: what it raised, where it waits, and whether a step changes the state."""

from collections.abc import AsyncIterator
from typing import Any

from agent_node.step.position import innermost
from agentring.agent import Agent, AgentEvent, Context
from agentring.agent.declaration import DeclaredAgent, options_of
from agentring.testing.guarded_state import guarded
from agentring.testing.life import LIFE


class WatchedAgent(DeclaredAgent):
    """An Agent in front of another, declared as that is."""

    def __init__(self, agent: Agent) -> None:
        self._agent = agent
        self.options = options_of(agent)
        self.errors: dict[str, BaseException] = {}
        """What it raised last, by the run's idempotency key."""

    def __call__(self, ctx: Context[Any], /) -> AsyncIterator[AgentEvent]:
        run: Any = ctx  # the node's own RunContext
        if type(run.state) is dict:
            run.state = guarded(run.state, _check_outside_steps)
        made: Any = self._agent(ctx)
        if (life := LIFE.get()) is not None:
            life.generator = made
        # What is no async iterator is refused by the node, as it would be on any.
        return _Watched(made, self.errors, ctx.idempotency_key) if hasattr(made, "__anext__") else made


class _Watched:
    def __init__(self, events: Any, errors: dict[str, BaseException], run: str) -> None:
        self._events = events
        self._errors = errors
        self._run = run
        if hasattr(events, "athrow"):
            self.athrow = self._athrow

    def __aiter__(self) -> "_Watched":
        return self

    async def __anext__(self) -> AgentEvent:
        return await self._of(self._events.__anext__())

    async def aclose(self) -> None:
        if hasattr(self._events, "aclose"):
            await self._events.aclose()

    async def _athrow(self, *error: Any) -> AgentEvent:
        return await self._of(self._events.athrow(*error))

    async def _of(self, event: Any) -> AgentEvent:
        try:
            found: AgentEvent = await event
        except StopAsyncIteration:
            raise
        except BaseException as error:
            self._errors[self._run] = error
            raise
        return found


def _check_outside_steps() -> None:
    position = innermost()
    if position is not None and position.depth:
        raise RuntimeError(
            "ctx.state is changed inside a step: the step is not run again in the next attempt, which would miss the "
            "change; return the value from the step, and change the state after it"
        )
