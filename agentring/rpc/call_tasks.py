"""The calls that a server serves: each is a task of its own, which ends here or is known to be left.

Called by ServiceConnection with each call's headers, and by Server when it stops. No call's fault is another's, and no
call ends without its client being told, however its task does.
"""

from __future__ import annotations

import asyncio
import uuid
from collections.abc import Mapping

import structlog

from agentring.errors import AgentringError, InternalError
from agentring.rpc.call_recorder import CallRecorder
from agentring.rpc.service import Serve, serve
from agentring.rpc.service_stream import ServiceStream

_log = structlog.get_logger()


class CallTasks:
    """The calls that have not ended. Resource handling: `end_all`, then `wait`."""

    def __init__(
        self,
        methods: Mapping[str, Serve],
        loop: asyncio.AbstractEventLoop,
        *,
        first_frame_timeout_s: float,
        recorder: CallRecorder | None = None,
    ) -> None:
        """methods: by their full names; recorder: who writes down what calls there are; None: nobody."""
        self._recorder = recorder
        self._methods = methods
        self._loop = loop
        self._first_frame_timeout_s = first_frame_timeout_s
        self._streams: dict[asyncio.Task[None], ServiceStream] = {}

    def __len__(self) -> int:
        """How many have not ended."""
        return len(self._streams)

    def begin(self, stream: ServiceStream) -> None:
        """A call's headers came."""
        if (recorder := self._recorder) is not None:
            stream.recorder = recorder
            recorder.opened(stream.head, stream.connection.peer, None)
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
        error = None if task.cancelled() else task.exception()
        if error is None and stream.ended:
            return
        # Invariant: every call ends with a status (tests/unit/agentring/rpc/test_service_faults.py).
        # A method that cancels its own task, or an end that cannot be said: nobody else would tell the client.
        error_id = uuid.uuid4().hex[:16]
        _log.error("call_failed", method=stream.head.method, error_id=error_id, exc_info=error)
        stream.end(InternalError(error_id))
