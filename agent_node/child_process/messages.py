"""The messages between a node and the child processes that it runs agents in: tuples, each of which begins with its
kind. They are pickled: both are one program of one version, forked from each other.

Child to node: `hello` (its pid), `beat` (its event loop turns), `event`, `text` and `restart` (for the log), `mark` (of
what was said so far), `tool`, `ask`, `once`, `records`, `steps` and `decide` (why the run is about to end; these with a
number, under which `reply` comes), `drop` (nobody waits for it any more), `step_done` or `step_cut`, `done` (the
outcome), `cancelled`.
Node to child: `begin`, `reply`, `notify` (while an `ask` or `once` is under way), `step`, `cut` (of a step), `cancel`
(whether the run is left to its next owner).
"""

import asyncio
import pickle
from dataclasses import dataclass
from typing import Any

from agent_node.run.environment import TurnLimits
from agent_node.run.run_input import TurnInput
from agentring.ids import Epoch, Incarnation, NodeId

Message = tuple[Any, ...]
BEAT_S = 0.25
"""How often a child says that its event loop turns."""
_LENGTH_BYTES = 4
_MOST_BYTES = 256 << 20


@dataclass(frozen=True, slots=True)
class Begin:
    """What a child is to run."""

    agent: str
    turn: TurnInput
    """Without the callables, which the child makes itself."""
    asks: bool
    """Whether there is somebody to ask."""
    has_once: bool
    has_records: bool
    epoch: Epoch
    limits: TurnLimits
    node_id: NodeId
    incarnation: Incarnation
    life_id: str | None
    """As StepRecorder.life_id; None: the run's steps are not recorded."""


class Channel:
    """One end of the connection. Resource handling: `close`."""

    def __init__(self, reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        self._reader = reader
        self._writer = writer
        self._length: int | None = None
        """Of the message that is being received."""

    def send(self, *message: Any) -> None:
        """Sends a message; what the other end does not receive any more is lost. Raises what pickling raises."""
        packed = pickle.dumps(message)
        self._writer.write(len(packed).to_bytes(_LENGTH_BYTES, "big") + packed)

    async def receive(self) -> Message | None:
        """The next message; None: the other end has gone away, or sent what is no message. Cancellation: nothing is
        lost, it may be called again."""
        try:
            if self._length is None:
                self._length = int.from_bytes(await self._reader.readexactly(_LENGTH_BYTES), "big")
            if self._length > _MOST_BYTES:
                return None
            packed = await self._reader.readexactly(self._length)
            self._length = None
            message: Message = pickle.loads(packed)  # noqa: S301  forked from ourselves
        except Exception:  # what a pickle that is none raises may be anything
            return None
        return message

    def close(self) -> None:
        """The other end receives None."""
        self._writer.close()
