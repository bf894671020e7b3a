"""A Converse call without gRPC: the frames that a client sends, and what it is sent, at the test's pace."""

import asyncio
from collections.abc import AsyncIterator, Callable
from pathlib import Path
from types import SimpleNamespace
from typing import Any, cast

from agent_node.lifecycle.supervisor import IncarnationSupervisor
from agent_node.run.wait_cycles import WaitCycles
from agent_node.services.converse import converse
from agent_node.session.session import Session
from agent_node.settings import NodeSettings
from agentring.auth.access import Caller
from agentring.errors import AgentringError
from agentring.rpc.service import Call
from agentring.v1 import session_pb2
from agentring.v1.session_pb2 import ConverseRequest, ConverseResponse, Event


class FakeConversation:
    """One stream with a session, served by a task of its own."""

    def __init__(self, session: Session, metadata: dict[str, str] | None = None, **settings: int) -> None:
        """settings: the node's, where they are not the defaults."""
        self.caller: Caller | None = None
        self.metadata = metadata or {}
        self.headers: dict[str, str] = {}
        """What the call was accepted with."""
        self.targets: list[str] = []
        """What the call's message said it is about, where its metadata did not."""
        self.responses: list[ConverseResponse] = []
        self.frames_taken = 0
        self.elsewhere: AgentringError | None = None
        """Where the session is instead."""
        self.reads = asyncio.Event()
        """Cleared: the client does not read."""
        self.reads.set()
        self.sending = asyncio.Event()
        """Set once a response is to be sent."""
        self._sent = asyncio.Event()
        self._frames: asyncio.Queue[ConverseRequest | Exception | None] = asyncio.Queue()
        self._session = session
        node_settings = NodeSettings.model_validate({"node_id": "n1", "data_dir": Path("unused"), **settings})
        identity = SimpleNamespace(identity=SimpleNamespace(node_id="n1"))
        current = SimpleNamespace(
            host=SimpleNamespace(open=self._open),
            registration=identity,
            wait_cycles=WaitCycles(),
            quota=session.env.quota,
            raise_if_held_elsewhere=self._held_here,
        )
        incarnations = cast(IncarnationSupervisor, SimpleNamespace(current=current))
        self.served = asyncio.ensure_future(converse(incarnations, node_settings, self._requests(), cast(Call, self)))

    async def _open(self, _ref: object, agent: str, _asking: object) -> Session:
        self._session.check_agent(agent)
        return self._session

    async def _held_here(self, _ref: object) -> None:
        if self.elsewhere is not None:
            raise self.elsewhere

    async def _requests(self) -> AsyncIterator[ConverseRequest]:
        while (frame := await self._frames.get()) is not None:
            if isinstance(frame, Exception):
                raise frame
            self.frames_taken += 1
            yield frame

    def named(self, _tenant: str, target: str) -> None:
        """As Call."""
        self.targets.append(target)

    async def accept(self, *metadata: tuple[str, str]) -> None:
        """As Call."""
        self.headers = dict(metadata)

    async def send_encoded(self, response: bytes) -> None:
        """As Call."""
        self.sending.set()
        await self.reads.wait()
        self.responses.append(ConverseResponse.FromString(response))
        self._sent.set()

    @property
    def accepted(self) -> bool:
        return bool(self.headers)

    def frame(self, frame: ConverseRequest | Exception) -> None:
        """The client sends a frame, or something that cannot be read."""
        self._frames.put_nowait(frame)

    def open(self, after_seq: int | None = None, agent: str = "") -> None:
        self.frame(ConverseRequest(open=session_pb2.Open(session_id="s", agent=agent, after_seq=after_seq)))

    def turn(self, turn_id: str = "", text: str = "hi", on_busy: int = 0) -> None:
        turn = session_pb2.Turn(
            turn_id=turn_id, input=session_pb2.Input(text=text), on_busy=session_pb2.OnBusy.ValueType(on_busy)
        )
        self.frame(ConverseRequest(turn=turn))

    def cancel(self, turn_id: str) -> None:
        self.frame(ConverseRequest(cancel=session_pb2.Cancel(turn_id=turn_id)))

    def close(self) -> None:
        """The client has no more to send."""
        self._frames.put_nowait(None)

    @property
    def events(self) -> list[Event]:
        return [event for response in self.responses for event in response.events]

    @property
    def kinds(self) -> list[str]:
        return [str(event.WhichOneof("body")) for event in self.events]

    @property
    def acked_frame(self) -> int:
        return int(self.responses[-1].acked_frame) if self.responses else 0

    def of(self, kind: str) -> list[Event]:
        return [event for event in self.events if event.WhichOneof("body") == kind]

    async def until(self, found: Callable[[], Any]) -> None:
        """Returns once something holds of what was sent. Raises what the stream ends with before."""
        while not found():
            self._sent.clear()
            sent = asyncio.ensure_future(self._sent.wait())
            try:
                await asyncio.wait([sent, self.served], return_when=asyncio.FIRST_COMPLETED)
            finally:
                sent.cancel()
                await asyncio.wait([sent])
            if self.served.done() and not found():
                self.served.result()
                raise AssertionError(f"the stream ended with OK: {self.kinds}")


async def ended(*conversations: FakeConversation) -> None:
    """The clients hang up."""
    for conversation in conversations:
        conversation.served.cancel()
    await asyncio.wait([conversation.served for conversation in conversations])
