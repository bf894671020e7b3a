"""The agents that a node hosts: those installed (entry point group `agentring.agents`) and those given by --agent, but
for those that require a label which the node does not have.

A node announces the agents it hosts, and only nodes that host a session's agent are candidates for it. So with the same
`--require` everywhere, a session's agent is led to the nodes with its labels, and nothing but the nodes needs to know.
"""

import inspect
from collections.abc import Mapping, Sequence
from importlib.metadata import EntryPoint, entry_points

from agent_node.agent import Agent

GROUP = "agentring.agents"


class AgentNotLoadable(Exception):
    """An agent's module or attribute is not there, or is not callable."""

    def __init__(self, name: str, where: str, why: str) -> None:
        """where: package.module:attribute."""
        super().__init__(f"agent {name!r} cannot be loaded from {where!r}: {why}")


def load_agents(given: Sequence[str]) -> Mapping[str, Agent]:
    """Agents by name; `given` (name=package.module:attribute) come before installed ones. Raises AgentNotLoadable."""
    points = list(entry_points(group=GROUP))
    for pair in given:
        name, _, where = pair.partition("=")
        points.append(EntryPoint(name, where, GROUP))
    return {point.name: _load(point) for point in points}


def hosted(agents: Mapping[str, Agent], required: Sequence[str], labels: Mapping[str, str]) -> Mapping[str, Agent]:
    """The agents whose labels the node has. required: agent:key=value of each label that an agent asks for; an agent
    that is not among `agents` may be named."""
    unmet = set()
    for word in required:
        name, _, label = word.partition(":")
        key, _, value = label.partition("=")
        if labels.get(key) != value:
            unmet.add(name)
    return {name: agent for name, agent in agents.items() if name not in unmet}


def _load(point: EntryPoint) -> Agent:
    try:
        agent = point.load()
    except (ImportError, AttributeError, ValueError) as error:
        raise AgentNotLoadable(point.name, point.value, type(error).__name__) from error
    if not callable(agent):
        raise AgentNotLoadable(point.name, point.value, "not callable")
    if inspect.iscoroutinefunction(agent):
        raise AgentNotLoadable(point.name, point.value, "a coroutine function, which never yields")
    loaded: Agent = agent
    return loaded
