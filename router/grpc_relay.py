"""The relay as a byte proxy on grpc.aio: whole gRPC messages, undecoded, in both directions.

One call's way: `_RelayedCall.run` finds out what the call is about (route.py), walks the nodes (owner.py) with an
`_attempt` each, and carries the answers of the one that accepts. A node accepts by its initial metadata; until then
nothing has reached the client and the client's messages are kept, so another node can be tried. Cancellation,
half-close, deadline, metadata, trailers and status pass through.

Guarantees: a client never sees another process's transport error: it gets NODE_UNREACHABLE with an ErrorInfo. Costs
about 50 us of CPU a message; a relay of HTTP/2 frames takes its place behind the same interface.
"""

from __future__ import annotations  # grpc's classes are generic only in their stubs

import asyncio
import time
import uuid
from dataclasses import dataclass
from functools import partial
from typing import Any

import grpc
import structlog
from grpc import aio

from agentring import metadata
from agentring.errors import (
    AgentringError,
    InternalError,
    MethodNotImplemented,
    NodeUnreachable,
)
from agentring.ids import NodeId
from agentring.rpc.limits import CHANNEL_OPTIONS, SERVER_OPTIONS, check_metadata
from agentring.rpc.server import CannotListen
from agentring.rpc.service import abort
from agentring.rpc.status import STATUS_DETAILS, trailers
from router import route
from router.client_messages import ClientMessages
from router.owner import OwnerLookup, Target, Walk
from router.ring_view import RingView
from router.route import Destination, Route
from router.upstream import Upstreams

_log = structlog.get_logger()

Pairs = tuple[tuple[str, str | bytes], ...]


class GrpcRelay(grpc.GenericRpcHandler):
    """A Relay (router/relay.py)."""

    def __init__(
        self,
        listen: str,
        lookup: OwnerLookup,
        upstreams: Upstreams,
        view: RingView,
        own_services: str,
        *,
        first_frame_timeout_s: float,
    ) -> None:
        """own_services: address of the router's own services, `unix:path`. Raises CannotListen."""
        self.lookup = lookup
        self.upstreams = upstreams
        self.view = view
        self.first_frame_timeout_s = first_frame_timeout_s
        self.own_services = aio.insecure_channel(own_services, options=CHANNEL_OPTIONS)
        self._server = aio.server(options=SERVER_OPTIONS)
        self._server.add_generic_rpc_handlers((self,))
        try:
            port = self._server.add_insecure_port(listen)
        except RuntimeError:
            raise CannotListen(listen) from None
        self._address = f"{listen.rpartition(':')[0]}:{port}"

    @property
    def address(self) -> str:
        """As Relay."""
        return self._address

    async def start(self) -> None:
        """As Relay."""
        await self._server.start()

    async def stop(self, grace_s: float) -> None:
        """As Relay."""
        await self._server.stop(grace_s)
        await self.own_services.close()

    def service(self, handler_call_details: grpc.HandlerCallDetails) -> grpc.RpcMethodHandler[Any, Any] | None:
        """Every method, of whatever kind, as a stream of bytes each way."""
        return grpc.stream_stream_rpc_method_handler(partial(self._handle, handler_call_details.method))

    async def _handle(self, method: str, _requests: object, context: aio.ServicerContext[Any, Any]) -> None:
        call = _RelayedCall(self, method, context)
        try:
            try:
                await call.run()
            except* AgentringError as group:
                raise _first_leaf(group) from None
        except AgentringError as error:
            await context.abort(error.code, error.sentence, route.client_metadata(trailers(error)))
        except (aio.AbortError, asyncio.CancelledError):
            raise
        except Exception:
            error_id = uuid.uuid4().hex[:16]
            _log.exception("relay_failed", method=method, error_id=error_id)
            await abort(context, InternalError(error_id))


@dataclass(frozen=True, slots=True)
class _NotTaken:
    """An attempt ended before a node accepted: it redirected, refused, or (neither) could not be reached."""

    redirect: Target | None = None
    refused: str | None = None


class _RelayedCall:
    """One call of one client."""

    def __init__(self, relay: GrpcRelay, method: str, context: aio.ServicerContext[Any, Any]) -> None:
        self._relay = relay
        self._method = method
        self._context = context
        self._pairs: Pairs = tuple(context.invocation_metadata() or ())
        self._headers = {name: value for name, value in self._pairs if isinstance(value, str)}
        self._messages = ClientMessages(self._read)
        self._accepted = False
        self._status_lost = False
        self._client_error: AgentringError | None = None
        """What the client sent that cannot be carried."""
        remaining_s = context.time_remaining()
        self._deadline_s = time.monotonic() + remaining_s if remaining_s is not None else None

    async def run(self) -> None:
        """Carries the call to its end. Raises AgentringErrors, also in a group."""
        check_metadata(self._pairs)
        async with asyncio.TaskGroup() as group:
            reader = group.create_task(self._messages.run())
            match route.destination(self._method, self._headers):
                case Destination.NOBODY:
                    # As a node does it (agentring/rpc/service.py): not before the message that is being written.
                    await self._messages.first(self._relay.first_frame_timeout_s)
                    raise MethodNotImplemented
                case Destination.ROUTER:
                    await self._attempt(self._relay.own_services, route.upstream_metadata(self._pairs, None, ""), None)
                case Destination.ANY_NODE:
                    target = self._relay.lookup.any_node()
                    pairs = route.upstream_metadata(self._pairs, None, "")
                    async with self._relay.upstreams.use(target) as channel:
                        await self._attempt(channel, pairs, None)
                case _:
                    await self._to_owner()
            reader.cancel()

    async def _to_owner(self) -> None:
        about = route.from_headers(self._method, self._headers) or await self._from_first_message()
        pairs = route.upstream_metadata(self._pairs, about, uuid.uuid4().hex)
        walk = self._relay.lookup.walk(about.ref, about.agent)
        target = walk.first()
        while True:
            async with self._relay.upstreams.use(target) as channel:
                not_taken = await self._attempt(channel, pairs, (walk, target))
            match not_taken:
                case None:
                    return
                case _NotTaken(redirect=Target() as owner):
                    target = walk.redirected(owner)
                case _NotTaken(refused=str() as refusal):
                    target = walk.refused(refusal)
                case _:
                    target = walk.unreachable(target)

    async def _from_first_message(self) -> Route:
        raw = await self._messages.first(self._relay.first_frame_timeout_s)
        return route.from_message(self._method, self._headers, raw if raw is not None else b"")

    async def _attempt(self, channel: aio.Channel, pairs: Pairs, walk: tuple[Walk, Target] | None) -> _NotTaken | None:
        """Tries one upstream; None: it took the call, which is over. Raises NodeUnreachable if that broke off."""
        timeout_s = None if self._deadline_s is None else max(0.001, self._deadline_s - time.monotonic())
        upstream: aio.StreamStreamCall[bytes, bytes] = channel.stream_stream(self._method)(
            timeout=timeout_s, metadata=pairs
        )
        try:
            async with asyncio.TaskGroup() as group:
                pump = group.create_task(self._pump(upstream))
                try:
                    not_taken = await self._carry_answers(upstream, walk)
                except (asyncio.CancelledError, AgentringError):
                    task = asyncio.current_task()
                    if self._client_error is None or task is None or task.cancelling():
                        raise
                    not_taken = None
                pump.cancel()
                if self._client_error is not None:
                    raise self._client_error
                return not_taken
        finally:
            upstream.cancel()

    async def _pump(self, upstream: aio.StreamStreamCall[bytes, bytes]) -> None:
        """The client's messages to the node, and the end of them."""
        place = 0
        while True:
            try:
                message = await self._messages.get(place)
            except AgentringError as error:
                # Ended from the upstream's side: a write to the client, cut off in the middle, would block the status.
                self._client_error = error
                upstream.cancel()
                return
            if message is None:
                break
            try:
                await upstream.write(message)
            except (aio.AioRpcError, asyncio.InvalidStateError) as error:
                # The call is over; its status says why, unless grpc.aio has put its own in the place of one that
                # overtook this message.
                self._status_lost = isinstance(error, aio.AioRpcError) and error.code() is grpc.StatusCode.INTERNAL
                return
            place += 1
        await upstream.done_writing()

    async def _carry_answers(
        self, upstream: aio.StreamStreamCall[bytes, bytes], walk: tuple[Walk, Target] | None
    ) -> _NotTaken | None:
        initial = tuple(await upstream.initial_metadata())
        if any(name == metadata.NODE for name, _ in initial) or walk is None:
            await self._accept(initial, walk)
        try:
            while (message := await upstream.read()) is not aio.EOF:
                await self._accept(initial, walk)
                await self._context.write(message)
        except aio.AioRpcError:
            pass  # the status below
        return await self._carry_status(upstream)

    async def _accept(self, initial: Pairs, walk: tuple[Walk, Target] | None) -> None:
        if self._accepted:
            return
        self._accepted = True
        self._messages.accept()
        if walk is not None:
            walk[0].accepted(walk[1])
            revision = str(self._relay.view.ring.revision)
            initial = (*route.client_metadata(initial), (metadata.RING, revision))
        if initial:
            await self._context.send_initial_metadata(initial)

    async def _carry_status(self, upstream: aio.StreamStreamCall[bytes, bytes]) -> _NotTaken | None:
        code = await upstream.code()
        trailing: Pairs = tuple(await upstream.trailing_metadata() or ())
        told = dict(trailing)
        transport = (grpc.StatusCode.UNAVAILABLE, grpc.StatusCode.CANCELLED)
        broken = STATUS_DETAILS not in told and (code in transport or self._status_lost)
        if broken and self._accepted:
            raise NodeUnreachable
        if not self._accepted:
            if broken:
                return _NotTaken()
            if (redirect := told.get(metadata.REDIRECT)) is not None:
                node_id, _, address = str(redirect).partition(" ")
                return _NotTaken(redirect=Target(NodeId(node_id), address))
            if (refused := told.get(metadata.REFUSED)) is not None:
                return _NotTaken(refused=str(refused))
        self._context.set_trailing_metadata(route.client_metadata(trailing))
        self._context.set_code(code)
        self._context.set_details(await upstream.details() or "")
        return None

    async def _read(self) -> bytes | None:
        message = await self._context.read()
        return None if message is aio.EOF else message


def _first_leaf(group: BaseExceptionGroup[AgentringError]) -> AgentringError:
    error: BaseException = group
    while isinstance(error, BaseExceptionGroup):
        error = error.exceptions[0]
    assert isinstance(error, AgentringError)
    return error
