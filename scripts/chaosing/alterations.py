"""What can be changed in a node for a test: failpoints, and protections taken away.

The product has no hooks for this: a node is started through altered_node.py, which changes its classes before it runs.
A failpoint stops the process (SIGSTOP) at one point, the next time that it gets there after its trigger file appeared;
whoever made the file lets it go on. A mutation removes one protection, for the control that the checker then goes red.
"""

import os
import signal
import sys
import time
from collections.abc import Callable
from pathlib import Path
from typing import Any

from agentring.cluster.etcd import EtcdClient
from agentring.cluster.etcd_errors import EtcdError
from agentring.cluster.lease import RENEWAL_DEADLINES_PER_TTL, RENEWALS_PER_TTL, FenceReason, Lease

Alteration = Callable[[Path], None]
"""Changes the classes; it is given the trigger file."""

_HOUR_S = 3_600
_WRITERS = ("_write",)
"""Functions that check the fence right before a write to the store."""


def stop_before_write(trigger: Path) -> None:
    """Failpoint: the fence was checked, the write to the store comes next."""
    check = Lease.check

    def stopping(self: Lease) -> None:
        check(self)
        if _called_by(_WRITERS):
            _stop_if_armed(trigger)

    _replace(Lease, "check", stopping)


def stop_in_renewal(trigger: Path) -> None:
    """Failpoint: a renewal's answer has come, and has not been counted yet."""
    keep_alive = EtcdClient.keep_alive

    async def stopping(self: EtcdClient, lease_id: int, *, timeout_s: float) -> int:
        ttl_s = await keep_alive(self, lease_id, timeout_s=timeout_s)
        _stop_if_armed(trigger)
        return ttl_s

    _replace(EtcdClient, "keep_alive", stopping)


def jump_wall_clock(trigger: Path) -> None:
    """The wall clock is an hour ahead while the trigger file is there. (As libfaketime does it, but only for Python's
    own readings of time.time and time.time_ns, which are all that the node has.)"""
    wall_s, wall_ns = time.time, time.time_ns
    _replace(time, "time", lambda: wall_s() + _HOUR_S * trigger.exists())
    _replace(time, "time_ns", lambda: wall_ns() + _HOUR_S * 10**9 * trigger.exists())


def no_fence(_: Path) -> None:
    """Mutation: the node never stops by itself, whatever becomes of its lease."""

    def check(_: Lease) -> None:
        """Lets everything through."""

    def fence(self: Lease, reason: FenceReason) -> None:
        if reason is FenceReason.REVOKED:
            original(self, reason)

    async def keep(self: Any) -> FenceReason:
        while self.reason is None:
            await self._clock.sleep(self._ttl_s / RENEWALS_PER_TTL)
            try:
                await self._etcd.keep_alive(self.lease_id, timeout_s=self._ttl_s / RENEWAL_DEADLINES_PER_TTL)
            except EtcdError:
                continue
        assert isinstance(self.reason, FenceReason)
        return self.reason

    original = Lease.fence
    _replace(Lease, "check", check)
    _replace(Lease, "fence", fence)
    _replace(Lease, "keep", keep)


def extend_late(trigger: Path) -> None:
    """Mutation: a renewal extends the lease from when its answer came, however late that is. With the failpoint."""
    stop_in_renewal(trigger)

    async def renew(self: Any) -> None:
        self._sent_at_s = self._clock.now_s()
        try:
            await self._etcd.keep_alive(self.lease_id, timeout_s=self._ttl_s / RENEWAL_DEADLINES_PER_TTL)
        except EtcdError:
            return
        self._fence_at_s = self._clock.now_s() + self._ttl_s - self._margin_s

    _replace(Lease, "_renew", renew)


ALTERATIONS: dict[str, Alteration] = {
    "stop-before-write": stop_before_write,
    "stop-in-renewal": stop_in_renewal,
    "jump-wall-clock": jump_wall_clock,
    "no-fence": no_fence,
    "extend-late": extend_late,
}


def _stop_if_armed(trigger: Path) -> None:
    if trigger.exists():
        trigger.unlink()
        os.kill(os.getpid(), signal.SIGSTOP)


def _called_by(names: tuple[str, ...]) -> bool:
    """Whether one of the functions is among the nearest callers."""
    frame = sys._getframe(2)
    for _ in range(3):
        if frame.f_code.co_name in names:
            return True
        if frame.f_back is None:
            return False
        frame = frame.f_back
    return False


def _replace(owner: Any, name: str, value: Any) -> None:
    assert hasattr(owner, name), name
    setattr(owner, name, value)
