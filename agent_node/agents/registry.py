"""The agents that a node hosts: the installed ones (entry point group `agentring.agents`) and those of --agent, without
those that require a label which the node does not have.

Guarantees: one that cannot be loaded is left out, in one line of the log, and stops none of the others.

A node announces the agents it hosts, and only nodes that host a session's agent are candidates for it. So with the same
`--require` on all nodes an agent's sessions go to the nodes with its labels, and only the nodes need to know of it.
"""

import os
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from importlib.metadata import entry_points
from pathlib import Path
from typing import Any

import structlog

from agent_node.agents.agent_settings import SettingsWrong, read_file, read_settings
from agent_node.agents.loading import AgentNotLoadable, load_agent, load_module
from agentring.agent import Agent
from agentring.agent.declaration import options_of

_log = structlog.get_logger()

GROUP = "agentring.agents"


@dataclass(frozen=True, slots=True)
class LoadedAgents:
    """What was found."""

    by_name: Mapping[str, Agent]
    left_out: tuple[str, ...]
    """A line for each one that cannot be loaded."""
    settings: Mapping[str, Any] = field(default_factory=dict)
    """Those that agents declare, by the agents' names."""


def load_agents(flags: Sequence[str], settings_file: Path | None = None) -> LoadedAgents:
    """flags: name=package.module:attribute, or package.module for all agents that it defines. They replace installed
    ones of the same name, also where they cannot be loaded: another one must not stand in for them; and come first.
    settings_file: has settings that the agents declare, beside the environment."""
    agents: dict[str, Agent] = {}
    left_out: list[str] = []
    named = dict(pair.split("=", 1) for pair in flags if "=" in pair)

    def leave_out(name: str, error: AgentNotLoadable) -> None:
        left_out.append(str(error))
        _log.error("agent_left_out", agent=name, why=str(error))

    modules: dict[str, Agent] = {}
    places: dict[str, str] = {}
    for where in (flag for flag in flags if "=" not in flag):
        try:
            modules.update(found := load_module(where))
            places.update(dict.fromkeys(found, where))
        except AgentNotLoadable as error:
            leave_out(where, error)
    installed = {point.name: point.value for point in entry_points(group=GROUP)}
    others = {name: where for name, where in installed.items() if name not in named and name not in modules}
    for name, where in {**named, **others}.items():  # those of the flags first
        try:
            agents[name] = load_agent(name, where)
            places[name] = where
        except AgentNotLoadable as error:
            leave_out(name, error)
    found = {**modules, **agents}
    file, settings = read_file(settings_file), {}
    for name, agent in list(found.items()):
        if (kind := options_of(agent).settings) is None:
            continue
        try:
            settings[name] = read_settings(name, kind, os.environ, file)
        except SettingsWrong as error:
            leave_out(name, AgentNotLoadable(name, places[name], str(error)))
            del found[name]
    return LoadedAgents(found, tuple(left_out), settings)


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
