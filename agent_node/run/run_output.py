"""What an agent says beside its text, as its Context has it: its own events, and its log.

Guarantees: an event stands in the log in order with the text, within its bounds, or nothing was written.
"""

from typing import Any

from agent_node.json_values import NotJson, to_value
from agent_node.log_fields import named
from agent_node.run.agent_log import AgentLog
from agent_node.run.run_input import TurnInput
from agent_node.run.run_log import RunLog
from agentring.agent import Log
from agentring.v1 import session_pb2

MOST_NAME = 128
"""Characters."""
MOST_EVENT_BYTES = 64 << 10
"""Of its data, as the wire has them."""


class RunOutput:
    """Of one run. RunContext (context.py) is made of it, and sets what it reads."""

    _turn: TurnInput
    _log: RunLog

    def emit(self, name: str, data: Any = None) -> None:
        """As Context."""
        if not isinstance(name, str):
            raise TypeError("an event's name is a str")
        if not 1 <= len(name) <= MOST_NAME or not name.isprintable():
            raise ValueError(f"an event's name has 1 to {MOST_NAME} printable characters")
        value = to_value(data, f"event {name}")
        if (size_bytes := value.ByteSize()) > MOST_EVENT_BYTES:
            raise NotJson(
                f"event {name}", "$", f"{size_bytes} bytes, more than the {MOST_EVENT_BYTES} that are allowed"
            )
        self._log.append(session_pb2.Event(custom_event=session_pb2.CustomEvent(name=name, data=value)))

    @property
    def log(self) -> Log:
        """As Context."""
        turn = self._turn
        return AgentLog(named(turn.ref, turn.agent, turn.turn_id, turn.attempt, turn.trace))
