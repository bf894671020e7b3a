"""The client for programs without an event loop: the same words as agentring.client, without `async`.

    with connect("127.0.0.1:7700") as ring:
        for event in ring.session("ada", agent="assistant").send("my name is Ada"):
            ...

Guarantees what agentring.client does. A ring has one thread with an event loop, which ends with its `with`; its
sessions and streams may be used from any thread, a stream from one at a time. Called by users' programs.
"""

from collections.abc import AsyncIterator, Iterator, Mapping
from types import TracebackType
from typing import Self, TypeVar

from agentring.client.inputs import Json
from agentring.client.loop_thread import LoopThread
from agentring.client.retry import RetryPolicy
from agentring.client.ring import Ring as AsyncRing
from agentring.client.ring import connect as connect_async
from agentring.client.routers import Credentials, Tls
from agentring.client.session_info import SessionInfo
from agentring.client.sync_session import Events, Run, Session, SubmittedTurn, Turn
from agentring.client.tasks import Disposition, OnDuplicate, TaskInfo, TaskOutcome, TaskState
from agentring.client.tasks import Task as AsyncTask
from agentring.client.tasks import TaskWatch as AsyncTaskWatch

__all__ = ["Events", "Ring", "Run", "Session", "SubmittedTurn", "Task", "Turn", "connect"]

T = TypeVar("T")


def _each(loop: LoopThread, found: AsyncIterator[T]) -> Iterator[T]:
    while (item := loop.run(_next_of(found))) is not None:
        yield item


async def _next_of(found: AsyncIterator[T]) -> T | None:
    return await anext(found, None)


class Task(Run[AsyncTask]):
    """The events of a task's run."""

    @property
    def disposition(self) -> Disposition | None:
        """As agentring.client.Task.disposition."""
        return self._stream.disposition


def connect(
    target: str,
    *,
    tls: Tls | None = None,
    tenant: str = "",
    policy: RetryPolicy | None = None,
    metadata: Mapping[str, str] | None = None,
    credentials: Credentials | None = None,
) -> "Ring":
    """As agentring.client.connect."""
    return Ring(
        connect_async(target, tls=tls, tenant=tenant, policy=policy, metadata=metadata, credentials=credentials)
    )


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
        timeout_s: float | None = None,
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
            timeout_s=timeout_s,
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
        timeout_s: float | None = None,
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
                timeout_s=timeout_s,
            )
        )

    def submit_task(
        self,
        key: str,
        *,
        agent: str,
        text: str = "",
        data: dict[str, Json] | None = None,
        on_duplicate: OnDuplicate = OnDuplicate.JOIN,
        retention_s: float | None = None,
        timeout_s: float | None = None,
    ) -> Disposition:
        """Hands in a task, and returns once it is accepted."""
        return self._loop.run(
            self._ring.submit_task(
                key,
                agent=agent,
                text=text,
                data=data,
                on_duplicate=on_duplicate,
                retention_s=retention_s,
                timeout_s=timeout_s,
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
