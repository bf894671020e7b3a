"""TaskService on a node: finds or starts the task's run, says what the call was to it, and streams its events.

Any node answers with what the store has (ended tasks, lists); a run under way is streamed by its node alone, to which
NOT_OWNER leads.
"""

from agent_node.events.attachment import Attachment
from agent_node.lifecycle.incarnation import Incarnation
from agent_node.lifecycle.supervisor import IncarnationSupervisor
from agent_node.services.resume_point import resume_point_of
from agent_node.services.route import accept, asking, held_by, task_of, tenant_of, terms_of
from agent_node.services.stream_holds import hold_stream
from agent_node.services.streaming import accept_stream, stream
from agent_node.services.task_list import list_page
from agent_node.settings import NodeSettings
from agent_node.task.run import TaskRun, described
from agentring.durations import to_seconds
from agentring.errors import InvalidRetention
from agentring.ids import Epoch
from agentring.rpc.service import Call
from agentring.v1 import task_pb2

MIN_RETENTION_S, DEFAULT_RETENTION_S, MAX_RETENTION_S = 60, 3_600, 86_400


class TaskService:
    """The service's methods; see protos/agentring/v1/task.proto."""

    def __init__(self, incarnations: IncarnationSupervisor, settings: NodeSettings) -> None:
        """incarnations: whose task runs are served."""
        self._incarnations = incarnations
        self._settings = settings

    async def RunTask(self, request: task_pb2.RunTaskRequest, call: Call) -> None:
        """Streams the key's run from its first event."""
        ref, agent = task_of(call, request.task_key, request.agent)
        retention_s, terms = _retention_s(request), terms_of(call, request, self._settings)
        point = resume_point_of(call)
        on_duplicate = task_pb2.ON_DUPLICATE_JOIN if point.last_retried else request.on_duplicate
        incarnation = self._incarnations.current
        sent_seq = point.after_seq or 0
        held = held_by(call)
        hold = None
        if incarnation.quota is not None:
            hold = await hold_stream(incarnation, ref, asking(call, goes_on=point.is_taken_over))
        try:
            if on_duplicate != task_pb2.ON_DUPLICATE_REJECT:
                incarnation.wait_cycles.check(ref, held)
            run, disposition = await incarnation.task_runs.run(
                ref,
                agent,
                request.input,
                retention_s,
                on_duplicate,
                cancel_when_unwatched=request.cancel_when_unwatched,
                sent_seq=sent_seq,
                terms=terms,
            )
            after_seq = point.resumed_after(run.log, same_log=run.continues_log_of(point.epoch, sent_seq)) or 0
            await accept(call, incarnation, run.epoch)
            waiting = incarnation.wait_cycles.waiting(ref, held, run.ended.is_set)
            with waiting, self._attach(run, after_seq, incarnation, keeps_valid=request.keeps_valid) as attachment:
                is_first = point.after_seq is None
                first = task_pb2.RunTaskResponse(disposition=disposition).SerializeToString() if is_first else b""
                await stream(call, attachment, first)
        finally:
            if hold is not None:
                hold.release()

    async def WatchTask(self, request: task_pb2.WatchTaskRequest, call: Call) -> None:
        """Streams the run's events from after_seq to its end."""
        point = resume_point_of(call)
        held = held_by(call)
        ref, _ = task_of(call, request.task_key, request.agent)
        incarnation = self._incarnations.current
        incarnation.wait_cycles.check(ref, held)
        hold = None
        if incarnation.quota is not None:
            hold = await hold_stream(incarnation, ref, asking(call, goes_on=point.is_taken_over))
        try:
            run, incarnation = await self._found(request, call)
            resumed_after = point.resumed_after(
                run.log, same_log=run.continues_log_of(point.epoch, point.after_seq or 0)
            )
            after_seq = await accept_stream(call, incarnation, run.epoch, run.log, point, resumed_after, request)
            waiting = incarnation.wait_cycles.waiting(run.ref, held, run.ended.is_set)
            with waiting, self._attach(run, after_seq, incarnation, keeps_valid=request.keeps_valid) as attachment:
                await stream(call, attachment)
        finally:
            if hold is not None:
                hold.release()

    async def GetTask(self, request: task_pb2.GetTaskRequest, call: Call) -> task_pb2.GetTaskResponse:
        """Describes the task, which need not run anywhere."""
        ref, agent = task_of(call, request.task_key, request.agent)
        incarnation = self._incarnations.current
        found = await incarnation.task_runs.look_up(ref, agent)
        await accept(call, incarnation, found.epoch)
        task = found.to_task() if isinstance(found, TaskRun) else described(found)
        return task_pb2.GetTaskResponse(task=task)

    async def ListTasks(self, request: task_pb2.ListTasksRequest, call: Call) -> task_pb2.ListTasksResponse:
        """See task_list.py."""
        incarnation = self._incarnations.current
        page = await list_page(incarnation.task_store, incarnation.page_key, tenant_of(call), request)
        await accept(call, incarnation, Epoch(0))
        return page

    async def CancelTask(self, request: task_pb2.CancelTaskRequest, call: Call) -> task_pb2.CancelTaskResponse:
        """Cancels the task's run, or the task where nobody runs it."""
        run, incarnation = await self._found(request, call, to_cancel=True)
        await accept(call, incarnation, run.epoch)
        await incarnation.task_runs.cancel(run)
        return task_pb2.CancelTaskResponse(state=run.state)

    def _attach(self, run: TaskRun, after_seq: int, incarnation: Incarnation, *, keeps_valid: bool) -> Attachment:
        settings = self._settings
        attachment = Attachment(
            run.log,
            after_seq,
            heartbeat_s=settings.heartbeat_s,
            merge_bytes=settings.merge_bytes,
            check=incarnation.registration.lease.check_delivery,
            keeps_valid=keeps_valid,
        )
        attachment.ack(1)
        attachment.end_after(lambda: run.end_seq)
        return attachment

    async def _found(
        self,
        request: task_pb2.WatchTaskRequest | task_pb2.CancelTaskRequest,
        call: Call,
        *,
        to_cancel: bool = False,
    ) -> tuple[TaskRun, Incarnation]:
        ref, agent = task_of(call, request.task_key, request.agent)
        incarnation = self._incarnations.current
        run = await incarnation.task_runs.find(ref, agent, to_cancel=to_cancel)
        return run, incarnation


def _retention_s(request: task_pb2.RunTaskRequest) -> float:
    if not request.HasField("retention"):
        return DEFAULT_RETENTION_S
    retention_s = to_seconds(request.retention)
    if not MIN_RETENTION_S <= retention_s <= MAX_RETENTION_S:
        raise InvalidRetention(MIN_RETENTION_S, MAX_RETENTION_S)
    return retention_s
