"""One agent's code, loaded and looked at.

Guarantees: whatever the code raises, what it lacks and what is no agent becomes one AgentNotLoadable, whose text is one
line with the cause and the place in the author's code. Does not run an agent. Called by registry.py.
"""

import difflib
import inspect
import os
import traceback
from collections.abc import Callable, Mapping
from functools import partial
from importlib import import_module
from types import FrameType, FunctionType, MethodType, ModuleType
from typing import Any

from agentring.agent import Agent, declaration
from agentring.agent.declaration import DeclaredAgent
from agentring.plain_json import type_name

_NOT_THE_AUTHORS = ("<frozen", __file__, declaration.__file__)
_STREAMS = ("AsyncIterator", "AsyncIterable", "AsyncGenerator")
_ASYNC_GENERATOR = "an agent is an async generator: `async def` with a `yield`"


class AgentNotLoadable(Exception):
    """An agent's module or attribute is not there or fails, or is no agent."""

    def __init__(self, name: str, where: str, why: str) -> None:
        """name: empty: all agents of a module; where: package.module:attribute, or package.module."""
        super().__init__(f"{f'agent {name!r}' if name else 'agents'} cannot be loaded from {where!r}: {why}")


def load_agent(name: str, where: str) -> Agent:
    """The agent at package.module:attribute. Raises AgentNotLoadable."""
    module_name, _, path = where.partition("[")[0].strip().partition(":")  # an entry point may name extras
    found: Any = _import(name, where, module_name.strip())
    for attribute in path.split(".") if path else ():
        try:
            found = getattr(found, attribute)
        except BaseException as error:
            raise AgentNotLoadable(name, where, _cause(error) + _near(found, attribute)) from error
    if (problem := _problem(found)) is not None:
        raise AgentNotLoadable(name, where, problem)
    agent: Agent = found
    return agent


def load_module(where: str) -> dict[str, Agent]:
    """The agents that a module defines, by their names: its public async generator functions of one argument. Those in
    its `__all__` alone, where it has one. Where it declares agents (`@agent`), those alone, by the names that
    they were declared with, if any. Raises AgentNotLoadable, also where there is none, or two of one name."""
    module = _import("", where, where)
    public = getattr(module, "__all__", None)
    names = [name for name in vars(module) if not name.startswith("_")] if public is None else list(public)
    found: dict[str, Any] = {name: getattr(module, name, None) for name in names}
    if declared := _declared(found, where):
        return declared
    found = {name: each for name, each in found.items() if _is_defined_here(each, where)}
    if found:
        return found
    for name in names:
        each = getattr(module, name, None)
        if isinstance(each, FunctionType) and each.__module__ == where and name in ("agent", where.rpartition(".")[2]):
            raise AgentNotLoadable("", where, f"{name} is {_problem(each)}")
    raise AgentNotLoadable("", where, f"the module defines none; {_ASYNC_GENERATOR} that takes the context")


def _declared(found: Mapping[str, object], where: str) -> dict[str, Agent]:
    declared: dict[str, Agent] = {}
    for attribute, each in found.items():
        if isinstance(each, DeclaredAgent) and each.__module__ == where:
            name = each.options.name or attribute
            if declared.setdefault(name, each) is not each:
                raise AgentNotLoadable("", where, f"two agents are declared as {name!r}")
    return declared


def _import(name: str, where: str, module_name: str) -> ModuleType:
    if not all(part.isidentifier() for part in module_name.split(".")):
        raise AgentNotLoadable(name, where, "that is no package.module:attribute")
    try:
        return import_module(module_name)
    except BaseException as error:  # code of others, at its import: it may parse arguments and exit, or whatever else
        raise AgentNotLoadable(name, where, _what_failed(error, module_name)) from error


def _is_defined_here(found: object, module_name: str) -> bool:
    if not (isinstance(found, FunctionType) and inspect.isasyncgenfunction(found) and found.__module__ == module_name):
        return False
    parameters = inspect.signature(found).parameters.values()
    required = [each for each in parameters if each.default is each.empty and each.kind not in (2, 4)]
    return len(required) == 1 and required[0].kind is not inspect.Parameter.KEYWORD_ONLY


def _problem(found: Any) -> str | None:
    """Why it is no agent; None: it may be one."""
    if not callable(found):
        return f"not callable, but of type {type_name(type(found))}"
    function: Any = found
    while isinstance(function, partial):
        function = function.func
    function = inspect.unwrap(function)
    if isinstance(function, type):
        return f"a class: name an instance of it, or a method; {_ASYNC_GENERATOR}"
    if not isinstance(function, (FunctionType, MethodType)):
        function = getattr(type(function), "__call__", function)  # noqa: B004  its code is what counts
        is_instance = True
    else:
        is_instance = False
    if inspect.iscoroutinefunction(function):
        return f"a coroutine function, which never yields; {_ASYNC_GENERATOR}"
    if inspect.isgeneratorfunction(function):
        return f"a generator that is not async; {_ASYNC_GENERATOR}"
    if isinstance(function, FunctionType) and not is_instance and not _may_stream(function):
        return f"a function that is not async; {_ASYNC_GENERATOR}, or a function whose annotation says AsyncIterator"
    return None


def _may_stream(function: Callable[..., Any]) -> bool:
    """A plain function may hand on another one's events; its annotation says so."""
    returns = str(getattr(function, "__annotations__", {}).get("return", ""))
    return inspect.isasyncgenfunction(function) or any(word in returns for word in _STREAMS)


def _what_failed(error: BaseException, module_name: str) -> str:
    """The cause, and the file and line that it comes from, in one line."""
    if isinstance(error, SyntaxError):
        return f"{type_name(type(error))}: {error.msg} ({error.filename}, line {error.lineno})"
    cause = _cause(error)
    for frame, line in reversed(list(traceback.walk_tb(error.__traceback__))):
        if not _is_machinery(frame):
            return f"{cause} ({frame.f_code.co_filename}, line {line})"
    if isinstance(error, ModuleNotFoundError) and _names(error.name, module_name):
        return f"{cause}, looked for in {os.getcwd()} and on Python's path"
    return cause


def _is_machinery(frame: FrameType) -> bool:
    file = frame.f_code.co_filename
    return file.startswith(_NOT_THE_AUTHORS) or f"{os.sep}importlib{os.sep}" in file


def _names(missing: str | None, module_name: str) -> bool:
    """Whether the missing module is the one that was asked for, or a package above it."""
    return missing is not None and f"{module_name}.".startswith(f"{missing}.")


def _cause(error: BaseException) -> str:
    try:
        text = " ".join(str.__str__(str(error)).split())
    except BaseException:  # its own code may raise whatever it likes
        text = ""
    kind = type_name(type(error))
    return f"{kind}: {text}" if text else kind


def _near(owner: object, attribute: str) -> str:
    found = difflib.get_close_matches(attribute, [name for name in dir(owner) if not name.startswith("_")], 1)
    return f"; is {found[0]} meant?" if found else ""
