"""Whether etcd's access control, where it is on, can be relied on: releases that let users go round it are refused.

What was mended, and first in which releases (etcd's CHANGELOG): nested transactions were not checked
(GHSA-rfx7-8w68-q57q, 3.5.28 and 3.6.9); a transaction could bind a key to anybody's lease, and read what it replaced
(CVE-2026-44283, 3.5.30 and 3.6.11); a watch without an end saw every later key (GHSA-xg4h-6gfc-h4m8, 3.5.33, 3.6.14 and
3.7.1). So the least release is the last of these. Guarantees: each endpoint that answers is looked at; one that does
not is not. Asked once, at a process's start, where it has a user or a certificate for etcd.
"""

import re
from collections.abc import AsyncIterator, Sequence
from contextlib import asynccontextmanager

import structlog
from aetcd import rpc
from grpc import StatusCode

from agentring.cluster.etcd.channel import EtcdTls
from agentring.cluster.etcd.client import EtcdClient
from agentring.cluster.etcd.errors import EtcdError, EtcdPermissionDenied
from agentring.cluster.etcd.login import EtcdLogin

_LEAST = {(3, 5): 33, (3, 6): 14, (3, 7): 1}
"""The patch of each minor release; later ones have it all, earlier ones never got it all."""
_NEEDED = "3.5.33, 3.6.14 or 3.7.1"

_log = structlog.get_logger()


class EtcdTooOld(EtcdError):
    """etcd checks who may do what, and its release is known to let users go round it."""

    def __init__(self, version: str) -> None:
        """version: the release's; empty: it does not tell those who are not root, which later ones do."""
        super().__init__()
        self.args = (
            f"etcd {version or 'of a release that does not tell its version'} lets users go round its access control "
            f"(GHSA-rfx7-8w68-q57q, CVE-2026-44283, GHSA-xg4h-6gfc-h4m8): run etcd {_NEEDED}, or later",
        )


@asynccontextmanager
async def connected(
    endpoints: Sequence[str], tls: EtcdTls | None, login: EtcdLogin | None, timeout_s: float
) -> AsyncIterator[EtcdClient]:
    """A client, as a process has it from its start to its end. Raises EtcdTooOld, EtcdError, ValueError."""
    async with EtcdClient(endpoints, tls=tls, login=login, timeout_s=timeout_s) as etcd:
        if login is not None or (tls is not None and tls.certificate_chain is not None):
            checked = await check_release(etcd)
            if login is not None and not checked:
                _log.warning("etcd_checks_nobody", user=login.user)
        yield etcd


def is_fit(version: str) -> bool:
    """Whether users of this release cannot go round access control, as far as is known."""
    found = re.match(r"(\d+)\.(\d+)\.(\d+)(.*)", version)
    if found is None:
        return False
    minor, patch = (int(found[1]), int(found[2])), int(found[3])
    if minor in _LEAST:
        # Of the least release's own number only the release itself, not what was built on the way to it.
        return patch > _LEAST[minor] or (patch == _LEAST[minor] and not found[4].startswith("-"))
    return minor > max(_LEAST)


async def is_on(etcd: EtcdClient) -> bool:
    """Whether etcd checks who may do what. Raises EtcdError."""
    try:
        answer = await etcd.call(lambda channel: rpc.AuthStub(channel).AuthStatus, rpc.AuthStatusRequest())
        return bool(answer.enabled)
    except EtcdPermissionDenied:  # so it does
        return True
    except EtcdError as error:
        if error.code is not StatusCode.UNIMPLEMENTED:
            raise
    try:  # etcd 3.4 does not say, but lets everybody list users, or root alone
        await etcd.call(lambda channel: rpc.AuthStub(channel).UserList, rpc.AuthUserListRequest())
    except EtcdPermissionDenied:
        return True
    return False


async def check_release(etcd: EtcdClient) -> bool:
    """Whether access control is on. Raises EtcdTooOld where its release lets users go round it, EtcdError."""
    if not await is_on(etcd):
        return False
    await require_fit(etcd)
    return True


async def require_fit(etcd: EtcdClient) -> None:
    """Whether or not access control is on yet. Raises EtcdTooOld, EtcdError where no endpoint answers."""
    answers = await etcd.call_each(lambda channel: rpc.MaintenanceStub(channel).Status, rpc.StatusRequest())
    failures = [answer for answer in answers if isinstance(answer, EtcdError)]
    if any(isinstance(failure, EtcdPermissionDenied) for failure in failures):
        raise EtcdTooOld("")
    if len(failures) == len(answers):
        raise failures[0]
    for answer in answers:
        if not isinstance(answer, EtcdError) and not is_fit(answer.version):
            raise EtcdTooOld(answer.version)
