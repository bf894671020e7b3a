"""The files of a session, as its client puts and reads them.

Guarantees that what is read is what its digest says. Called by session.py.
"""

from collections.abc import AsyncIterator
from hashlib import sha256
from typing import Protocol

from grpc import aio

from agentring.client.streams import Connection, Metadata
from agentring.client.unary import call
from agentring.errors import FileNotFound
from agentring.v1 import blob_pb2
from agentring.v1.blob_pb2_grpc import BlobServiceStub

_PIECE_BYTES = 512 << 10


class Owner(Protocol):
    """A session."""

    @property
    def connection(self) -> Connection:
        """By which its calls are made."""

    @property
    def session_id(self) -> str:
        """Its name."""

    @property
    def agent(self) -> str:
        """What it is bound to where it is new; empty: it must exist."""


async def put_file(owner: Owner, data: bytes) -> None:
    """Puts a file. Raises InvalidFile, FilesFull, and what every call can end with."""
    digest = sha256(data).digest()

    async def pieces() -> AsyncIterator[blob_pb2.PutBlobRequest]:
        yield blob_pb2.PutBlobRequest(
            session_id=owner.session_id, agent=owner.agent, sha256=digest, size_bytes=len(data)
        )
        for begin in range(0, len(data), _PIECE_BYTES):
            yield blob_pb2.PutBlobRequest(data=data[begin : begin + _PIECE_BYTES])

    async def try_once(channel: aio.Channel, metadata: Metadata, timeout: float) -> blob_pb2.PutBlobResponse:
        return await BlobServiceStub(channel).PutBlob(pieces(), metadata=metadata, timeout=timeout)

    await call(owner.connection.routers, owner.connection.policy, try_once)


async def get_file(owner: Owner, digest: str) -> bytes:
    """A file's content. Raises FileNotFound, SessionNotFound, and what every call can end with."""
    request = blob_pb2.GetBlobRequest(session_id=owner.session_id, agent=owner.agent, sha256=bytes.fromhex(digest))

    async def try_once(channel: aio.Channel, metadata: Metadata, timeout: float) -> bytes:
        stream = BlobServiceStub(channel).GetBlob(request, metadata=metadata, timeout=timeout)
        return b"".join([response.data async for response in stream])

    data = await call(owner.connection.routers, owner.connection.policy, try_once)
    if sha256(data).hexdigest() != digest:
        raise FileNotFound(digest)
    return data
