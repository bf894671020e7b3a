"""An etcd that fails in ways a test chooses, and what an operator may do to one."""

import asyncio
import socket
from collections.abc import AsyncIterator, Iterator, Sequence
from contextlib import asynccontextmanager, contextmanager

import grpc
from aetcd import rpc
from grpc import aio

from agentring.cluster.etcd.client import EtcdClient
from agentring.cluster.etcd.errors import EtcdUnavailable
from agentring.cluster.etcd.types import Compare, Delete, Get, Put, TxnResult
from agentring.ids import Revision
from harness.processes import READY_S


class LossyEtcd(EtcdClient):
    """A client of a real etcd that loses or holds back the reply of a transaction that has landed."""

    def __init__(self, url: str) -> None:
        super().__init__([url])
        self.held = asyncio.Event()
        """A transaction has landed whose reply is held back."""
        self.lost = asyncio.Event()
        """To be set: what is held back will never come, and its sender learns so."""
        self.granted: list[int] = []
        """The leases that were granted."""
        self._fault = ""
        self._skip = 0

    def lose_reply(self, *, skip: int = 0) -> None:
        """Lets the next transaction, or a later one, seem to have failed."""
        self._fault, self._skip = "lose", skip

    def hold_reply(self, *, skip: int = 0) -> None:
        """Lets the next transaction, or a later one, not return until `lost` is set."""
        self._fault, self._skip = "hold", skip

    async def txn(
        self,
        compares: Sequence[Compare],
        success: Sequence[Put | Delete | Get],
        failure: Sequence[Get] = (),
        *,
        timeout_s: float | None = None,
    ) -> TxnResult:
        result = await super().txn(compares, success, failure, timeout_s=timeout_s)
        if not self._fault:
            return result
        if self._skip:
            self._skip -= 1
            return result
        fault, self._fault = self._fault, ""
        if fault == "lose":
            raise EtcdUnavailable(outcome_unknown=True)
        self.held.set()
        await self.lost.wait()
        raise EtcdUnavailable(outcome_unknown=True)

    async def grant(self, ttl_s: int) -> tuple[int, int]:
        lease_id, granted_ttl_s = await super().grant(ttl_s)
        self.granted.append(lease_id)
        return lease_id, granted_ttl_s


async def compact(url: str, revision: Revision) -> None:
    """Forgets what was before a revision."""
    async with aio.insecure_channel(url.removeprefix("http://")) as channel:
        await rpc.KVStub(channel).Compact(rpc.CompactionRequest(revision=revision, physical=True), timeout=10)


@contextmanager
def silent_endpoint() -> Iterator[str]:
    """The URL of something that takes connections and never says a word."""
    with socket.create_server(("127.0.0.1", 0)) as listening:
        yield f"http://127.0.0.1:{listening.getsockname()[1]}"


@asynccontextmanager
async def ending_endpoint() -> AsyncIterator[str]:
    """The URL of something that ends every stream at once, with OK and without a word."""

    class Ending(grpc.GenericRpcHandler):
        def service(self, handler_call_details: grpc.HandlerCallDetails) -> "grpc.RpcMethodHandler[bytes, bytes]":
            async def end(*_: object) -> AsyncIterator[bytes]:
                return
                yield

            return grpc.stream_stream_rpc_method_handler(end)

    server = aio.server()
    server.add_generic_rpc_handlers((Ending(),))
    port = server.add_insecure_port("127.0.0.1:0")
    await server.start()
    try:
        yield f"http://127.0.0.1:{port}"
    finally:
        await server.stop(None)


async def until_answered(etcd: EtcdClient) -> None:
    """Returns once etcd answers again; each try ends at the client's own deadline."""
    async with asyncio.timeout(READY_S):
        while True:
            try:
                await etcd.get("/")
                return
            except EtcdUnavailable:
                await asyncio.sleep(0.02)


async def revoke_leases(url: str) -> int:
    """Revokes every lease there is, as an operator might; returns how many."""
    async with aio.insecure_channel(url.removeprefix("http://")) as channel:
        stub = rpc.LeaseStub(channel)
        leases = (await stub.LeaseLeases(rpc.LeaseLeasesRequest(), timeout=10)).leases
        for lease in leases:
            await stub.LeaseRevoke(rpc.LeaseRevokeRequest(ID=lease.ID), timeout=10)
        return len(leases)


async def fill_up(url: str) -> None:
    """Writes until etcd's quota is exhausted."""
    async with aio.insecure_channel(url.removeprefix("http://")) as channel:
        stub = rpc.KVStub(channel)
        for i in range(1_000):
            try:
                await stub.Put(rpc.PutRequest(key=f"/filler/{i}".encode(), value=bytes(1 << 20)), timeout=10)
            except aio.AioRpcError as error:
                if error.code() is grpc.StatusCode.RESOURCE_EXHAUSTED:
                    return
                raise
    raise AssertionError("etcd takes everything")
