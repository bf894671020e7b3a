"""A step whose result comes in pieces: what `ctx.stream_step` returns.

Guarantees what steps.py does for every step; the pieces reach the agent as they come, and in a later attempt as they
were recorded, in fewer pieces perhaps. One that the agent leaves before its end is recorded with the pieces that it
got, before any later step is; a function that fails is tried again only while none of its pieces was handed over.
"""

import asyncio
from collections.abc import AsyncIterator, Awaitable, Callable
from contextlib import suppress
from types import TracebackType
from typing import Any, Self

from agent_node.step import streamed
from agent_node.step.function import StepCall, StepOptions
from agent_node.step.journal import Recorded
from agent_node.step.open_steps import OpenStep
from agent_node.step.outcome import MOST_VALUE_BYTES, UNKNOWN, StepOutcome, failed, failed_with, was_cancelled
from agent_node.step.position import being
from agent_node.step.steps import MOST_BYTES, Steps
from agent_node.step.storage_keys import Changes
from agent_node.step.typed import as_type
from agent_node.store.step_records import StepState
from agentring.agent import Result, StepFailed, StepUnknown

_NOTHING = object()


class Stream:
    """A StepStream (agentring/agent/stream.py)."""

    def __init__(
        self, steps: Steps, name: str, call: StepCall, options: StepOptions, check: Callable[[], None]
    ) -> None:
        """check: raises where no step may begin."""
        self._steps = steps
        self._check = check
        self._name = name
        self._call = call
        self._options = options
        self._opened: OpenStep | None = None
        self._recorded: Recorded | None = None
        """None: the function is called."""
        self._source: AsyncIterator[Any] | None = None
        self._again: streamed.Streamed | None = None
        self._handed: list[str] = []
        self._size_chars = 0
        self._value: Any = _NOTHING
        self._tries = 0
        self._gives_up_at_s: float | None = None
        self._steps_before = 0
        """How many there were when it began."""
        self._reader: asyncio.Task[Any] | None = None
        self._cancels = 0
        """How often its reader had been cancelled when it asked for the last piece."""
        self._is_called = False
        self._is_streaming = False
        """Its pieces are being told."""
        self._is_over = False
        self._result: Any = None

    @property
    def result(self) -> Any:
        """As StepStream."""
        return self._result

    def __aiter__(self) -> Self:
        """Itself: it can be iterated once."""
        return self

    async def __anext__(self) -> str:
        """The next piece. Raises as Context.step, with the function's own error after its pieces."""
        if self._is_over:
            raise StopAsyncIteration
        self._reader = asyncio.current_task()
        self._cancels = self._reader.cancelling() if self._reader is not None else 0
        try:
            if self._opened is None:
                self._check()
                await self._steps.ready()
                self._opened = self._steps.open("stream", self._name, self._call, self._options)
                self._recorded = self._steps.journal.ask(self._opened.row.step_id)
                self._steps_before = self._steps.journal.count
            piece = await (self._next(self._opened) if self._recorded is None else self._replayed(self._recorded))
        except BaseException:
            self._end()
            raise
        self._handed.append(piece)
        return piece

    async def aclose(self) -> None:
        """As StepStream."""
        source = self._source
        self._leave()
        if (close := getattr(source, "aclose", None)) is not None:
            await close()

    async def __aenter__(self) -> Self:
        """Itself."""
        return self

    async def __aexit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        """As aclose."""
        await self.aclose()

    def __del__(self) -> None:
        """Who leaves an `async for` early holds it no more."""
        with suppress(Exception):  # the run, or its event loop, is over
            self._leave()

    async def _next(self, opened: OpenStep) -> str:
        """From the function."""
        steps, options = self._steps, self._options
        try:
            if not self._is_called:
                if steps.journal.was_started(opened.row.step_id):
                    await steps.commit(opened, UNKNOWN)
                    raise StepUnknown(self._name)
                self._call = await steps.enter(opened, self._call, options, streams=True)
                self._is_called = self._is_streaming = True
                self._steps_before = steps.journal.count
            with being(opened.position.inside(opened.row.step_id)):
                outcome = await self._piece(opened.storage)
        except asyncio.CancelledError:
            if steps.is_stopping:
                raise
            if self._was_cancelled:
                self._note_cancel(opened)
                raise
            outcome = self._broke_off(failed_with("CancelledError", ""))  # what it waited for was cancelled
        if isinstance(outcome, str):
            return outcome
        self._stop_streaming()
        outcome = await steps.commit(opened, outcome, idempotent=options.idempotent)
        return self._last(outcome)

    async def _piece(self, storage: Changes) -> str | StepOutcome:
        """The function's next piece, or how it ended."""
        options, clock = self._options, self._steps.clock
        while True:
            try:
                if self._source is None:
                    self._tries += 1
                    if self._tries > 1:
                        await self._steps.may_try()
                    storage.restart()
                    self._gives_up_at_s = None if options.timeout_s is None else clock.now_s() + options.timeout_s
                left_s = None if self._gives_up_at_s is None else self._gives_up_at_s - clock.now_s()
                async with clock.timeout(left_s):
                    return await self._from_source()
            except StopAsyncIteration:
                self._steps.check()
                value = None if self._value is _NOTHING else self._value
                return streamed.ended(self._handed, value, self._left_bytes, together=self._together)
            except Exception as error:
                self._steps.check()
                may_try = options.idempotent and not self._handed
                if may_try and await storage.tries_again(error):
                    self._source, self._value = None, _NOTHING
                    continue
                retry = options.retry if may_try else None
                if retry is None or not retry.tries_again(error, self._tries):
                    return self._broke_off(failed(error))
                self._source, self._value = None, _NOTHING
                await clock.sleep(retry.wait_s(self._tries))

    async def _from_source(self) -> str:
        if self._source is None:
            made = self._call.function(*self._call.args, **self._call.kwargs)
            self._source = aiter(await made if isinstance(made, Awaitable) else made)
        while True:
            piece = await anext(self._source)
            if self._value is not _NOTHING:
                raise TypeError("a stream yields str, and one other value, which is its last")
            if isinstance(piece, str):
                self._size_chars += len(piece)
                if self._size_chars > MOST_VALUE_BYTES:
                    raise ValueError("more text than a step's result may have")
                return str.__str__(piece)
            self._value = piece.data if isinstance(piece, Result) else piece

    async def _replayed(self, recorded: Recorded) -> str:
        """From its record."""
        row = recorded.row
        if self._again is None:
            self._again = streamed.read(await self._steps.outcome(row))
        if len(self._handed) < len(self._again.pieces):
            return self._again.pieces[len(self._handed)]
        if was_cancelled(row):
            await asyncio.get_running_loop().create_future()  # until its agent cancels it as it did
        return self._last(await self._steps.in_turn(recorded))

    def _last(self, outcome: StepOutcome) -> str:
        """What comes of its outcome: no piece."""
        if outcome.state == StepState.UNKNOWN:
            raise StepUnknown(self._name)
        again = streamed.read(outcome)
        if again.error is not None:
            raise StepFailed(self._name, *again.error)
        value, kind = again.value, self._options.returns
        self._result = value if kind is None or value is None else as_type(kind, value)
        raise StopAsyncIteration

    def _leave(self) -> None:
        """The agent asks for no more of it."""
        opened = self._opened
        if self._is_over or opened is None:
            self._is_over = True
            return
        try:
            if self._recorded is None and self._is_called and not self._steps.is_stopping:
                self._steps.check()
                if self._was_cancelled:
                    self._note_cancel(opened)
                else:
                    self._stop_streaming()
                    left = streamed.ended(self._handed, None, self._left_bytes, together=self._together)
                    self._steps.note_end(opened.row, left)
        finally:
            self._end()

    def _end(self) -> None:
        self._is_over = True
        self._stop_streaming()
        self._source = None
        if self._opened is not None:
            if self._recorded is not None:
                self._steps.journal.handed_over(self._opened.row.step_id)
            self._steps.close(self._opened)
            self._opened = None

    def _broke_off(self, error: StepOutcome) -> StepOutcome:
        return streamed.broke_off(self._handed, error, self._left_bytes, together=self._together)

    def _stop_streaming(self) -> None:
        if self._is_streaming:
            self._is_streaming = False
            self._steps.publication.end_stream()

    def _note_cancel(self, opened: OpenStep) -> None:
        self._stop_streaming()
        value = streamed.cut(self._handed, together=self._together)
        self._steps.note_cancel(opened.row, is_called=self._is_called, idempotent=self._options.idempotent, value=value)

    @property
    def _was_cancelled(self) -> bool:
        """By its agent, since it asked for the last piece."""
        return self._reader is not None and self._reader.cancelling() > self._cancels

    @property
    def _left_bytes(self) -> int:
        return MOST_BYTES - self._steps.journal.size_bytes

    @property
    def _together(self) -> bool:
        """No step has begun since it did."""
        return self._steps.journal.count == self._steps_before
