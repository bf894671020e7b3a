"""The clients: sessions with turns, and tasks asked for by two at once. Every try is kept as a Call.

A client goes on with the same turn_id until it is told how the turn ended, as a careful user's would; after some turns
it begins another session, so that new ones are claimed all the time. What the clients do is drawn from the seed; when
they do it depends on the machine.
"""

import asyncio
import random
from collections import Counter
from collections.abc import AsyncIterator, Callable, Mapping
from contextlib import asynccontextmanager
from typing import Any

import grpc
from google.protobuf import struct_pb2
from grpc import aio

from agentring import metadata
from agentring.rpc.status import read_error
from agentring.v1 import session_pb2, session_pb2_grpc, task_pb2, task_pb2_grpc
from robustness.chaos.validate.audit_files import until
from robustness.chaos.validate.evidence import Call, now_ns
from robustness.chaos.validate.said import Kind, Said

AGENT = "counting"
TENANT = "default"
RETRY_S = 0.05
PACE_S = 0.03
_LIVE = ("turn_started", "text_delta", "tool_call", "tool_result")
"""Events that come as they happen; an ended turn's outcome may be told again under its own epoch."""
SHARED_PART = 0.3
"""Of turns and tasks have a step that others have at the same time."""
TRY_S = 2.0
"""Deadline of one try; a turn of so many steps takes a tenth of it."""


class Traffic:
    """Clients at work. Resource handling: `async with running(...)`."""

    def __init__(
        self, routers: Mapping[str, str], seed: int, credentials: grpc.ChannelCredentials | None = None
    ) -> None:
        """routers: addresses by name; seed: of everything that is drawn; credentials: None: plaintext."""
        self._seed = seed
        options = (("grpc.use_local_subchannel_pool", 1), ("grpc.max_reconnect_backoff_ms", 200))
        self._channels = {
            name: aio.secure_channel(address, credentials, options)
            if credentials is not None
            else aio.insecure_channel(address, options)
            for name, address in routers.items()
        }
        self._stopped = asyncio.Event()
        self._last_ok_ns: dict[str, int] = {}
        """By client: when its last turn that ended well was first sent."""
        self.calls: list[Call] = []

    @property
    def turns(self) -> int:
        """How many were told their end."""
        return sum(call.ok for call in self.calls)

    def errors(self) -> Counter[str]:
        """Tries that ended otherwise, by reason."""
        return Counter(call.reason for call in self.calls if not call.ok)

    def stop(self) -> None:
        """No client begins another turn, or tries again."""
        self._stopped.set()

    def expect_client(self, number: int) -> None:
        """There will be this one."""
        self._last_ok_ns[f"c{number}"] = 0

    async def close(self) -> None:
        """Ends the connections."""
        for channel in self._channels.values():
            await channel.close()

    async def until_recovered(self, within_s: float) -> bool:
        """Returns once every client had a turn end well that it sent after now; False: not in time."""
        since_ns = now_ns()
        try:
            async with asyncio.timeout(within_s):
                await until(lambda: min(self._last_ok_ns.values()) > since_ns)
        except TimeoutError:
            return False
        return True

    async def session_client(self, number: int, *, steps: int = 4, pace_s: float = PACE_S) -> None:
        """Speaks with one session after the other until told to stop."""
        client = f"c{number}"
        drawn = random.Random(f"{self._seed}/{client}")
        sessions = 0
        while not self._stopped.is_set():
            sessions += 1
            session_id = f"s-{self._seed}-{number}-{sessions}"
            for turn in range(drawn.randint(5, 40)):
                data = {"steps": drawn.randint(1, steps), "pace_s": pace_s} | self._step(drawn)
                began_ns = now_ns()
                if await self.turn_until_ended(client, session_id, f"t{turn + 1}", data, drawn):
                    self._last_ok_ns[client] = began_ns
                if self._stopped.is_set():
                    break
                await asyncio.sleep(drawn.uniform(0.01, 0.05))

    async def task_clients(self, number: int) -> None:
        """Two clients that ask for the same task at the same time, one task after the other."""
        drawn = random.Random(f"{self._seed}/task{number}")
        tasks = 0
        while not self._stopped.is_set():
            tasks += 1
            key = f"k-{self._seed}-{number}-{tasks}"
            data = {"steps": drawn.randint(1, 6), "pace_s": PACE_S} | self._step(drawn)
            pair = [self.task_until_ended(f"k{number}{half}", key, data, drawn) for half in "ab"]
            await asyncio.gather(*pair)
            await asyncio.sleep(drawn.uniform(0.02, 0.1))

    async def turn_until_ended(
        self, client: str, session_id: str, turn_id: str, data: dict[str, Any], drawn: random.Random
    ) -> bool:
        """Tries a turn until its end is told; whether it completed."""
        while not self._stopped.is_set():
            call = await self.turn(client, session_id, turn_id, data, drawn.choice(list(self._channels)))
            if call.ok or call.reason.startswith("turn_"):
                return call.ok
            await asyncio.sleep(RETRY_S)
        return False

    async def turn(
        self,
        client: str,
        session_id: str,
        turn_id: str,
        data: dict[str, Any],
        router: str,
        *,
        timeout_s: float = TRY_S,
    ) -> Call:
        """One try of one turn."""
        request = session_pb2.RunTurnRequest(session_id=session_id, agent=AGENT)
        request.turn.turn_id = turn_id
        request.turn.input.data.update(data)
        call = Call(client, f"session/{TENANT}/{session_id}", turn_id, router, now_ns(), once=data.get("once", ""))
        request.keeps_valid = call.keeps_valid = _keeps_valid(client)
        stub = session_pb2_grpc.SessionServiceStub(self._channels[router])
        return await self._tried(call, lambda: stub.RunTurn(request, timeout=timeout_s))

    async def task(self, client: str, key: str, data: dict[str, Any], router: str, *, timeout_s: float = TRY_S) -> Call:
        """One try of one task."""
        call = Call(client, f"task/{TENANT}/{key}", "", router, now_ns(), once=data.get("once", ""))
        request = _task(key, data)
        request.keeps_valid = call.keeps_valid = _keeps_valid(client)
        stub = task_pb2_grpc.TaskServiceStub(self._channels[router])
        return await self._tried(call, lambda: stub.RunTask(request, timeout=timeout_s))

    async def leave_task(self, key: str, data: dict[str, Any], router: str) -> str:
        """Asks for a task and leaves once it is accepted; its node. Raises AioRpcError."""
        answer = task_pb2_grpc.TaskServiceStub(self._channels[router]).RunTask(_task(key, data), timeout=TRY_S)
        headers = dict(await answer.initial_metadata())
        if metadata.NODE not in headers:
            await answer.read()  # it was refused: this raises why
        answer.cancel()
        return str(headers[metadata.NODE])

    async def task_until_ended(self, client: str, key: str, data: dict[str, Any], drawn: random.Random) -> Call | None:
        """Tries a task until its end is told; None: it was not when all clients were told to stop."""
        while not self._stopped.is_set():
            call = await self.task(client, key, data, drawn.choice(list(self._channels)))
            if call.ok or call.reason.startswith("turn_"):
                return call
            await asyncio.sleep(RETRY_S)
        return None

    def _step(self, drawn: random.Random) -> dict[str, Any]:
        """A step of this second's, which others ask for, too; or none."""
        if drawn.random() > SHARED_PART:
            return {}
        twice = drawn.random() < 0.5
        second = int(asyncio.get_running_loop().time())
        return {"once": f"o-{self._seed}-{second}-{'any' if twice else 'single'}", "twice": twice}

    async def _tried(self, call: Call, begin: Callable[[], Any]) -> Call:
        self.calls.append(call)
        epochs: dict[int, None] = {}
        try:
            answer = begin()
            headers = dict(await answer.initial_metadata())
            if metadata.EPOCH in headers:
                call.accepted_ns = now_ns()
                call.node, call.epoch = headers[metadata.NODE], int(headers[metadata.EPOCH])
            async for response in answer:
                if isinstance(response, task_pb2.RunTaskResponse):
                    call.replayed |= response.disposition == task_pb2.DISPOSITION_REPLAYED
                for event in response.events:
                    if event.WhichOneof("body") in _LIVE:
                        epochs[event.epoch] = None
                    _take(call, event)
        except aio.AioRpcError as error:
            call.reason = call.reason or _reason(error)
        call.event_epochs = tuple(epochs)
        call.ended_ns = now_ns()
        return call


def _task(key: str, data: dict[str, Any]) -> task_pb2.RunTaskRequest:
    request = task_pb2.RunTaskRequest(task_key=key, agent=AGENT)
    request.input.data.update(data)
    return request


def _keeps_valid(client: str) -> bool:
    """Half of the clients do; of two that ask for one task the second."""
    return client[-1] in "13579b"


def _said(event: session_pb2.Event) -> Said | None:
    match event.WhichOneof("body"):
        case "text_delta":
            return Said(Kind.WORDS, event.seq, event.text_delta.offset, event.text_delta.text)
        case "custom_event":
            number = event.custom_event.data.struct_value.fields["number"].number_value
            return Said(Kind.EMITTED, event.seq, int(number))
        case "attempt_restarted":
            restarted = event.attempt_restarted
            return Said(
                Kind.RESTARTED, event.seq, restarted.valid_text_bytes, valid_seq=int(restarted.valid_through_seq)
            )
        case "gap":
            return Said(Kind.GAP, event.seq)
        case _:
            return None


def _take(call: Call, event: session_pb2.Event) -> None:
    kind = event.WhichOneof("body")
    if (said := _said(event)) is not None:
        call.said.append(said)
    if kind == "turn_accepted":
        call.acknowledged_ns = call.acknowledged_ns or now_ns()
    if kind == "turn_completed":
        result: struct_pb2.Struct = event.turn_completed.result
        call.ok, call.result, call.end_epoch = True, str(result["run"]), event.epoch
        call.once_result = str(result["once"])
        call.words, call.emitted = str(result["words"]), int(result.fields["emitted"].number_value)
        call.number = int(result.fields["number"].number_value) if call.turn else None
    elif kind in ("turn_failed", "turn_cancelled"):
        end = event.turn_failed if kind == "turn_failed" else event.turn_cancelled
        call.reason = f"{kind} {end.reason}"


def _reason(error: aio.AioRpcError) -> str:
    if error.code() is grpc.StatusCode.DEADLINE_EXCEEDED:
        return "DEADLINE"
    report = read_error(error)
    return report.reason or error.code().name


@asynccontextmanager
async def running(
    routers: Mapping[str, str],
    seed: int,
    *,
    sessions: int,
    tasks: int,
    steps: int = 4,
    pace_s: float = PACE_S,
    credentials: grpc.ChannelCredentials | None = None,
) -> AsyncIterator[Traffic]:
    """So many clients of sessions, and pairs of clients of tasks; they end with the context."""
    traffic = Traffic(routers, seed, credentials)
    try:
        async with asyncio.TaskGroup() as group:
            for number in range(sessions):
                traffic.expect_client(number)
                group.create_task(traffic.session_client(number, steps=steps, pace_s=pace_s))
            for number in range(tasks):
                group.create_task(traffic.task_clients(number))
            try:
                yield traffic
            finally:
                traffic.stop()
    finally:
        await traffic.close()
