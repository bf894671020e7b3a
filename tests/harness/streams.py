"""Streams of events under way: what has come so far, and waiting for what must come."""

import asyncio
import re
from collections.abc import Callable, Iterable
from dataclasses import dataclass
from typing import Any

from grpc import aio

from agentring.v1 import session_pb2, session_pb2_grpc
from agentring.v1.session_pb2 import ConverseRequest, Event
from harness.client import TIMEOUT_S

TEXT = "Grüße aus Köln, 日本語も話せます, ein Emoji 🎉🎊 und kombinierende Zeichen: e\u0301 a\u030a — fertig.\n" * 3
PIECES = re.findall(r"\S+\s*|\s+", TEXT)
"""How `echo` cuts it; each piece has a number of its own."""

ASIDE = ("opened", "turn_rejected", "heartbeat", "go_away")
"""Events that stand outside of the numbering."""


class Stream:
    """The answers to one streaming call, in the order in which they came."""

    def __init__(self, call: Any) -> None:
        self.call = call
        self.responses: list[Any] = []

    @property
    def events(self) -> list[Event]:
        return [event for response in self.responses for event in response.events]

    @property
    def kinds(self) -> list[str]:
        """Without the heartbeats."""
        return [kind for event in self.events if (kind := str(event.WhichOneof("body"))) != "heartbeat"]

    @property
    def text(self) -> str:
        return "".join(event.text_delta.text for event in self.events)

    @property
    def through_seq(self) -> int:
        return int(self.responses[-1].through_seq) if self.responses else 0

    async def until(self, kind: str, turn_id: str | None = None) -> Event:
        """Reads until an event of this kind has come, and returns the latest one."""

        def found() -> bool:
            return bool(self._of(kind, turn_id))

        await self.until_true(found, f"{kind} of {turn_id or 'any turn'}")
        return self._of(kind, turn_id)[-1]

    async def until_seq(self, seq: int) -> None:
        """Reads until everything up to this seq has come."""
        await self.until_true(lambda: self.through_seq >= seq, f"seq {seq}")

    async def until_true(self, found: Callable[[], bool], what: str, within_s: float = TIMEOUT_S) -> None:
        """Reads until something holds."""
        try:
            async with asyncio.timeout(within_s):
                while not found():
                    response = await self.call.read()
                    assert response is not aio.EOF, f"the stream ended with OK before {what}: {self.kinds}"
                    self.responses.append(response)
        except TimeoutError:
            raise AssertionError(f"no {what} within {within_s} s: {self.kinds}, seq {self.through_seq}") from None

    async def until_end(self) -> None:
        """Reads until the stream ends with OK. Raises AioRpcError."""
        async with asyncio.timeout(TIMEOUT_S):
            while (response := await self.call.read()) is not aio.EOF:
                self.responses.append(response)

    def _of(self, kind: str, turn_id: str | None) -> list[Event]:
        return [event for event in self.events if event.HasField(kind) and turn_id in (None, event.turn_id)]  # type: ignore[arg-type]


class Conversation(Stream):
    """A Converse stream."""

    def __init__(self, channel: aio.Channel, metadata: tuple[tuple[str, str], ...] = ()) -> None:
        stub = session_pb2_grpc.SessionServiceStub(channel)
        super().__init__(stub.Converse(timeout=2 * TIMEOUT_S, metadata=metadata))

    async def open(self, session_id: str, agent: str = "echo", after_seq: int | None = None) -> session_pb2.Opened:
        opening = session_pb2.Open(session_id=session_id, agent=agent, after_seq=after_seq)
        await self.call.write(ConverseRequest(open=opening))
        return (await self.until("opened")).opened

    async def turn(self, turn: session_pb2.Turn) -> str:
        """Sends a turn and returns its id."""
        await self.call.write(ConverseRequest(turn=turn))
        return turn.turn_id

    async def cancel(self, turn_id: str) -> None:
        await self.call.write(ConverseRequest(cancel=session_pb2.Cancel(turn_id=turn_id)))

    async def close(self) -> None:
        """Closes the client's side, and reads to the end."""
        await self.call.done_writing()
        await self.until_end()


def watch(channel: aio.Channel, session_id: str, after_seq: int | None = 0) -> Stream:
    """A WatchSession stream."""
    request = session_pb2.WatchSessionRequest(session_id=session_id, after_seq=after_seq)
    return Stream(session_pb2_grpc.SessionServiceStub(channel).WatchSession(request, timeout=2 * TIMEOUT_S))


@dataclass
class MergedText:
    """Adjacent text deltas of one turn, as one."""

    turn_id: str
    first_seq: int
    seq: int
    offset: int
    text: str


def merged(events: Iterable[Event]) -> list[Event | MergedText]:
    """The numbered events, with adjacent text as one: how a stream merges them depends on when it was read. Without the
    turns' inputs, which the stream that sent a turn does not get."""
    merged_events: list[Event | MergedText] = []
    for event in events:
        if event.WhichOneof("body") in ASIDE:
            continue
        if not event.HasField("text_delta"):
            merged_events.append(_without_input(event))
            continue
        delta, last = event.text_delta, merged_events[-1] if merged_events else None
        if isinstance(last, MergedText) and last.turn_id == event.turn_id:
            assert delta.offset == last.offset + len(last.text.encode()), (last, event)
            last.seq, last.text = event.seq, last.text + delta.text
        else:
            merged_events.append(MergedText(event.turn_id, first_seq(event), event.seq, delta.offset, delta.text))
    return merged_events


def _without_input(event: Event) -> Event:
    if not event.turn_accepted.HasField("input"):
        return event
    copied = Event.FromString(event.SerializeToString())
    copied.turn_accepted.ClearField("input")
    return copied


def first_seq(event: Event) -> int:
    """The first number that an event covers."""
    return event.first_seq if event.HasField("first_seq") else event.seq


def assert_gapless(events: Iterable[Event], after_seq: int) -> int:
    """Every number after after_seq is covered once and in order; returns the last."""
    for event in events:
        if event.WhichOneof("body") in ASIDE:
            assert event.seq == 0, event
            continue
        assert first_seq(event) == after_seq + 1, (after_seq, event)
        assert event.seq >= first_seq(event), event
        after_seq = event.seq
    return after_seq
