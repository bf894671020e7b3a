"""The files of a session, for one run of a turn. Made by turn_loop.py."""

from agent_node.session import files
from agent_node.session.state import SessionState
from agent_node.session.uninterrupted import run_to_end


class TurnFiles:
    """As RunFileStore (run/run_input.py)."""

    def __init__(self, session: SessionState) -> None:
        self._session = session
        self._put: set[bytes] = set()
        """What this run has put out, and that stays until it has ended."""

    async def read(self, digest: bytes) -> bytes:
        """As RunFileStore."""
        return await files.read(self._session.store, self._session.ref, digest)

    async def put(self, data: bytes) -> bytes:
        """As RunFileStore. Cancellation: it is kept all the same."""
        session, stays = self._session, frozenset(self._put)
        digest: bytes = await run_to_end(session.tasks, lambda: files.put(session, data, is_used=True, in_use=stays))
        self._put.add(digest)
        return digest
