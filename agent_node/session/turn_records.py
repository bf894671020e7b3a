"""The files and the past events of a session, for one run of a turn. Made by turn_loop.py."""

from agent_node.session import files
from agent_node.session.state import SessionState
from agent_node.session.uninterrupted import run_to_end

_ENDS = ("turn_completed", "turn_failed", "turn_cancelled")


class TurnRecords:
    """As SessionRecords (run/run_input.py)."""

    def __init__(self, session: SessionState) -> None:
        self._session = session
        self._put: set[bytes] = set()
        """What this run has put out, and that stays until it has ended."""

    async def read_file(self, digest: bytes) -> bytes:
        """As SessionRecords."""
        return await files.read(self._session.store, self._session.ref, digest)

    async def put_file(self, data: bytes) -> bytes:
        """As SessionRecords. Cancellation: it is kept all the same."""
        session, stays = self._session, frozenset(self._put)
        digest: bytes = await run_to_end(session.tasks, lambda: files.put(session, data, is_used=True, in_use=stays))
        self._put.add(digest)
        return digest

    async def past_events(self, before_seq: int | None, span: int) -> tuple[bool, list[bytes]]:
        """As SessionRecords."""
        log = self._session.log
        head_seq = log.head_seq
        through_seq = head_seq if before_seq is None else min(before_seq - 1, head_seq)
        oldest_seq = log.oldest_seq
        seq = max(oldest_seq - 1, through_seq - span)
        found: list[bytes] = []
        open_turns: set[str] = set()
        begin_seq = seq
        # A turn that had begun by then is read to its end, which says whether it counts.
        while seq < head_seq and (seq < through_seq or open_turns):
            seq, events = await log.recall(seq, head_seq)
            for each in events:
                whole = each.whole()
                found.append(whole.raw)
                if whole.event.WhichOneof("body") in _ENDS:
                    open_turns.discard(whole.turn_id)
                elif whole.turn_id and whole.first_seq <= through_seq:
                    open_turns.add(whole.turn_id)
        return begin_seq >= oldest_seq, found
