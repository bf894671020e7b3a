"""The halts that a durable store keeps, so that a restore of etcd loses none."""

from collections.abc import Sequence
from typing import Protocol

from agentring.cluster.halts import Halt, HaltScope


class HaltStore(Protocol):
    """One halt a scope. Every method raises StoreUnavailable."""

    async def read(self) -> Sequence[Halt]:
        """All of them."""

    async def keep(self, halt: Halt) -> None:
        """In the place of an earlier one of its scope; one that is there already is not written again."""

    async def remove(self, scope: HaltScope) -> None:
        """That of a scope, if there is one."""
