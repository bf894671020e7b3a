"""The time, and what stands for chance, in a run: the same in every attempt."""

import uuid
from datetime import UTC, datetime

from agent_node.step.steps import Steps


async def now(steps: Steps) -> datetime:
    """As Context.now."""
    value = await steps.noted("now", lambda: str(steps.clock.now_ns()).encode())
    return datetime.fromtimestamp(int(value) / 1e9, UTC)


def random_uuid(steps: Steps) -> uuid.UUID:
    """As Context.uuid."""
    return uuid.UUID(bytes=steps.derived("uuid"), version=4)


def random_number(steps: Steps) -> float:
    """As Context.random."""
    return (int.from_bytes(steps.derived("random")[:7], "big") >> 3) / (1 << 53)
