"""Wires with three nodes, whose calls wait for their session's next owner."""

from collections.abc import Iterator

import pytest

from agentring.http2.limits import Limits
from harness.http2 import Wire
from harness.http2_losses import Losing


@pytest.fixture
def losing() -> Losing:
    return Losing(Wire("a", "b", "c", limits=Limits()))


@pytest.fixture
def wire() -> Iterator[Wire]:
    """Three nodes, and calls that wait for their session's next owner."""
    yield (found := Wire("a", "b", "c", limits=Limits()))
    for client in found.clients:
        client.lose()
    for name in list(found.pool.held):
        found.pool.release(name, connected=False)
    found.close()
