"""The session's past messages, as a run's agent reads them: a part of its Context.

Guarantees: nothing is read before the agent iterates; what is read grows with what is asked for, up to all events that
the session keeps.
"""

from collections.abc import AsyncIterator, Sequence

from agent_node.run.past_messages import to_messages
from agent_node.run.run_files import RunFiles
from agent_node.store.session_records import text_of
from agentring.agent.files import Part, TextPart
from agentring.agent.messages import Message
from agentring.v1.session_pb2 import Event, Input

MOST_MESSAGES = 1_000
_FIRST_SPAN = 1_024
"""Numbers of events that are looked at first; four times as many where that is not enough."""


class RunMessages(RunFiles):
    """Of one run under way. RunContext (context.py) is made of it."""

    async def messages(self, *, limit: int = 50, before: int | None = None) -> AsyncIterator[Message]:
        """As Context."""
        if not 1 <= limit <= MOST_MESSAGES:
            raise ValueError(f"limit is from 1 to {MOST_MESSAGES}")
        self._log.check()
        if self._turn.records is None:
            return
        records, span, has_more = self._turn.records(), _FIRST_SPAN, True
        found: list[Message] = []
        while len(found) < limit and has_more:
            has_more, raw = await records.past_events(before, span)
            found = to_messages(map(Event.FromString, raw), self._read_input)
            if before is not None:
                found = [each for each in found if each.position < before]
            span *= 4
        self._log.check()
        for message in found[-limit:]:
            yield message

    def _read_input(self, past: Input) -> tuple[str, Sequence[Part]]:
        text = [TextPart(past.text)] if past.text else []
        return text_of(past), (*text, *(self._part(part) for part in past.parts))
