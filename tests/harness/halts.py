"""Halts as tests make them."""

from itertools import count

from agentring.cluster.halts import Halt, HaltScope
from agentring.v1.halt_pb2 import HALT_KIND_AGENT, HALT_KIND_ALL, HALT_KIND_SESSION, HALT_KIND_TENANT

EVERYTHING = HaltScope(HALT_KIND_ALL)
_numbers = count(1)


def session(session_id: str = "s", tenant: str = "default") -> HaltScope:
    return HaltScope(HALT_KIND_SESSION, tenant, session_id)


def agent(name: str, tenant: str = "default") -> HaltScope:
    return HaltScope(HALT_KIND_AGENT, tenant, name)


def everywhere(name: str) -> HaltScope:
    return HaltScope(HALT_KIND_ALL, "", name)


def tenant(name: str = "default") -> HaltScope:
    return HaltScope(HALT_KIND_TENANT, name)


def halted(scope: HaltScope = EVERYTHING, *, hold: bool = False) -> Halt:
    """One with an id of its own."""
    return Halt(scope, f"halt-{next(_numbers)}", hold, "ada", 1_700_000_000_000_000_000, "a test")
