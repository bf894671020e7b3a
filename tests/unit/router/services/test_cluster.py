"""What is asked of a node that is away for a moment."""

import asyncio
from types import SimpleNamespace
from typing import Any, cast

import pytest

from agentring.errors import NodeNotFound
from router.services import cluster
from router.services.cluster import ClusterService


class Membership:
    """Each snapshot in turn; after the last nothing changes."""

    def __init__(self, *nodes: tuple[str, ...]) -> None:
        self._left = [SimpleNamespace(nodes={name: name for name in names}) for names in nodes]

    async def next(self, _after: object) -> SimpleNamespace:
        if not self._left:
            await asyncio.Event().wait()
        return self._left.pop(0)


def service(membership: Membership) -> ClusterService:
    unused = cast(Any, None)
    return ClusterService(unused, unused, cast(Any, membership), unused, unused)


async def test_a_node_between_two_registrations_is_waited_for() -> None:
    membership = Membership(("n2",), ("n2",), ("n1", "n2"))
    found: object = await service(membership)._registered_soon("n1")
    assert found == "n1"


async def test_a_node_that_does_not_come_is_not_found(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(cluster, "_AWAY_S", 0.01)
    with pytest.raises(NodeNotFound):
        await service(Membership(("n2",)))._registered_soon("n1")
