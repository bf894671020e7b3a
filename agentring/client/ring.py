"""`connect`: where a program that speaks with agents begins.

Guarantees that what is left of a ring's calls ends with its `async with`. Called by users' programs.
"""

from collections.abc import AsyncIterator, Mapping
from types import TracebackType
from typing import Self

from agentring.client.inputs import Json
from agentring.client.listing import list_sessions, list_tasks
from agentring.client.retry import RetryPolicy
from agentring.client.routers import Credentials, Routers, Tls
from agentring.client.session import Session
from agentring.client.session_info import SessionInfo
from agentring.client.streams import Connection
from agentring.client.tasks import (
    Disposition,
    OnDuplicate,
    Task,
    TaskInfo,
    TaskOutcome,
    TaskState,
    TaskWatch,
    cancel_task,
    get_task,
    to_request,
)


def connect(
    target: str,
    *,
    tls: Tls | None = None,
    tenant: str = "",
    policy: RetryPolicy | None = None,
    metadata: Mapping[str, str] | None = None,
    credentials: Credentials | None = None,
) -> "Ring":
    """A ring, by one of its routers or several: `host:port`, with commas between. Connects with the first call.

    tls: None: plain text. metadata: of every call, by names in lower case: agents see those as `ctx.caller.metadata`
    that their nodes' `--caller-metadata` names. credentials: gives, before each call, a token or key:

        ring = connect("ring.example:7700", tls=Tls(), credentials=lambda: Path("token").read_text().strip())

    Raises ValueError, InvalidTenantId; also where credentials would go over a network in plain text.
    """
    return Ring(Connection(Routers(target, tls, tenant, metadata, credentials), policy or RetryPolicy()))


class Ring:
    """The sessions and tasks of one cluster, for one tenant. Used by `async with`, in one event loop."""

    def __init__(self, connection: Connection) -> None:
        """See `connect`."""
        self._connection = connection

    def session(self, session_id: str, *, agent: str = "") -> Session:
        """A session by its name; it is made with its first turn. agent: what a new one is bound to; empty: it must
        exist. Raises InvalidSessionId."""
        return Session(self._connection, session_id, agent)

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
        """A task, to be iterated: it is asked for with its first event.

        retention_s: how long the outcome is kept, 60 to 86,400; None: 3,600. cancel_when_unwatched: a run that this
        call starts is cancelled when nobody has watched it for 30 s. timeout_s: as Session.send. Raises InvalidTaskKey.
        Iterating raises InvalidTimeout, AgentNotFound, TaskKeyActive (after a lost connection perhaps on account of its
        own run), TaskInputMismatch.
        """
        return Task(
            self._connection,
            to_request(key, agent, text, data, on_duplicate, retention_s, cancel_when_unwatched, timeout_s),
        )

    async def run_task(
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
        """Runs a task to its end. Raises RunFailed, RunCancelled, and what `task` raises. Cancellation: it goes on."""
        async with self.task(
            key,
            agent=agent,
            text=text,
            data=data,
            on_duplicate=on_duplicate,
            retention_s=retention_s,
            cancel_when_unwatched=cancel_when_unwatched,
            timeout_s=timeout_s,
        ) as task:
            ended = await task.outcome()
            return TaskOutcome(ended.text, ended.result, ended.is_whole, task.disposition, usage=ended.usage)

    async def submit_task(
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
        """Hands in a task, and returns once it is accepted; what comes of it is asked for later.

            await ring.submit_task("report-7", agent="reporter")
            ...
            if (await ring.get_task("report-7")).state is TaskState.COMPLETED: ...

        Raises what `task` raises. Cancellation: it may be accepted all the same.
        """
        async with self.task(
            key,
            agent=agent,
            text=text,
            data=data,
            on_duplicate=on_duplicate,
            retention_s=retention_s,
            timeout_s=timeout_s,
        ) as task:
            return await task.accepted()

    def watch_task(self, key: str, *, after_seq: int = 0) -> TaskWatch:
        """The events of a task that is there, to its end, to be iterated: those after a seq; 0: all that are kept.

        Raises InvalidTaskKey. Iterating raises TaskNotFound, and ResumeOffsetExpired where what comes after after_seq
        is not kept.
        """
        return TaskWatch(self._connection, key, after_seq)

    async def get_task(self, key: str) -> TaskInfo:
        """What is known of a task. Raises TaskNotFound."""
        return await get_task(self._connection, key)

    async def cancel_task(self, key: str) -> TaskState:
        """Cancels a task's run; CANCELLED, or how it had ended before. Raises TaskNotFound."""
        return await cancel_task(self._connection, key)

    def list_sessions(self, *, prefix: str = "", agent: str = "", page_size: int = 0) -> AsyncIterator[SessionInfo]:
        """The sessions, by `async for`, in the order of their ids; empty: of any id, of any agent. page_size: how many
        one call asks for, up to 1,000; 0: 100."""
        return list_sessions(self._connection, prefix, agent, page_size)

    def list_tasks(
        self, *, prefix: str = "", agent: str = "", state: TaskState = TaskState.UNSPECIFIED, page_size: int = 0
    ) -> AsyncIterator[TaskInfo]:
        """The tasks, by `async for`, in the order of their keys; UNSPECIFIED: in any state. Else as list_sessions."""
        return list_tasks(self._connection, prefix, agent, state, page_size)

    async def close(self) -> None:
        """Ends every call; what is still iterated raises RingClosed."""
        await self._connection.routers.close()

    async def __aenter__(self) -> Self:
        """Itself."""
        return self

    async def __aexit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        """Ends every call."""
        await self.close()
