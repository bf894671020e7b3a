"""The loads: how many callers take turns of how many sessions, and how they ask."""

from dataclasses import dataclass

SESSIONS = 200


@dataclass(frozen=True, slots=True)
class Load:
    """One load of the client (benchmarks/router/native/turns.cc)."""

    name: str
    about: str
    flags: dict[str, str]
    needs_converse: bool = False


def _load(kind: str, name: str, about: str, callers: int, sessions: int = SESSIONS) -> Load:
    flags = {"load": kind, "streams": str(callers), "sessions": str(max(sessions, callers)), "connections": "4"}
    return Load(name, about, flags, needs_converse=kind == "conversations")


ALL = (
    *(_load("turns", f"run-turn-{n}", f"RunTurn, {n} callers", n) for n in (1, 64, 512)),
    *(_load("conversations", f"converse-{n}", f"Converse, {n} callers", n) for n in (1, 64, 512)),
    _load("first-turns", "new-sessions-64", "RunTurn, each of a new session, 64 callers", 64),
)
LOADS = {load.name: load for load in ALL}
