"""A session and its turns for programs without an event loop; the rest, and what is guaranteed, in sync.py."""

from collections.abc import Iterator, Sequence
from types import TracebackType
from typing import Generic, Self, TypeVar

from agentring.client.converse import Attached
from agentring.client.events import Event
from agentring.client.inputs import File, FilePart, Json, SentPart
from agentring.client.loop_thread import LoopThread
from agentring.client.session import OnBusy, TurnState
from agentring.client.session import Session as AsyncSession
from agentring.client.session import SubmittedTurn as AsyncSubmittedTurn
from agentring.client.session import Turn as AsyncTurn
from agentring.client.session_info import SessionInfo
from agentring.client.streams import EventStream
from agentring.client.turn_stream import Outcome, RunStream

S = TypeVar("S", bound=EventStream, covariant=True)
R = TypeVar("R", bound=RunStream, covariant=True)


class Events(Generic[S]):
    """Events, by `for`. `with` or `close` ends the stream at once; dropping it does so soon."""

    def __init__(self, loop: LoopThread, stream: S) -> None:
        """Nothing is sent yet."""
        self._loop = loop
        self._stream = stream

    def __iter__(self) -> Iterator[Event]:
        """Itself: it can be iterated once."""
        return self

    def __next__(self) -> Event:
        """As EventStream.__anext__."""
        event = self._loop.run(_next(self._stream))
        if event is None:
            raise StopIteration
        return event

    @property
    def seq(self) -> int | None:
        """As EventStream.seq."""
        return self._stream.seq

    def close(self) -> None:
        """Leaves the stream. The turn or task goes on."""
        self._loop.run(self._stream.aclose())

    def __enter__(self) -> Self:
        """Itself."""
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        """Leaves the stream."""
        self.close()

    def __del__(self) -> None:
        """Who leaves a `for` early holds it no more."""
        self._loop.leave(self._stream)


async def _next(stream: EventStream) -> Event | None:
    return await anext(stream, None)


class Run(Events[R]):
    """The events of a turn or a task's run."""

    @property
    def text(self) -> str:
        """As RunStream.text."""
        return self._stream.text

    def outcome(self) -> Outcome:
        """As RunStream.outcome."""
        return self._loop.run(self._stream.outcome())


class Turn(Run[AsyncTurn]):
    """The events of one turn; leaving it early does not cancel the turn."""

    @property
    def turn_id(self) -> str:
        """The turn's name."""
        return self._stream.turn_id

    def cancel(self) -> TurnState:
        """As Session.cancel."""
        return self._loop.run(self._stream.cancel())

    def reply(self, input_id: str, text: str = "", *, data: dict[str, Json] | None = None) -> None:
        """As Session.reply."""
        self._loop.run(self._stream.reply(input_id, text, data=data))


class SubmittedTurn:
    """A turn that was handed in; see agentring.client.SubmittedTurn."""

    def __init__(self, loop: LoopThread, submitted: AsyncSubmittedTurn) -> None:
        """Made by Session.submit."""
        self._loop = loop
        self._submitted = submitted

    @property
    def turn_id(self) -> str:
        """The turn's name."""
        return self._submitted.turn_id

    @property
    def accepted_seq(self) -> int:
        """The number of its first event."""
        return self._submitted.accepted_seq

    @property
    def state(self) -> TurnState:
        """How far it was when this was last asked."""
        return self._submitted.state

    def poll(self) -> TurnState:
        """How far it is now."""
        return self._loop.run(self._submitted.poll())

    def follow(self) -> Turn:
        """Its events, from the first to its end."""
        return Turn(self._loop, self._submitted.follow())

    def outcome(self) -> Outcome:
        """How it ended, once it has."""
        return self._loop.run(self._submitted.outcome())

    def cancel(self) -> TurnState:
        """As Session.cancel."""
        return self._loop.run(self._submitted.cancel())


class Session:
    """A session by its name; see agentring.client.Session for what its methods do and raise."""

    def __init__(self, loop: LoopThread, session: AsyncSession) -> None:
        """Made by Ring.session."""
        self._loop = loop
        self._session = session

    def send(
        self,
        text: str | Sequence[SentPart] = "",
        *,
        data: dict[str, Json] | None = None,
        turn_id: str = "",
        on_busy: OnBusy = OnBusy.ENQUEUE,
        timeout_s: float | None = None,
    ) -> Turn:
        """A turn, to be iterated."""
        return Turn(
            self._loop, self._session.send(text, data=data, turn_id=turn_id, on_busy=on_busy, timeout_s=timeout_s)
        )

    def run(
        self,
        text: str | Sequence[SentPart] = "",
        *,
        data: dict[str, Json] | None = None,
        turn_id: str = "",
        on_busy: OnBusy = OnBusy.ENQUEUE,
        timeout_s: float | None = None,
    ) -> Outcome:
        """Runs a turn to its end."""
        return self._loop.run(self._session.run(text, data=data, turn_id=turn_id, on_busy=on_busy, timeout_s=timeout_s))

    def submit(
        self,
        text: str | Sequence[SentPart] = "",
        *,
        data: dict[str, Json] | None = None,
        turn_id: str = "",
        on_busy: OnBusy = OnBusy.ENQUEUE,
        timeout_s: float | None = None,
    ) -> SubmittedTurn:
        """Hands in a turn, and returns once it is accepted."""
        submitted = self._loop.run(
            self._session.submit(text, data=data, turn_id=turn_id, on_busy=on_busy, timeout_s=timeout_s)
        )
        return SubmittedTurn(self._loop, submitted)

    def put_file(self, file: File) -> FilePart:
        """Puts a file, to which inputs may refer for an hour at least."""
        return self._loop.run(self._session.put_file(file))

    def get_file(self, file: FilePart) -> bytes:
        """The content of a file that the session has."""
        return self._loop.run(self._session.get_file(file))

    def open(self) -> Attached:
        """Makes it, if it does not exist, and says where it is."""
        return self._loop.run(self._session.open())

    def cancel(self, turn_id: str) -> TurnState:
        """Cancels a turn."""
        return self._loop.run(self._session.cancel(turn_id))

    def reply(self, input_id: str, text: str = "", *, data: dict[str, Json] | None = None) -> None:
        """Answers a question."""
        self._loop.run(self._session.reply(input_id, text, data=data))

    def watch(self, after_seq: int | None = None) -> Events[EventStream]:
        """The session's events, without end."""
        return Events(self._loop, self._session.watch(after_seq))

    def get(self) -> SessionInfo:
        """What is known of it."""
        return self._loop.run(self._session.get())

    def close(self) -> None:
        """Closes it for good."""
        self._loop.run(self._session.close())
