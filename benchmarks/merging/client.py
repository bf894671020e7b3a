"""The client of the bench, a process of its own: streams turns of `echo` from a node and checks every text.

Guarantees that it tells numbers only if every turn ended as completed, with a text that is whole to the last byte, and
every number of its event log came once; the first turn that did not ends the client with one line that says why and
exit status 1. What it counts, and the node's CPU time beside it, is of the same interval. Started by `run`, with its
Order as the one argument, it prints Figures.

Latency is counted from when a token was due, which is its place in the turn divided by the rate after the turn's start
by the node's wall clock: it includes what the agent's own wake-up was late. Tokens that came together count each.
"""

import asyncio
import itertools
import json
import os
import sys
import time
from array import array
from dataclasses import asdict
from pathlib import Path
from typing import TYPE_CHECKING

import grpc

from agentring import metadata
from agentring.rpc.limits import CHANNEL_OPTIONS
from agentring.v1 import session_pb2
from agentring.v1.session_pb2_grpc import SessionServiceStub
from benchmarks.merging.errors import BenchError
from benchmarks.merging.loads import Figures, Order

if TYPE_CHECKING:
    from agentring.v1.session_pb2_grpc import SessionServiceAsyncStub

_TICKS_PER_S = os.sysconf("SC_CLK_TCK")
_TURN_TIMEOUT_S = 120.0


class Counts:
    """What came in all, and when the tokens came that were due at a time."""

    def __init__(self) -> None:
        """Nothing came yet."""
        self.events = 0
        self.responses = 0
        self.turns = 0
        self.late_ns: array[int] | None = None
        """By how much each token was late; None: it is not the measured interval."""


class Reading:
    """One turn's events as they come. Every method raises BenchError where it is not as it must be."""

    def __init__(self, order: Order, counts: Counts) -> None:
        """The order says what the text must be."""
        self._order = order
        self._counts = counts
        self._seq: int | None = None
        self._first_text_seq = 0
        self._started_ns = 0
        self._text = bytearray()
        self._completed = False

    def take(self, response: session_pb2.RunTurnResponse) -> None:
        """The next response."""
        now_ns = time.time_ns()
        self._counts.responses += 1
        for event in response.events:
            first_seq = event.first_seq or event.seq
            if self._seq is not None and first_seq != self._seq + 1:
                raise BenchError(f"number {first_seq} came after {self._seq}")
            self._seq = event.seq
            self._counts.events += event.seq - first_seq + 1
            if event.HasField("text_delta"):
                self._check_text(event, first_seq, now_ns)
            elif event.HasField("turn_started"):
                self._started_ns = event.time.ToNanoseconds()
            elif event.HasField("turn_completed"):
                self._completed = True
            elif not event.HasField("turn_accepted"):
                raise BenchError(f"a turn was told {event.WhichOneof('body')}")

    def _check_text(self, event: session_pb2.Event, first_seq: int, now_ns: int) -> None:
        delta = event.text_delta
        if delta.offset != len(self._text):
            raise BenchError(f"words for byte {delta.offset} came after {len(self._text)} bytes")
        if not self._text:
            self._first_text_seq = first_seq
        self._text += delta.text.encode()
        if self._counts.late_ns is not None and self._order.rate is not None:
            apart_ns = 1e9 / self._order.rate
            for seq in range(first_seq, event.seq + 1):
                due_ns = self._started_ns + (seq - self._first_text_seq) * apart_ns
                self._counts.late_ns.append(int(now_ns - due_ns))

    def end(self, whole: bytes) -> None:
        """There are no more responses; `whole` is what the text must be."""
        if not self._completed:
            raise BenchError("a turn did not complete")
        if self._text != whole:
            raise BenchError(f"a text is not what it should be: {len(self._text)} bytes, not {len(whole)}")
        self._counts.turns += 1


async def measure(order: Order) -> Figures:
    """Puts the load on the node. Raises BenchError, grpc.RpcError."""
    counts = Counts()
    over = asyncio.Event()
    async with grpc.aio.insecure_channel(order.address, options=CHANNEL_OPTIONS) as channel:
        stub: SessionServiceAsyncStub = SessionServiceStub(channel)
        async with asyncio.TaskGroup() as group:
            for number in range(order.sessions):
                group.create_task(_session(stub, order, number, counts, over))
            await asyncio.sleep(order.warm_s)
            begun = _Marks(order, counts)
            counts.late_ns = array("q")
            await asyncio.sleep(order.seconds)
            ended = _Marks(order, counts)
            late_ns, counts.late_ns = sorted(counts.late_ns), None
            over.set()
    if ended.events == begun.events:
        raise BenchError("no event came in the measured interval")
    return Figures(
        elapsed_s=ended.at_s - begun.at_s,
        events=ended.events - begun.events,
        responses=ended.responses - begun.responses,
        node_cpu_s=ended.node_cpu_s - begun.node_cpu_s,
        client_cpu_s=ended.client_cpu_s - begun.client_cpu_s,
        turns=counts.turns,
        p50_ms=_percentile_ms(late_ns, 0.5),
        p99_ms=_percentile_ms(late_ns, 0.99),
    )


class _Marks:
    """The counters at one moment."""

    def __init__(self, order: Order, counts: Counts) -> None:
        self.at_s = time.monotonic()
        self.events, self.responses = counts.events, counts.responses
        fields = Path(f"/proc/{order.node_pid}/stat").read_text().rpartition(")")[2].split()
        self.node_cpu_s = (int(fields[11]) + int(fields[12])) / _TICKS_PER_S
        self.client_cpu_s = time.process_time()


async def _session(
    stub: "SessionServiceAsyncStub", order: Order, number: int, counts: Counts, over: asyncio.Event
) -> None:
    if order.rate is not None:
        # Spread, so that the sessions' tokens do not all come due at the same moments.
        await asyncio.sleep(order.warm_s / 2 * number / order.sessions)
    turn_input = session_pb2.Input()
    turn_input.data["tokens"] = order.tokens
    if order.rate is not None:
        turn_input.data["rate"] = order.rate
    session_id = f"{order.run}.{number}"
    whole = "".join(f"token{each} " for each in range(order.tokens)).encode()
    for turn in itertools.count(1):
        request = session_pb2.RunTurnRequest(
            session_id=session_id, agent="echo", turn=session_pb2.Turn(turn_id=f"t{turn}", input=turn_input)
        )
        pairs = ((metadata.SESSION_ID, session_id), (metadata.AGENT, "echo"))
        call = stub.RunTurn(request, metadata=pairs, timeout=_TURN_TIMEOUT_S)
        reading = Reading(order, counts)
        async for response in call:
            reading.take(response)
        reading.end(whole)
        if order.rate is not None or over.is_set():
            return


def _percentile_ms(sorted_ns: list[int], share: float) -> float | None:
    return sorted_ns[int(share * (len(sorted_ns) - 1))] / 1e6 if sorted_ns else None


def _main() -> int:
    order = Order(**json.loads(sys.argv[1]))
    try:
        figures = asyncio.run(measure(order))
    except ExceptionGroup as group:
        failures = group.subgroup((BenchError, grpc.RpcError))
        if failures is None:
            raise
        print(_first(failures), file=sys.stderr)
        return 1
    except BenchError as error:
        print(error, file=sys.stderr)
        return 1
    print(json.dumps(asdict(figures)))
    return 0


def _first(error: Exception) -> Exception:
    return _first(error.exceptions[0]) if isinstance(error, ExceptionGroup) else error


if __name__ == "__main__":
    sys.exit(_main())
