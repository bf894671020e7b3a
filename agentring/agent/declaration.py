"""Marks an async generator function as an agent, and says what it needs.

Guarantees: what is no agent is refused where it is declared, so when its module is imported, in one line. A declared
agent is called as its function is.
"""

import dataclasses
import inspect
import json
import math
from collections.abc import AsyncIterator, Callable
from contextlib import AbstractAsyncContextManager
from dataclasses import dataclass
from functools import update_wrapper
from typing import Any, overload

from agentring.agent.context import AgentEvent, Context, JsonObject

Function = Callable[[Context[Any]], AsyncIterator[AgentEvent]]
Lifespan = Callable[[Any], AbstractAsyncContextManager[Any]]


@dataclass(frozen=True, slots=True)
class AgentOptions:
    """What an agent's declaration says, as `agent` explains it."""

    name: str = ""
    state: type[Any] | None = None
    version: int = 1
    migrate: Callable[[JsonObject, int], JsonObject] | None = None
    timeout_s: float | None = None
    settings: type[Any] | None = None
    lifespan: Lifespan | None = None


class DeclaredAgent:
    """What `agent` makes of a function: an agent, with its options."""

    def __init__(self, function: Function, options: AgentOptions) -> None:
        """Raises TypeError, ValueError as `agent`."""
        name = getattr(function, "__qualname__", type(function).__name__)
        if not inspect.isasyncgenfunction(function):
            raise TypeError(f"{name} is no agent: an agent is an async generator, `async def` with a `yield`")
        parameters = inspect.signature(function).parameters.values()
        required = [each for each in parameters if each.default is each.empty and each.kind not in (2, 4)]
        if len(required) != 1 or required[0].kind is inspect.Parameter.KEYWORD_ONLY:
            raise TypeError(f"{name} is no agent: it must take one argument, the context")
        _check(name, options)
        _check_surroundings(name, options)
        self.options = options
        self._function = function
        update_wrapper(self, function)

    def __call__(self, ctx: Context[Any], /) -> AsyncIterator[AgentEvent]:
        """As the function."""
        return self._function(ctx)


@overload
def agent(function: Function, /) -> DeclaredAgent: ...
@overload
def agent(
    *,
    name: str = "",
    state: type[Any] | None = None,
    version: int = 1,
    migrate: Callable[[JsonObject, int], JsonObject] | None = None,
    timeout_s: float | None = None,
    settings: type[Any] | None = None,
    lifespan: Lifespan | None = None,
) -> Callable[[Function], DeclaredAgent]: ...


def agent(
    function: Function | None = None,
    /,
    *,
    name: str = "",
    state: type[Any] | None = None,
    version: int = 1,
    migrate: Callable[[JsonObject, int], JsonObject] | None = None,
    timeout_s: float | None = None,
    settings: type[Any] | None = None,
    lifespan: Lifespan | None = None,
) -> DeclaredAgent | Callable[[Function], DeclaredAgent]:
    """Declares an agent; without options it may stand bare.

        @dataclass
        class Count:
            turns: int = 0

        @agent(state=Count)
        async def counter(ctx: Context[Count]) -> AsyncIterator[AgentEvent]:
            ctx.state.turns += 1
            yield f"turn {ctx.state.turns}"

    name: what a node hosts it as where all agents of a module are hosted; empty: as the function is called. state: a
    dataclass or a pydantic model, of which `ctx.state` then is one; each of its fields needs a default, since a new
    session has nothing stored. It is stored as JSON: what does not fit the types fails the turn (STATE_INVALID).
    version: of the stored state, from 1; to grow where older states do not fit any more. migrate: called as
    `migrate(state, version)` with the JSON object of a lower version, and returns one of this version; an empty state
    is not migrated. A state of a higher version fails the turn (STATE_TOO_NEW), and stays as it is. timeout_s: how long
    each run of a turn or task may take, without the time in which it waits for an answer; then it fails
    (TURN_DEADLINE). A caller may ask for another; None: the node's `--turn-timeout-s`. settings: a dataclass or a
    pydantic model, of which `ctx.settings` then is one, read when the agent is loaded. lifespan: called as
    `lifespan(settings)`, an async context manager that a process opens before its first run of the agent and closes
    after the last; what it yields is `ctx.resources`.

    Raises TypeError where it is no async generator function of one argument, or `state`, `settings` or `lifespan` is
    nothing such; ValueError where the version or the time-out is none.
    """
    options = AgentOptions(name, state, version, migrate, timeout_s, settings, lifespan)
    if function is not None:
        return DeclaredAgent(function, options)
    return lambda declared: DeclaredAgent(declared, options)


def options_of(found: object) -> AgentOptions:
    """What was declared of an agent; of any other callable: the defaults."""
    return found.options if isinstance(found, DeclaredAgent) else _DEFAULTS


_DEFAULTS = AgentOptions()


def _check(name: str, options: AgentOptions) -> None:
    if isinstance(options.version, bool) or not isinstance(options.version, int) or options.version < 1:
        raise ValueError(f"{name}: version must be an int from 1 on")
    timeout_s = options.timeout_s
    if timeout_s is not None and (type(timeout_s) not in (int, float) or not 0 < timeout_s < math.inf):
        raise ValueError(f"{name}: timeout_s must be a number of seconds above 0")
    if (kind := options.state) is None:
        return
    if inspect.iscoroutinefunction(options.migrate):
        raise TypeError(f"{name}: migrate must not be async")
    _check_class(name, "state", kind)
    if _has_secret(kind):
        raise TypeError(f"{name}: the state has a secret, which cannot be stored: keep it in the agent's settings")
    fields: dict[str, Any] | None = getattr(kind, "model_fields", None)
    if fields is not None:
        required = [field for field, info in fields.items() if info.is_required()]
    else:
        required = [field.name for field in dataclasses.fields(kind) if field.init and _has_no_default(field)]
    if required:
        raise TypeError(f"{name}: the state's field {required[0]} needs a default: a new session has nothing stored")


def _check_surroundings(name: str, options: AgentOptions) -> None:
    if options.settings is not None:
        _check_class(name, "settings", options.settings)
    lifespan = options.lifespan
    if lifespan is not None and (inspect.isasyncgenfunction(lifespan) or not callable(lifespan)):
        raise TypeError(f"{name}: lifespan must be a function with @asynccontextmanager above it")


def _check_class(name: str, what: str, kind: Any) -> None:
    is_model = isinstance(getattr(kind, "model_fields", None), dict)
    if not isinstance(kind, type) or not (dataclasses.is_dataclass(kind) or is_model):
        raise TypeError(f"{name}: {what} must be a dataclass or a pydantic model")


def _has_secret(kind: Any) -> bool:
    """Whether a pydantic model would be stored with asterisks in a value's place; of a dataclass the value itself is
    refused when it is to be stored."""
    try:
        return '"writeOnly": true' in json.dumps(kind.model_json_schema())
    except Exception:  # a dataclass, or a model that has no schema
        return False


def _has_no_default(field: "dataclasses.Field[Any]") -> bool:
    return field.default is dataclasses.MISSING and field.default_factory is dataclasses.MISSING
