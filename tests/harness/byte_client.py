"""A server's own services over a socket, byte by byte: what a library would never send, and the whole of the answer."""

import asyncio
import base64
from collections.abc import AsyncIterator, Iterable, Mapping
from contextlib import asynccontextmanager
from dataclasses import dataclass, field

from google.rpc import error_details_pb2, status_pb2
from hpack import Decoder

from agentring.http2 import frames
from agentring.http2.frames import HEAD, WORD, Code
from agentring.http2.hpack import block
from harness.http2_frames import frame

PATIENCE_S = 10.0
Fields = tuple[tuple[str, str], ...]
USUAL: Mapping[str, str] = {}


@dataclass
class Answer:
    """How a stream, or its connection, ended."""

    headers: dict[str, str] = field(default_factory=dict)
    """Of headers and trailers."""
    data: bytes = b""
    reset: Code | None = None
    goaway: Code | None = None

    @property
    def status(self) -> str:
        """gRPC's code; empty: there was none."""
        return self.headers.get("grpc-status", "")

    @property
    def reason(self) -> str:
        """Of the one ErrorInfo; empty: there is none."""
        packed = self.headers.get("grpc-status-details-bin")
        if packed is None:
            return ""
        infos = []
        for detail in status_pb2.Status.FromString(base64.b64decode(packed + "=" * (-len(packed) % 4))).details:
            info = error_details_pb2.ErrorInfo()
            if detail.Unpack(info):
                infos.append(info)
        (info,) = infos
        return str(info.reason)


class Peer:
    """One connection."""

    def __init__(self, reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        self._reader = reader
        self.writer = writer
        self._decoder = Decoder()
        self._goaway: Code | None = None

    def send(self, *pieces: bytes) -> None:
        """Sends them as they are."""
        self.writer.write(b"".join(pieces))

    def request(
        self, stream_id: int, path: str, *more: tuple[str, str], end: bool = False, line: Mapping[str, str] = USUAL
    ) -> None:
        """HEADERS of a gRPC call. line: pseudo-headers that are not as usual, without their colon."""
        self.send(frames.headers(stream_id, block(request_fields(path, *more, line=line)), end_stream=end))

    def message(self, stream_id: int, body: bytes, *, flag: int = 0, end: bool = True) -> None:
        """A message in one frame."""
        whole = bytes([flag]) + WORD.pack(len(body)) + body
        self.send(frames.data(stream_id, whole, end_stream=end))

    async def answer(self, stream_id: int) -> Answer:
        """What comes until the stream ends."""
        answer = Answer()
        async with asyncio.timeout(PATIENCE_S):
            while True:
                try:
                    head, flags, of = HEAD.unpack(await self._reader.readexactly(frames.HEADER_BYTES))
                    payload = await self._reader.readexactly(head >> 8)
                except (asyncio.IncompleteReadError, OSError):
                    answer.goaway = self._goaway
                    return answer
                kind = head & 0xFF
                if kind == frames.SETTINGS and not flags & frames.ACK:
                    self.send(frames.SETTINGS_ACK)
                elif kind == frames.PING and not flags & frames.ACK:
                    self.send(frames.ping(payload, ack=True))
                elif kind == frames.GOAWAY:
                    self._goaway = Code(frames.TWO_WORDS.unpack_from(payload)[1])
                elif kind == frames.HEADERS:
                    fields = {str(name): str(value) for name, value in self._decoder.decode(payload)}
                    if of == stream_id:
                        answer.headers |= fields
                elif of == stream_id and kind == frames.DATA:
                    answer.data += payload
                    self.send(frames.window_update(of, max(1, len(payload))))
                elif of == stream_id and kind == frames.RST_STREAM:
                    answer.reset = Code(WORD.unpack(payload)[0])
                    return answer
                if of == stream_id and kind in (frames.HEADERS, frames.DATA) and flags & frames.END_STREAM:
                    return answer


def request_fields(path: str, *more: tuple[str, str], line: Mapping[str, str] = USUAL) -> Fields:
    """Of a gRPC call; line: as Peer.request; what is given empty is left out."""
    line = {"method": "POST", "scheme": "http", "path": path, "authority": "x"} | dict(line)
    pseudo: Iterable[tuple[str, str]] = ((f":{name}", value) for name, value in line.items() if value)
    named = {name for name, _ in more}
    usual = (("te", "trailers"), ("content-type", "application/grpc"))
    return (*pseudo, *(pair for pair in usual if pair[0] not in named), *(pair for pair in more if pair[1]))


@asynccontextmanager
async def byte_client(address: str, *, opening: bytes | None = None) -> AsyncIterator[Peer]:
    """A connection; opening: instead of the preface and SETTINGS."""
    host, _, port = address.rpartition(":")
    reader, writer = await asyncio.open_connection(host, int(port))
    peer = Peer(reader, writer)
    peer.send(frames.PREFACE + frame(frames.SETTINGS, 0) if opening is None else opening)
    try:
        yield peer
    finally:
        writer.close()
