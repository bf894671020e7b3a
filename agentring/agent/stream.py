"""A step whose result comes in pieces, as an agent reads it."""

from types import TracebackType
from typing import Any, Protocol, Self


class StepStream(Protocol):
    """What `ctx.stream_step` returns: its pieces by `async for`, once, and what came with them.

        stream = ctx.stream_step("model", complete, prompt)
        async for piece in stream:
            yield piece
        usage = stream.result

    Nothing is called before the first piece is asked for. Leaving the loop early ends the function; what is recorded
    then are the pieces that came, without a result. Who keeps the stream in a variable and leaves it early closes it
    before the next step: `async with`, or `aclose`.
    """

    @property
    def result(self) -> Any:
        """What the function yielded beside its text, once the stream has come to its end; None: nothing. JSON, or as
        `returns=` says.

        tool_calls = (stream.result or {}).get("tool_calls", [])
        """

    def __aiter__(self) -> Self:
        """Itself."""

    async def __anext__(self) -> str:
        """The next piece. Raises as `Context.step`; what the function raised comes after its pieces, as StepFailed."""

    async def aclose(self) -> None:
        """Leaves it. One that is at its end stays as it is.

        await stream.aclose()
        """

    async def __aenter__(self) -> Self:
        """Itself."""

    async def __aexit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        """As aclose."""
