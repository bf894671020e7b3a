"""The files of a session, on the node that owns it.

Guarantees: a file is there only whole, with the content that its digest says; a turn is accepted only once the session
has all files that its input refers to, and those stay until it has ended, at least; the session's files stay within
their bound, for which those go that were used longest ago. Each write goes in the order of the session's writes, so one
that fails is the session's failure. Used by the services and by the runs of agents.
"""

from collections.abc import Collection, Iterable
from hashlib import sha256

from agent_node.session.state import SessionState
from agent_node.store.file_records import CHUNK_BYTES, FILE_BYTES, FileChunk
from agent_node.store.session_store import Store
from agentring.errors import FileNotFound, FilesFull, InvalidFile, InvalidPart
from agentring.ids import SessionRef
from agentring.v1 import session_pb2


async def put(session: SessionState, data: bytes, *, is_used: bool = False, in_use: Collection[bytes] = ()) -> bytes:
    """Keeps a file, and returns its digest. is_used: a turn has put it out; in_use: what must stay beside what the open
    turns were given. Raises InvalidFile, FilesFull, what the session was dropped with, and what the store raises.
    Cancellation: some of it may be kept, and expires."""
    if len(data) > FILE_BYTES:
        raise InvalidFile(f"{len(data)} bytes, more than the {FILE_BYTES} that are allowed")
    digest, ownership, files = sha256(data).digest(), session.ownership, session.store.files
    pieces = [data[begin : begin + CHUNK_BYTES] for begin in range(0, len(data), CHUNK_BYTES)] or [b""]
    has_room = True
    async with session.writer:
        # One write of the session at a time: what is begun here counts when the next one asks for room.
        if await files.size(session.ref, digest) is not None:
            del pieces[1:]  # it is there
        else:
            stays = {*in_use, *_of_open_turns(session)}
            has_room = await files.make_room(ownership, digest, len(data), session.max_file_bytes, stays)
        # What is cut off before its last piece is of no use, and expires.
        uses = [False] * (len(pieces) - 1) + [is_used]
        if has_room:
            await files.keep_chunk(ownership, FileChunk(digest, len(data), 0, pieces[0], uses[0]))
    if not has_room:
        raise FilesFull(session.max_file_bytes)
    for number in range(1, len(pieces)):
        async with session.writer:
            await files.keep_chunk(ownership, FileChunk(digest, len(data), number, pieces[number], uses[number]))
    return digest


async def use(session: SessionState, input: session_pb2.Input) -> None:
    """The files of an input are in use from now on; they are `files_coming` until the turn has them, so that they stay
    meanwhile. Raises FileNotFound, InvalidPart, and as `put`. Called under the session's lock."""
    if not (digests := {part.file.sha256 for _, part in _file_parts(input)}):
        return
    async with session.writer:
        sizes = await session.store.files.use(session.ownership, digests)
        session.files_coming = sizes.keys()
    for index, part in _file_parts(input):
        size_bytes = sizes.get(part.file.sha256)
        if size_bytes != part.file.size_bytes:
            session.files_coming = ()
            if size_bytes is None:
                raise FileNotFound(part.file.sha256.hex())
            raise InvalidPart(index, f"size_bytes is {part.file.size_bytes}, and the file has {size_bytes}")


async def read(store: Store, ref: SessionRef, digest: bytes) -> bytes:
    """A whole file. Raises FileNotFound, and what the store raises."""
    size_bytes = await store.files.size(ref, digest)
    data = bytearray()
    while size_bytes is not None and len(data) < size_bytes:
        piece = await store.files.read_chunk(ref, digest, len(data) // CHUNK_BYTES)
        if not piece:
            break
        data += piece
    if size_bytes is None or sha256(data).digest() != digest:
        raise FileNotFound(digest.hex())
    return bytes(data)


def _file_parts(input: session_pb2.Input) -> Iterable[tuple[int, session_pb2.Part]]:
    return ((index, part) for index, part in enumerate(input.parts) if part.HasField("file"))


def _of_open_turns(session: SessionState) -> Iterable[bytes]:
    yield from session.files_coming
    for turn in session.turns.open:
        for _, part in _file_parts(turn.input_message()):
            yield part.file.sha256
