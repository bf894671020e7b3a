"""BlobService on a node: files of sessions, put in pieces and read in pieces.

Guarantees: a file is stored once all of it has come and is what its first message says; few are taken at a time, so
that what has come of them fits in memory, and each must come at a pace, so that no client keeps the others from it for
long. Reading one claims nothing.
"""

import asyncio
from collections.abc import AsyncIterator
from hashlib import sha256

from agent_node.lifecycle.supervisor import IncarnationSupervisor
from agent_node.services.route import accept, asking, session_of, subject_of
from agent_node.session.session import Session
from agent_node.settings import NodeSettings
from agent_node.store.file_records import CHUNK_BYTES, FILE_BYTES
from agentring.errors import (
    AgentMismatch,
    FileNotFound,
    FirstFrameTimeout,
    InvalidFile,
    MalformedRequest,
    NodeOverloaded,
)
from agentring.rpc.service import Call
from agentring.v1 import blob_pb2

_AT_A_TIME = 4
_LEAST_BYTES_S = 64 << 10
"""How much of a file comes in a second, at least."""
_PIECE_BYTES = 512 << 10
_DIGEST_BYTES = 32


class BlobService:
    """The service's methods; see protos/agentring/v1/blob.proto."""

    def __init__(self, incarnations: IncarnationSupervisor, settings: NodeSettings) -> None:
        """incarnations: whose sessions are served."""
        self._incarnations = incarnations
        self._next_within_s = settings.first_frame_timeout_s
        self._places = asyncio.Semaphore(_AT_A_TIME)

    async def PutBlob(self, requests: AsyncIterator[blob_pb2.PutBlobRequest], call: Call) -> None:
        """Takes one file."""
        first = await self._next(requests)
        if first is None:
            raise MalformedRequest
        ref, agent = session_of(call, first.session_id, first.agent)
        if len(first.sha256) != _DIGEST_BYTES:
            raise InvalidFile(f"sha256 has {len(first.sha256)} bytes, not {_DIGEST_BYTES}")
        if first.size_bytes > FILE_BYTES:
            raise InvalidFile(f"{first.size_bytes} bytes, more than the {FILE_BYTES} that are allowed")
        incarnation = self._incarnations.current
        if (quota := incarnation.quota) is None:
            session = await incarnation.host.open(ref, agent)
        else:
            session = await incarnation.host.open(ref, agent, asking(call))
            quota.take_file(ref.tenant, subject_of(call), first.size_bytes)
        await accept(call, incarnation, session.claim.epoch)
        await self._take_place()
        try:
            await session.put_file(await self._received(first, requests))
        finally:
            self._places.release()
        await call.send(blob_pb2.PutBlobResponse())

    async def GetBlob(self, request: blob_pb2.GetBlobRequest, call: Call) -> None:
        """Sends one file."""
        ref, agent = session_of(call, request.session_id, request.agent)
        if len(request.sha256) != _DIGEST_BYTES:
            raise InvalidFile(f"sha256 has {len(request.sha256)} bytes, not {_DIGEST_BYTES}")
        incarnation = self._incarnations.current
        found = await incarnation.host.look_up(ref)
        stored = found.stored if isinstance(found, Session) else found
        if agent not in ("", stored.agent):
            raise AgentMismatch(stored.agent)
        files, digest = incarnation.store.files, request.sha256
        if (size_bytes := await files.size(ref, digest)) is None:
            raise FileNotFound(digest.hex())
        await accept(call, incarnation, stored.epoch)
        for number in range(-(-size_bytes // CHUNK_BYTES)):
            if (chunk := await files.read_chunk(ref, digest, number)) is None:
                raise FileNotFound(digest.hex())  # it has been removed meanwhile
            for begin in range(0, len(chunk), _PIECE_BYTES):
                await call.send(blob_pb2.GetBlobResponse(data=chunk[begin : begin + _PIECE_BYTES]))

    async def _take_place(self) -> None:
        try:
            async with asyncio.timeout(self._next_within_s):
                await self._places.acquire()
        except TimeoutError:
            raise NodeOverloaded from None

    async def _received(
        self, first: blob_pb2.PutBlobRequest, requests: AsyncIterator[blob_pb2.PutBlobRequest]
    ) -> bytes:
        data = bytearray(first.data)
        try:
            async with asyncio.timeout(self._next_within_s + first.size_bytes / _LEAST_BYTES_S):
                while len(data) <= first.size_bytes and (request := await self._next(requests)) is not None:
                    data += request.data
        except TimeoutError:
            raise FirstFrameTimeout from None
        if len(data) != first.size_bytes:
            more = " or more" if len(data) > first.size_bytes else ""
            raise InvalidFile(f"{len(data)} bytes{more} came, and {first.size_bytes} were announced")
        if sha256(data).digest() != first.sha256:
            raise InvalidFile("its SHA-256 is not the one that was announced")
        return bytes(data)

    async def _next(self, requests: AsyncIterator[blob_pb2.PutBlobRequest]) -> blob_pb2.PutBlobRequest | None:
        try:
            async with asyncio.timeout(self._next_within_s):
                return await anext(requests, None)
        except TimeoutError:
            raise FirstFrameTimeout from None
