"""The loads: how many callers take turns of how many sessions, and how they ask."""

from dataclasses import dataclass

from benchmarks.turns.systems import NODES

SESSIONS = 200
IDLE_STREAMS = 1000
"""A node, where a load has any: half of them conversations, half watchers."""
_CONNECTIONS = 4


@dataclass(frozen=True, slots=True)
class Load:
    """One load of the client (benchmarks/router/native/turns.cc)."""

    name: str
    about: str
    flags: dict[str, str]


def _load(kind: str, name: str, about: str, callers: int, idle_streams: int = 0) -> Load:
    flags = {
        "load": kind,
        "streams": str(callers),
        "sessions": str(max(SESSIONS, callers)),
        "idle": str(idle_streams * NODES),
        "connections": str(_CONNECTIONS),
    }
    return Load(name, about, flags)


ALL = (
    *(_load("turns", f"run-turn-{n}", f"RunTurn, {n} callers", n) for n in (1, 64, 512)),
    *(_load("conversations", f"converse-{n}", f"Converse, {n} callers", n) for n in (1, 64, 512)),
    *(
        _load("first-turns", f"new-sessions-{n}", f"RunTurn, each of a new session, {n} callers", n)
        for n in (1, 64, 512)
    ),
    *(
        _load(
            "turns", f"beside-idle-{n}", f"RunTurn, {n} callers, {IDLE_STREAMS:,} idle streams a node", n, IDLE_STREAMS
        )
        for n in (64, 512)
    ),
)
LOADS = {load.name: load for load in ALL}
