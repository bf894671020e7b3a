"""Plain functions as tools of a model: name, description and JSON Schema are made of the function itself.

Guarantees: what the function is called with has passed the types that it declares; what cannot be a tool is refused
where it is defined, and what cannot be a type of an argument where the tool is first used. tool_arguments.py does
both by pydantic, which comes with agentring[server] and is not imported before.
"""

import inspect
from collections.abc import Awaitable, Callable, Mapping
from functools import cached_property
from typing import Any, Generic, ParamSpec, TypeVar, overload

from agentring.agent.retry import Retry
from agentring.agent.tool_arguments import Checked, Declared, Given, declared_by, is_async

P = ParamSpec("P")
R = TypeVar("R")

_NAME_BYTES = 256


class Tool(Generic[P, R]):
    """An async function, and how it is to be called. Made by `@tool`, or of any function:

    from agentring.agent import Retry, Tool

    async def look_up(city: str, days: int = 1) -> dict[str, int]:
        '''The weather of a city.'''
        return {"degrees": 4}

    weather = Tool(look_up, name="weather", timeout_s=20, retry=Retry(most_tries=3), concurrency=8)
    assert weather.description == "The weather of a city."
    assert weather.parameters["properties"]["days"] == {"type": "integer", "default": 1}
    assert weather.parameters["required"] == ["city"]

    It still is the function: `await weather(city="Oslo")` calls it, by itself and not as a tool. Immutable.
    """

    def __init__(
        self,
        function: Callable[P, Awaitable[R]],
        *,
        name: str | None = None,
        description: str | None = None,
        parameters: Mapping[str, Any] | None = None,
        timeout_s: float | None = None,
        retry: Retry | None = None,
        concurrency: int | None = None,
        idempotent: bool = True,
    ) -> None:
        """function: async; it is called by keywords, and may name `ctx`, `idempotency_key` and `fencing_token`, which
        the run hands over and the model does not see. name: the function's, 256 bytes at most. description: its
        docstring. parameters: a JSON Schema of the arguments, in the place of the types: then they are handed over as
        they come, as one of another server's tools takes them. timeout_s: of each try, in seconds. retry: only if
        idempotent. concurrency: calls at a time of one node's process; further ones wait. idempotent: whether it may be
        called again where a call was cut off, by a crash say; False: that call raises StepUnknown from then on.

        Raises TypeError and ValueError, in one line each.
        """
        if not is_async(function):
            raise TypeError(
                f"the tool {_name_of(function)} is no async function: write `async def`, and where it blocks "
                "`await asyncio.to_thread(...)`"
            )
        self.function = self.__wrapped__ = function
        self.name = _checked_name(_name_of(function) if name is None else name)
        self.description = (
            inspect.cleandoc(getattr(function, "__doc__", None) or "") if description is None else description
        )
        if retry is not None and not idempotent:
            raise ValueError(f"the tool {self.name} must not run twice (idempotent=False), so it has no retry")
        if timeout_s is not None and not timeout_s > 0:
            raise ValueError(f"the tool {self.name} has a timeout_s of more than 0 s, or None")
        if concurrency is not None and concurrency < 1:
            raise ValueError(f"the tool {self.name} has a concurrency of at least 1, or None")
        self.timeout_s = timeout_s
        self.retry = retry
        self.concurrency = concurrency
        self.idempotent = idempotent
        self._given = Given(self.name, parameters) if parameters is not None else None
        self.handed = declared_by(self.name, function, by_types=parameters is None)
        """What the run hands over: those of `ctx`, `idempotency_key` and `fencing_token` that the function names."""

    def __call__(self, *args: P.args, **kwargs: P.kwargs) -> Awaitable[R]:
        """Calls the function, no more."""
        return self.function(*args, **kwargs)

    def __repr__(self) -> str:
        """For people."""
        return f"<Tool {self.name}>"

    @property
    def parameters(self) -> dict[str, Any]:
        """The JSON Schema of its arguments, an object, as models are told it. Raises TypeError where a type has none,
        ImportError where pydantic is missing."""
        return self._arguments.schema

    def check(self, arguments: Mapping[str, Any] | str) -> Checked:
        """The arguments, checked and converted. arguments: JSON values or the function's own types by name, or a JSON
        object as text, as models write it.

        Raises ToolArgumentInvalid, which names each place and what is wrong; TypeError, ImportError as `parameters`.

            assert weather.check('{"city": "Oslo"}').values == {"city": "Oslo"}
        """
        return self._arguments.check(arguments)

    @cached_property
    def _arguments(self) -> Given | Declared:
        return self._given or Declared(self.name, self.function)


@overload
def tool(function: Callable[P, Awaitable[R]], /) -> Tool[P, R]: ...


@overload
def tool(
    *,
    name: str | None = None,
    description: str | None = None,
    timeout_s: float | None = None,
    retry: Retry | None = None,
    concurrency: int | None = None,
    idempotent: bool = True,
) -> Callable[[Callable[P, Awaitable[R]]], Tool[P, R]]: ...


def tool(function: Callable[..., Any] | None = None, /, **options: Any) -> Any:
    """Makes a Tool of the function below it, with Tool's options or without.

    from typing import Annotated
    from agentring.agent import tool

    @tool
    async def add(a: int, b: Annotated[int, "What is added."] = 1) -> int:
        '''Adds two numbers.'''
        return a + b

    @tool(timeout_s=20, idempotent=False)
    async def charge(amount: int, *, idempotency_key: str) -> str:
        '''Charges the customer.'''
        return f"paid {amount}"

    assert add.parameters["properties"]["b"]["description"] == "What is added."
    assert list(charge.parameters["properties"]) == ["amount"]

    Raises as Tool.
    """
    return Tool(function) if function is not None else lambda function: Tool(function, **options)


def _name_of(function: Any) -> str:
    found = getattr(function, "__name__", None) or getattr(getattr(function, "func", None), "__name__", None)
    return found if isinstance(found, str) else type(function).__name__


def _checked_name(name: Any) -> str:
    if not isinstance(name, str):
        raise TypeError("a tool's name is a str")
    if not 0 < len(name.encode("utf-8", "replace")) <= _NAME_BYTES:
        raise ValueError(f"a tool's name has 1 to {_NAME_BYTES} bytes")
    return name
