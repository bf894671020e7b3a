"""The client for programs without an event loop: the same words as agentring.client, without `async`.

    with connect("127.0.0.1:7700") as ring:
        for event in ring.session("ada", agent="assistant").send("my name is Ada"):
            ...

Guarantees what agentring.client does. A ring has one thread with an event loop, which ends with its `with`; its
sessions and streams may be used from any thread, a stream from one at a time. Called by users' programs.
"""

from collections.abc import AsyncIterator, Iterator
from types import TracebackType
from typing import Generic, Self, TypeVar

from agentring.client.converse import Attached
from agentring.client.events import Event, Json
from agentring.client.loop_thread import LoopThread
from agentring.client.retry import RetryPolicy
from agentring.client.ring import Ring as AsyncRing
from agentring.client.ring import connect as connect_async
from agentring.client.routers import Tls
from agentring.client.session import OnBusy, SessionInfo, TurnState
from agentring.client.session import Session as AsyncSession
from agentring.client.session import Turn as AsyncTurn
from agentring.client.streams import EventStream
from agentring.client.tasks import Disposition, OnDuplicate, TaskInfo, TaskOutcome, TaskState
from agentring.client.tasks import Task as AsyncTask
from agentring.client.tasks import TaskWatch as AsyncTaskWatch
from agentring.client.turn_stream import Outcome, RunStream

T = TypeVar("T")
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


def _each(loop: LoopThread, found: AsyncIterator[T]) -> Iterator[T]:
    while (item := loop.run(_next_of(found))) is not None:
        yield item


async def _next_of(found: AsyncIterator[T]) -> T | None:
    return await anext(found, None)


class Run(Events[R]):
    """The events of a turn or a task's run."""

    @property
    def text(self) -> str:
        """As RunStream.text."""
        return self._stream.text

    def outcome(self) -> Outcome:
        """As RunStream.outcome."""
        return self._loop.run(self._stream.outcome())


class Task(Run[AsyncTask]):
    """The events of a task's run."""

    @property
    def disposition(self) -> Disposition | None:
        """As agentring.client.Task.disposition."""
        return self._stream.disposition


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


class Session:
    """A session by its name; see agentring.client.Session for what its methods do and raise."""

    def __init__(self, loop: LoopThread, session: AsyncSession) -> None:
        """Made by Ring.session."""
        self._loop = loop
        self._session = session

    def send(
        self,
        text: str = "",
        *,
        data: dict[str, Json] | None = None,
        turn_id: str = "",
        on_busy: OnBusy = OnBusy.ENQUEUE,
    ) -> Turn:
        """A turn, to be iterated."""
        return Turn(self._loop, self._session.send(text, data=data, turn_id=turn_id, on_busy=on_busy))

    def run(
        self,
        text: str = "",
        *,
        data: dict[str, Json] | None = None,
        turn_id: str = "",
        on_busy: OnBusy = OnBusy.ENQUEUE,
    ) -> Outcome:
        """Runs a turn to its end."""
        return self._loop.run(self._session.run(text, data=data, turn_id=turn_id, on_busy=on_busy))

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


def connect(target: str, *, tls: Tls | None = None, tenant: str = "", policy: RetryPolicy | None = None) -> "Ring":
    """As agentring.client.connect."""
    return Ring(connect_async(target, tls=tls, tenant=tenant, policy=policy))


class Ring:
    """The sessions and tasks of one cluster; see agentring.client.Ring. Used by `with`."""

    def __init__(self, ring: AsyncRing) -> None:
        """See `connect`."""
        self._ring = ring
        self._loop = LoopThread()
        self._closed = False

    def session(self, session_id: str, *, agent: str = "") -> Session:
        """A session by its name."""
        return Session(self._loop, self._ring.session(session_id, agent=agent))

    def task(
        self,
        key: str,
        *,
        agent: str,
        text: str = "",
        data: dict[str, Json] | None = None,
        on_duplicate: OnDuplicate = OnDuplicate.JOIN,
        retention_s: float | None = None,
        cancel_when_unwatched: bool = False,
    ) -> Task:
        """A task, to be iterated."""
        made = self._ring.task(
            key,
            agent=agent,
            text=text,
            data=data,
            on_duplicate=on_duplicate,
            retention_s=retention_s,
            cancel_when_unwatched=cancel_when_unwatched,
        )
        return Task(self._loop, made)

    def run_task(
        self,
        key: str,
        *,
        agent: str,
        text: str = "",
        data: dict[str, Json] | None = None,
        on_duplicate: OnDuplicate = OnDuplicate.JOIN,
        retention_s: float | None = None,
        cancel_when_unwatched: bool = False,
    ) -> TaskOutcome:
        """Runs a task to its end."""
        return self._loop.run(
            self._ring.run_task(
                key,
                agent=agent,
                text=text,
                data=data,
                on_duplicate=on_duplicate,
                retention_s=retention_s,
                cancel_when_unwatched=cancel_when_unwatched,
            )
        )

    def watch_task(self, key: str, *, after_seq: int = 0) -> Run[AsyncTaskWatch]:
        """The events of a task that is there, to its end."""
        return Run(self._loop, self._ring.watch_task(key, after_seq=after_seq))

    def get_task(self, key: str) -> TaskInfo:
        """What is known of a task."""
        return self._loop.run(self._ring.get_task(key))

    def cancel_task(self, key: str) -> TaskState:
        """Cancels a task's run."""
        return self._loop.run(self._ring.cancel_task(key))

    def list_sessions(self, *, prefix: str = "", agent: str = "", page_size: int = 0) -> Iterator[SessionInfo]:
        """The sessions, by `for`."""
        return _each(self._loop, self._ring.list_sessions(prefix=prefix, agent=agent, page_size=page_size))

    def list_tasks(
        self, *, prefix: str = "", agent: str = "", state: TaskState = TaskState.UNSPECIFIED, page_size: int = 0
    ) -> Iterator[TaskInfo]:
        """The tasks, by `for`."""
        return _each(self._loop, self._ring.list_tasks(prefix=prefix, agent=agent, state=state, page_size=page_size))

    def close(self) -> None:
        """Ends every call, and the thread. Closing it again changes nothing."""
        if not self._closed:
            self._closed = True
            if self._loop.is_elsewhere:
                return  # it is the other process's to close
            self._loop.run(self._ring.close())
            self._loop.end()

    def __enter__(self) -> Self:
        """Itself."""
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        """Ends every call, and the thread."""
        self.close()
