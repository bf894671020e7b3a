"""The state of a run as its agent has it: the session's JSON object, or what the agent was declared with.

Guarantees: what an agent was declared with is stored as JSON from which the same can be read again, in the version of
its code; a state that another version stored is migrated or refused, and never changed otherwise. Used by RunContext
(context.py).

The version is a key of the stored object, from version 2 on: so a node of a release that knows of no versions keeps it,
and what was stored without one is version 1.
"""

import json
from typing import Any

from agent_node.json_values import NotJson, to_state
from agent_node.typed_json import DoesNotFit, read, to_plain
from agentring.agent import JsonObject
from agentring.agent.declaration import AgentOptions
from agentring.plain_json import type_name

VERSION_KEY = "$agentring.version"


class StateTooNew(Exception):
    """The session's state was stored by newer code."""

    reason = "STATE_TOO_NEW"
    """Of the turn that fails with it."""

    def __init__(self, stored: int, known: int) -> None:
        """stored: its version; known: that of the code."""
        self.detail = (
            f"state $: version {stored}, and this node's agent has version {known}: "
            "replace the agent's code on all its nodes by the newer one"
        )
        """For people."""
        super().__init__(self.detail)


def open_state(options: AgentOptions, state_json: str) -> Any:
    """What the agent gets. Raises StateTooNew, NotJson, and what the agent's own migration raises."""
    state: JsonObject = json.loads(state_json)
    stored = state.pop(VERSION_KEY, 1) if VERSION_KEY in state else 1
    if stored > options.version:
        raise StateTooNew(stored, options.version)
    if stored < options.version and state and options.migrate is not None:
        state = options.migrate(state, stored)
    if options.state is None:
        return state
    try:
        return read(options.state, state)
    except DoesNotFit as error:
        older = f"; it was stored as version {stored}" if stored < options.version else ""
        advice = "" if options.migrate is not None else ": give @agent a `version` and `migrate` that makes it fit"
        raise NotJson("state", error.path, f"{error.problem}{older}{advice}") from error


def to_store(options: AgentOptions, state: Any, max_bytes: int) -> tuple[str, JsonObject]:
    """The state as it is stored, as JSON text, and as it is read from that. Raises NotJson."""
    if options.state is not None:
        state = _plain(options.state, state)
    text, plain = to_state(state, max_bytes)
    if VERSION_KEY in plain:
        raise NotJson("state", "$", f"the key {VERSION_KEY} is agentring's own")
    if options.version > 1:
        return to_state({**plain, VERSION_KEY: options.version}, max_bytes)
    return text, plain


def _plain(kind: type[Any], state: Any) -> Any:
    if not issubclass(type(state), kind):
        raise NotJson("state", "$", f"not a {type_name(kind)}, but of type {type_name(type(state))}")
    try:
        plain = to_plain(state)
        read(kind, plain)
    except DoesNotFit as error:
        raise NotJson("state", error.path, error.problem) from error
    except BaseException as error:  # the class's own code, or what has no end
        raise NotJson("state", "$", f"cannot be read ({type_name(type(error))})") from error
    return plain
