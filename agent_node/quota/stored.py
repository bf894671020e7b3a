"""What tenants have stored: as of the last measure, and what has come here since.

Guarantees: between two measures a node lets in its part of the room that the last one has left, and of a tenant that
was not measured yet its part of a twentieth of the limit. The tenants that were asked about are measured, one after the
other, with pauses of twenty times as long. As many tenants as may be are remembered, the
one that was asked about longest ago goes first.
"""

from collections import OrderedDict
from collections.abc import Awaitable, Callable

import structlog

from agent_node.quota.share import Share
from agentring.errors import StoreUnavailable
from agentring.ids import TenantId

MEASURE_S = 10.0
_REST = 20
_UNKNOWN = 20
_MOST = 10_000

_log = structlog.get_logger()


class _Tenant:
    __slots__ = ("came_bytes", "is_asked", "measured_bytes")

    def __init__(self) -> None:
        self.measured_bytes: int | None = None
        self.came_bytes = 0
        self.is_asked = True


class StoredBytes:
    """Of one incarnation."""

    def __init__(self, most: int = _MOST) -> None:
        self._most = most
        self._tenants: OrderedDict[TenantId, _Tenant] = OrderedDict()

    def has_room(self, tenant: TenantId, limit: int, size_bytes: int, share: Share) -> bool:
        """Whether the tenant may store so many more."""
        known = self._tenants.get(tenant)
        if known is None:
            known = self._tenants[tenant] = _Tenant()
            if len(self._tenants) > self._most:
                self._tenants.popitem(last=False)
        known.is_asked = True
        self._tenants.move_to_end(tenant)
        left = limit // _UNKNOWN if known.measured_bytes is None else max(0, limit - known.measured_bytes)
        return known.came_bytes + size_bytes <= share.of_count(left)

    def add(self, tenant: TenantId, size_bytes: int) -> None:
        """They come; has_room has just said that they may."""
        self._tenants[tenant].came_bytes += size_bytes

    async def run(
        self,
        measure: Callable[[TenantId], Awaitable[int]],
        sleep: Callable[[float], Awaitable[None]],
        now_s: Callable[[], float],
    ) -> None:
        """Measures, until cancelled. measure: raises StoreUnavailable."""
        pause_s = MEASURE_S
        while True:
            await sleep(pause_s)
            began_s = now_s()
            for tenant, known in list(self._tenants.items()):
                if known.is_asked:
                    known.is_asked, came_bytes = False, known.came_bytes
                    try:
                        known.measured_bytes = await measure(tenant)
                    except StoreUnavailable:
                        known.is_asked = True
                        _log.info("stored_bytes_not_measured")  # the next time
                        break
                    known.came_bytes -= came_bytes
            pause_s = max(MEASURE_S, _REST * (now_s() - began_s))
