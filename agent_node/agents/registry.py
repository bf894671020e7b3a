"""The agents that a node hosts: the installed ones (entry point group `agentring.agents`) and those of --agent, without
those that require a label which the node does not have.

A node announces the agents it hosts, and only nodes that host a session's agent are candidates for it. So with the same
`--require` on all nodes an agent's sessions go to the nodes with its labels, and only the nodes need to know of it.
"""

import inspect
import os
import traceback
from collections.abc import Mapping, Sequence
from importlib.metadata import EntryPoint, entry_points

import structlog

from agentring.agent import Agent

_HERE = __file__
_log = structlog.get_logger()

GROUP = "agentring.agents"


class AgentNotLoadable(Exception):
    """An agent's module or attribute is not there or fails, or is not callable."""

    def __init__(self, name: str, where: str, why: str) -> None:
        """where: package.module:attribute."""
        super().__init__(f"agent {name!r} cannot be loaded from {where!r}: {why}")


def load_agents(flags: Sequence[str]) -> Mapping[str, Agent]:
    """Agents by name; those of `flags` (name=package.module:attribute) replace installed ones of the same name.

    An installed one that cannot be loaded is logged and left out: one package must not stop the others. Raises
    AgentNotLoadable for one of `flags`.
    """
    agents: dict[str, Agent] = {}
    named = dict(pair.split("=", 1) for pair in flags)
    for point in entry_points(group=GROUP):
        if point.name not in named:
            try:
                agents[point.name] = _load(point)
            except AgentNotLoadable as error:
                _log.error("agent_left_out", agent=point.name, why=str(error))
    for name, where in named.items():
        agents[name] = _load(EntryPoint(name, where, GROUP))
    return agents


def hosted(agents: Mapping[str, Agent], required: Sequence[str], labels: Mapping[str, str]) -> Mapping[str, Agent]:
    """The agents whose labels the node has. required: agent:key=value of each label that an agent asks for; an agent
    that is not among `agents` may be named."""
    unmet = set()
    for requirement in required:
        name, _, label = requirement.partition(":")
        key, _, value = label.partition("=")
        if labels.get(key) != value:
            unmet.add(name)
    return {name: agent for name, agent in agents.items() if name not in unmet}


def _load(point: EntryPoint) -> Agent:
    try:
        agent = point.load()
    except BaseException as error:  # code of others, at its import: it may parse arguments and exit, or whatever else
        raise AgentNotLoadable(point.name, point.value, _what_failed(error)) from error
    if not callable(agent):
        raise AgentNotLoadable(point.name, point.value, "not callable")
    if inspect.iscoroutinefunction(agent):
        raise AgentNotLoadable(point.name, point.value, "a coroutine function, which never yields")
    loaded: Agent = agent
    return loaded


def _what_failed(error: BaseException) -> str:
    """The cause, and the file and line that it comes from, in one line."""
    text = " ".join(str(error).split())
    cause = f"{type(error).__name__}: {text}" if text else type(error).__name__
    if isinstance(error, SyntaxError):
        return cause  # it names its place itself
    for frame, line in reversed(list(traceback.walk_tb(error.__traceback__))):
        file = frame.f_code.co_filename
        if not file.startswith(("<frozen", _HERE)) and f"{os.sep}importlib{os.sep}" not in file:
            return f"{cause} ({file}, line {line})"
    return cause
