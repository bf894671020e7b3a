"""Clients of a turn that runs again: one that keeps what stays valid, and one that is told everything anew."""

from agent_node.events.attachment import Attachment
from agent_node.events.log import EventLog
from agentring.v1.session_pb2 import Event
from harness.read_events import next_of


class TurnClient:
    """What a client has of one turn, over all the streams that it has read."""

    def __init__(self, *, keeps_valid: bool, merge_bytes: int = 1 << 14) -> None:
        self.keeps_valid = keeps_valid
        self.merge_bytes = merge_bytes
        self.seq = 0
        self.words = b""
        self.emitted: list[tuple[int, str]] = []
        """Number and name of tool calls and results."""
        self.restarts: list[str] = []
        self.sent_bytes = 0
        """Of all words that it was sent."""

    async def read(self, log: EventLog, at_most: int | None = None) -> None:
        """Reads on, to the log's present end, or so many responses."""
        end = log.head_seq
        with Attachment(
            log, self.seq, heartbeat_s=60, merge_bytes=self.merge_bytes, keeps_valid=self.keeps_valid
        ) as attachment:
            attachment.end_after(lambda: end)
            while at_most is None or at_most > 0:
                if (events := await next_of(attachment)) is None:
                    return
                for event in events:
                    self._take(event)
                self.seq = max(self.seq, attachment.through_seq)
                at_most = None if at_most is None else at_most - 1

    def _take(self, event: Event) -> None:
        first_seq = event.first_seq or event.seq
        assert first_seq == self.seq + 1, (first_seq, self.seq, event)
        self.seq = event.seq
        match event.WhichOneof("body"):
            case "attempt_restarted":
                self._restart(event)
            case "text_delta":
                assert event.text_delta.offset == len(self.words), (event, self.words)
                self.words += event.text_delta.text.encode()
                self.sent_bytes += len(event.text_delta.text.encode())
            case "tool_call":
                self.emitted.append((event.seq, event.tool_call.name))
            case "tool_result":
                self.emitted.append((event.seq, f"{event.tool_result.name} done"))
            case "gap":
                raise AssertionError(event)

    def _restart(self, event: Event) -> None:
        said = event.attempt_restarted
        self.restarts.append(said.reason)
        if not self.keeps_valid:
            assert (said.valid_through_seq, said.valid_text_bytes, said.turn_seq) == (0, 0, 0), event
        self.words = self.words[: said.valid_text_bytes]
        self.words.decode()
        self.emitted = [each for each in self.emitted if each[0] <= said.valid_through_seq]
