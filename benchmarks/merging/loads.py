"""What the client is told to do and what it tells in the end: two JSON lines. Shared by the bench and its client."""

from dataclasses import dataclass


@dataclass(frozen=True, slots=True)
class Load:
    """One kind of load."""

    name: str
    about: str
    sessions: int
    """How many stream at the same time."""
    rate: float | None
    """Tokens per second in each; None: as fast as it goes, turn after turn."""
    tokens: int
    """In one turn. Where there is a rate, one turn lasts for the whole of the load."""


@dataclass(frozen=True, slots=True)
class Order:
    """What one client does."""

    address: str
    node_pid: int
    run: str
    """Part of the sessions' names."""
    sessions: int
    rate: float | None
    tokens: int
    warm_s: float
    seconds: float


@dataclass(frozen=True, slots=True)
class Figures:
    """What one client has seen in its measured interval. Every turn was complete, those that ended later too."""

    elapsed_s: float
    events: int
    """Numbers of the stories that came, merged or not."""
    responses: int
    node_cpu_s: float
    client_cpu_s: float
    turns: int
    p50_ms: float | None
    p99_ms: float | None


def loads_of(sessions: int, tokens: int, rate: float, crowd: int, lasts_s: float) -> tuple[Load, ...]:
    """The bench's loads; lasts_s: how long each of them goes on."""
    paced_tokens = int(rate * lasts_s) + 1
    return (
        Load("fast", f"{sessions} sessions, turns of {tokens:,} tokens as fast as they go", sessions, None, tokens),
        Load("paced", f"{sessions} sessions, {rate:g} tokens/s in each", sessions, rate, paced_tokens),
        Load(
            "crowded",
            f"{sessions * crowd} sessions, {rate:g} tokens/s in each",
            sessions * crowd,
            rate,
            paced_tokens,
        ),
    )
