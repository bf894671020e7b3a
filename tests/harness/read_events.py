"""What a log or a stream's attachment has, decoded."""

from typing import Any

from agent_node.events.attachment import Attachment
from agent_node.events.log import EventLog
from agentring.v1.session_pb2 import Event


def read(log: EventLog, *which: Any, **bounds: int) -> tuple[int, list[Event]]:
    """As EventLog.read."""
    seq, found = log.read(*which, **bounds)
    return seq, [each.whole().event for each in found]


async def next_of(attachment: Attachment) -> list[Event] | None:
    """As Attachment.next."""
    found = await attachment.next()
    return None if found is None else [each.event for each in found]
