"""One watch of etcd, as its responses come.

Guarantees: it ends, with an error that says why, when its stream ends, when etcd cancels it, and when not even a
progress notification comes for so long as may be silent; a stream without end whose etcd is gone is no watch. Used by
the etcd client.
"""

import asyncio
from collections.abc import AsyncGenerator
from typing import Any

from aetcd import rpc
from grpc import aio

from agentring.cluster.etcd.errors import (
    EtcdCompacted,
    EtcdError,
    EtcdPermissionDenied,
    EtcdSilent,
    EtcdTokenRefused,
    from_rpc_error,
)
from agentring.cluster.etcd.login import is_token_refused, metadata_of
from agentring.cluster.etcd.messages import prefix_end
from agentring.ids import Revision

# Writing to a stream that has already failed raises InvalidStateError instead of what it failed with.
CALL_FAILED = (aio.AioRpcError, asyncio.InvalidStateError)

_HAS_LEADER = (("hasleader", "true"),)
"""Lets etcd end a watch at a member that has lost touch with the others, instead of leaving it silent."""


async def watch_responses(
    channel: aio.Channel, prefix: str, from_revision: Revision, silence_s: float, token: str = ""
) -> AsyncGenerator[Any, None]:
    """Each WatchResponse under a prefix from a revision on, progress notifications too, until cancelled.

    Raises EtcdCompacted where from_revision is compacted, EtcdSilent after silence_s without a word (after half of it
    etcd is asked for one), EtcdTokenRefused, EtcdPermissionDenied, EtcdError where the stream breaks or ends. token:
    who calls; empty: nobody says.
    """
    call = rpc.WatchStub(channel).Watch(metadata=(*_HAS_LEADER, *metadata_of(token)))
    # One earlier than asked for, which etcd has reached: of a watch that begins in its future newer releases say
    # nothing (etcd issue 20221), so where nothing happens it would pass for one whose etcd is gone.
    start = max(1, from_revision - 1)
    create = rpc.WatchCreateRequest(
        key=prefix.encode(), range_end=prefix_end(prefix), start_revision=start, progress_notify=True
    )
    try:
        await call.write(rpc.WatchRequest(create_request=create))
        while (response := await _next(call, silence_s)) is not aio.EOF:
            if response.canceled:
                raise _why_canceled(response)
            while response.events and response.events[0].kv.mod_revision < from_revision:
                del response.events[0]
            yield response
        raise EtcdError(outcome_unknown=False)
    except CALL_FAILED as error:
        raise from_rpc_error(error) from None
    finally:
        call.cancel()


def _why_canceled(response: Any) -> EtcdError:
    if response.compact_revision:
        return EtcdCompacted()
    if is_token_refused(None, response.cancel_reason):
        return EtcdTokenRefused()
    if "permission denied" in response.cancel_reason:
        return EtcdPermissionDenied()
    return EtcdError(outcome_unknown=False)


async def _next(call: Any, silence_s: float) -> Any:
    """What it says next; where it is silent it is asked for its progress. That etcd lives is all that a progress
    notification is taken for: some releases sent it ahead of events (etcd issue 15220)."""
    reading = asyncio.ensure_future(call.read())
    try:
        for last in (False, True):
            await asyncio.wait([reading], timeout=silence_s / 2)
            if reading.done():
                return reading.result()
            if not last:
                await call.write(rpc.WatchRequest(progress_request=rpc.WatchProgressRequest()))
        raise EtcdSilent
    finally:
        if not reading.done():
            reading.cancel()
            await asyncio.wait([reading])
        if not reading.cancelled():
            reading.exception()  # where the write has failed with it, that it has is known already
