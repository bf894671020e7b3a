"""The limits that the process has read, and what they have refused since it began. Read again when the file changes."""

from collections.abc import Awaitable, Callable
from pathlib import Path

from agent_node.quota.limits import LimitTable, parse_limits
from agent_node.quota.quota import Quota
from agent_node.quota.refusals import Refusals
from agent_node.quota.share import OwnShare
from agentring.cluster.snapshot import MembershipSnapshot
from agentring.ids import NodeId
from agentring.process.polled_file import PolledFile


class LimitsInUse:
    """Of one process. Resource handling: each incarnation runs `run()`."""

    def __init__(self, path: Path, *, names_tenants: bool) -> None:
        """path: of the operator's file; names_tenants: in metrics. Raises FileRefused."""
        self.names_tenants = names_tenants
        self._file = PolledFile(path, parse_limits)
        self.refusals = Refusals()

    @property
    def table(self) -> LimitTable:
        """As of the latest version that could be used."""
        return self._file.current

    def quota(
        self, node_id: NodeId, membership: Callable[[], MembershipSnapshot | None], now_s: Callable[[], float]
    ) -> Quota:
        """Counts of an incarnation that begins. membership: as it is now; now_s: a clock that never goes back."""
        own = OwnShare(node_id)
        return Quota(lambda: self._file.current, lambda: own.of(membership()), now_s, self.refusals)

    async def run(self, sleep: Callable[[float], Awaitable[None]], changed: Callable[[], None]) -> None:
        """Reads the file again whenever it has changed, until cancelled. changed: called once other limits are in
        use."""
        await self._file.poll(sleep, changed)


def open_limits(path: Path | None, *, names_tenants: bool) -> LimitsInUse | None:
    """Those of a file; None: there is none. Raises FileRefused."""
    return None if path is None else LimitsInUse(path, names_tenants=names_tenants)
