"""A SessionService that answers by script: as it should, or with one thing wrong."""

import asyncio
from collections import defaultdict
from collections.abc import AsyncIterator, Iterable
from contextlib import asynccontextmanager
from dataclasses import dataclass, field
from typing import Any

import grpc
from google.protobuf.any_pb2 import Any as AnyMessage
from google.rpc import code_pb2, error_details_pb2, status_pb2
from grpc_status import rpc_status

from agentring import metadata as names
from agentring.v1 import session_pb2

GOOD = "good"
GAP = "gap"
WRONG_BYTES = "wrong bytes"
WRONG_TOKENS = "wrong tokens"
MOVE = "move"
ERROR = "error"
BARE_ERROR = "error without ErrorInfo"
ERROR_BEHIND = "the stream fails when the turn has ended well"
FAIL = "turn_failed"
REJECT = "turn_rejected"
SILENCE = "silence"
END = "the stream ends in the middle of a turn"
GO_AWAY = "go_away"


@dataclass
class FakeService:
    """Each turn of a session takes the next of `script`; the last one holds for the rest."""

    script: tuple[str, ...] = (GOOD,)
    node: str = "n1"
    opened: list[str] = field(default_factory=list)
    """The sessions of all streams and calls, in the order of their opening."""
    turn_ids: list[str] = field(default_factory=list)
    _turns: defaultdict[str, int] = field(default_factory=lambda: defaultdict(int))
    _head: defaultdict[str, int] = field(default_factory=lambda: defaultdict(int))

    async def Converse(self, requests: AsyncIterator[Any], context: Any) -> AsyncIterator[Any]:
        """Answers each turn by the script."""
        session_id = ""
        async for request in requests:
            if request.HasField("open"):
                session_id = request.open.session_id
                self.opened.append(session_id)
                await context.send_initial_metadata(((names.NODE, self.node), (names.EPOCH, "7")))
                opened = session_pb2.Opened(session_id=session_id, node_id=self.node, head_seq=self._head[session_id])
                yield _converse([session_pb2.Event(epoch=7, opened=opened)])
                continue
            step, events = self._answer(session_id, request.turn)
            if step == END:
                return
            yield _converse(events[:2])
            await _misbehave(step, context)
            yield _converse(events[2:])
            if step == ERROR_BEHIND:
                await _misbehave(ERROR, context)

    async def RunTurn(self, request: Any, context: Any) -> AsyncIterator[Any]:
        """Answers the turn by the script."""
        self.opened.append(request.session_id)
        step, events = self._answer(request.session_id, request.turn)
        await context.send_initial_metadata(((names.NODE, self.node), (names.EPOCH, "7")))
        if step == END:
            return
        yield session_pb2.RunTurnResponse(through_seq=0, acked_frame=1, events=events[:2])
        await _misbehave(step, context)
        yield session_pb2.RunTurnResponse(through_seq=0, acked_frame=1, events=events[2:])

    def _answer(self, session_id: str, turn: Any) -> tuple[str, list[session_pb2.Event]]:
        step = self.script[min(self._turns[session_id], len(self.script) - 1)]
        self._turns[session_id] += 1
        self.turn_ids.append(turn.turn_id)
        tokens = int(turn.input.data["tokens"])
        events = _turn(step, turn.turn_id, self.node, self._head[session_id], tokens)
        self._head[session_id] = max(self._head[session_id], *(event.seq for event in events))
        return step, events


@asynccontextmanager
async def serving(service: FakeService) -> AsyncIterator[str]:
    """Serves on a free port of the loopback; yields `host:port`."""
    server = grpc.aio.server()
    methods: dict[str, grpc.RpcMethodHandler[Any, Any]] = {
        "Converse": grpc.stream_stream_rpc_method_handler(
            service.Converse,
            session_pb2.ConverseRequest.FromString,
            session_pb2.ConverseResponse.SerializeToString,
        ),
        "RunTurn": grpc.unary_stream_rpc_method_handler(
            service.RunTurn,
            session_pb2.RunTurnRequest.FromString,
            session_pb2.RunTurnResponse.SerializeToString,
        ),
    }
    server.add_generic_rpc_handlers((grpc.method_handlers_generic_handler("agentring.v1.SessionService", methods),))
    port = server.add_insecure_port("127.0.0.1:0")
    await server.start()
    try:
        yield f"127.0.0.1:{port}"
    finally:
        await server.stop(None)


def _converse(events: Iterable[session_pb2.Event]) -> session_pb2.ConverseResponse:
    return session_pb2.ConverseResponse(through_seq=0, acked_frame=1, events=events)


async def _misbehave(step: str, context: Any) -> None:
    if step == ERROR:
        info = AnyMessage()
        info.Pack(error_details_pb2.ErrorInfo(reason="NODE_OVERLOADED", domain="agentring"))
        status = status_pb2.Status(code=code_pb2.RESOURCE_EXHAUSTED, message="full", details=[info])
        await context.abort_with_status(rpc_status.to_status(status))
    elif step == BARE_ERROR:
        await context.abort(grpc.StatusCode.UNAVAILABLE, "gone")
    elif step == SILENCE:
        await asyncio.Event().wait()


def _turn(step: str, turn_id: str, node: str, head: int, tokens: int) -> list[session_pb2.Event]:
    """turn_accepted, turn_started, two deltas, the end: with what the step makes wrong."""
    if step == REJECT:
        return [session_pb2.Event(epoch=7, turn_rejected=session_pb2.TurnRejected(reason="MAILBOX_FULL", frame=2))]
    words = [f"wörd{number} " for number in range(tokens - (step == WRONG_TOKENS))]
    middle = len(words) // 2
    first, second = "".join(words[:middle]), "".join(words[middle:])
    epoch, late_node = (9, "n9") if step == MOVE else (7, node)
    events = [
        session_pb2.Event(seq=head + 1, epoch=7, turn_accepted=session_pb2.TurnAccepted()),
        session_pb2.Event(seq=head + 2, epoch=epoch, turn_started=session_pb2.TurnStarted(node_id=late_node)),
        session_pb2.Event(
            seq=head + 2 + middle,
            first_seq=head + 3,
            epoch=epoch,
            text_delta=session_pb2.TextDelta(offset=0, text=first),
        ),
    ]
    if step == GO_AWAY:
        events.append(session_pb2.Event(go_away=session_pb2.GoAway(reason="ROUTER_STOPPING", resume_seq=head)))
    seq = head + 3 + middle + (step == GAP)
    offset = len(first.encode())
    events.append(session_pb2.Event(seq=seq, epoch=epoch, text_delta=session_pb2.TextDelta(offset=offset, text=second)))
    end = session_pb2.Event(seq=seq + 1, epoch=epoch)
    if step == FAIL:
        end.turn_failed.reason = "AGENT_ERROR"
    else:
        end.turn_completed.text_bytes = offset + len(second.encode()) - (step == WRONG_BYTES)
        end.turn_completed.result["tokens"] = len(words)
    events.append(end)
    for event in events:
        if not event.HasField("go_away"):
            event.turn_id = turn_id
    return events
