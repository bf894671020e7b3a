"""The calls that a server serves: each is a task of its own, which ends here or is known to be left.

Called by ServiceConnection with each call's headers, and by Server when it stops. No call's fault is another's, and no
call ends without its client being told, however its task does.
"""

from __future__ import annotations

import asyncio
import uuid
from collections.abc import Mapping
from typing import Protocol

import structlog

from agentring.auth.access import Caller
from agentring.errors import AgentringError, InternalError
from agentring.rpc.call_recorder import CallRecorder
from agentring.rpc.service import Serve, serve
from agentring.rpc.service_stream import ServiceStream

_log = structlog.get_logger()


class CallAccess(Protocol):
    """Says who may have which call."""

    def admit(self, stream: ServiceStream) -> Caller | None:
        """Who has the call; None: nobody is asked for it. Raises AgentringError."""

    def ended(self, stream: ServiceStream) -> None:
        """The call of a caller has ended."""

    def tick(self) -> None:
        """Once a second."""


class CallTasks:
    """The calls that have not ended. Resource handling: `end_all`, then `wait`."""

    def __init__(
        self,
        methods: Mapping[str, Serve],
        loop: asyncio.AbstractEventLoop,
        *,
        first_frame_timeout_s: float,
        recorder: CallRecorder | None = None,
        access: CallAccess | None = None,
    ) -> None:
        """methods: by their full names; recorder: who writes down what calls there are; None: nobody; access: None:
        everybody may have every call."""
        self._recorder = recorder
        self._access = access
        self._methods = methods
        self._loop = loop
        self._first_frame_timeout_s = first_frame_timeout_s
        self._streams: dict[asyncio.Task[None], ServiceStream] = {}

    def __len__(self) -> int:
        """How many have not ended."""
        return len(self._streams)

    def begin(self, stream: ServiceStream) -> None:
        """A call's headers came."""
        if self._access is not None and stream.head.refusal is None:
            try:
                stream.caller = self._access.admit(stream)
            except AgentringError as error:
                stream.head.refusal = error.with_traceback(None)  # whose frames hold what was read
        if (recorder := self._recorder) is not None:
            stream.recorder = recorder
            recorder.opened(
                stream.head, stream.connection.peer, stream.caller.identity if stream.caller is not None else None
            )
        method = self._methods.get(stream.head.method)
        task = self._loop.create_task(serve(stream, method, self._first_frame_timeout_s))
        stream.task = task
        self._streams[task] = stream
        task.add_done_callback(self._ended)

    def end_all(self, error: AgentringError) -> None:
        """Ends each call with an error, whatever it is doing."""
        for stream in list(self._streams.values()):
            stream.fail(error)

    async def wait(self, timeout_s: float) -> None:
        """Until none is left, or for timeout_s."""
        deadline_s = self._loop.time() + timeout_s
        while self._streams and (left_s := deadline_s - self._loop.time()) > 0:
            await asyncio.wait(list(self._streams), timeout=left_s)

    def _ended(self, task: asyncio.Task[None]) -> None:
        stream = self._streams.pop(task)
        stream.task = None
        if stream.caller is not None and self._access is not None:
            self._access.ended(stream)
        error = None if task.cancelled() else task.exception()
        if error is None and stream.ended:
            return
        # Invariant: every call ends with a status (tests/unit/agentring/rpc/test_service_faults.py).
        # A method that cancels its own task, or an end that cannot be said: nobody else would tell the client.
        error_id = uuid.uuid4().hex[:16]
        _log.error("call_failed", method=stream.head.method, error_id=error_id, exc_info=error)
        stream.end(InternalError(error_id))
