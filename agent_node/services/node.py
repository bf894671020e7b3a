"""NodeService: how the node is, for operators on the spot and for other processes of the cluster."""

import asyncio
import re
import time

from agent_node.halt.reading import HaltReader
from agent_node.lifecycle.supervisor import IncarnationSupervisor
from agent_node.services.node_halts import apply_halt, lift_halt, list_running
from agentring.audit.anchoring import Keep
from agentring.audit.chain import Head
from agentring.audit.entries import MAX_TEXT
from agentring.errors import MalformedRequest, NodeDraining, NodeFenced, SessionMoving
from agentring.ids import parse_once
from agentring.rpc.service import Call
from agentring.v1 import node_pb2
from agentring.v1.session_pb2 import Event, Heartbeat

_PROGRESS_S = 0.25
_HEARTBEAT_S = 1.0
_CHAIN, _CODE = re.compile("[0-9a-f]{32}"), re.compile("[0-9a-f]{64}")


class NodeService:
    """The service's methods; see protos/agentring/v1/node.proto."""

    def __init__(self, incarnations: IncarnationSupervisor, keep_head: Keep, halts: HaltReader, node_id: str) -> None:
        """incarnations: whose state is reported; keep_head: of access logs, in the store; halts: what is halted here;
        node_id: the node's."""
        self._keep_head = keep_head
        self._incarnations = incarnations
        self._halts = halts
        self._node_id = node_id

    async def GetNodeStatus(
        self, _request: node_pb2.GetNodeStatusRequest, _call: Call
    ) -> node_pb2.GetNodeStatusResponse:
        """Counts."""
        incarnation = self._incarnations.current
        registration = incarnation.registration
        status = node_pb2.GetNodeStatusResponse(
            node_id=registration.identity.node_id,
            incarnation=registration.incarnation,
            sessions=len(incarnation.host),
            turns_running=incarnation.host.running_turns,
            tasks_running=incarnation.task_runs.running,
            tasks_held=len(incarnation.task_runs),
            fence_in_s=registration.lease.fence_in_s,
        )
        status.wall_time.FromNanoseconds(time.time_ns())
        return status

    async def WatchRun(self, request: node_pb2.WatchRunRequest, call: Call) -> None:
        """Lets another node wait for a step's run: heartbeats, then the outcome. Raises InvalidTenantId,
        InvalidTaskKey, RunNotFound, TaskCycle, NodeFenced, and SessionMoving where the run was given up."""
        incarnation = self._incarnations.current
        ref = parse_once(request.tenant_id, request.task_key)
        call.named(ref.tenant, f"once/{ref.task_key}")
        held = frozenset(parse_once(ref.tenant, key) for key in request.held_task_keys)
        run = incarnation.once.keys.watch(ref, held)
        heartbeat = Event(heartbeat=Heartbeat())
        while not run.ended.done():
            await call.send(node_pb2.WatchRunResponse(through_seq=0, acked_frame=1, events=[heartbeat]))
            await asyncio.wait([run.ended], timeout=_HEARTBEAT_S)
        incarnation.registration.lease.check_delivery()
        if (ending := run.ended.result()) is None:
            raise SessionMoving
        outcome = node_pb2.RunOutcome(
            state=ending.state,
            result_json=ending.result_json,
            error_type=ending.error_type,
            error_text=ending.error_text,
        )
        await call.send(node_pb2.WatchRunResponse(through_seq=0, acked_frame=1, outcome=outcome))

    async def Drain(self, request: node_pb2.DrainRequest, call: Call) -> None:
        """Starts the drain, and reports how far it is until the node has left. It goes on without its caller."""
        await self._incarnations.begin_drain(max(0.0, request.timeout_s), force=request.force)
        drain = self._incarnations.drain
        done = False
        while not done:
            done = await drain.wait_done(_PROGRESS_S)
            await call.send(self._progress(done))

    async def Undrain(self, _request: node_pb2.UndrainRequest, _call: Call) -> node_pb2.UndrainResponse:
        """Ends a drain's effect."""
        incarnation = await self._incarnations.undrain()
        return node_pb2.UndrainResponse(incarnation=incarnation.registration.incarnation)

    async def KeepAccessLogHead(
        self, request: node_pb2.KeepAccessLogHeadRequest, _call: Call
    ) -> node_pb2.KeepAccessLogHeadResponse:
        """Keeps it. Raises MalformedRequest, StoreUnavailable."""
        if not (_CHAIN.fullmatch(request.chain) and _CODE.fullmatch(request.mac) and request.lines > 0):
            raise MalformedRequest
        if not request.process.isprintable() or len(request.process) > MAX_TEXT:
            raise MalformedRequest
        head = Head(request.chain, request.process, request.lines, request.mac, request.ended)
        await self._keep_head(head)
        return node_pb2.KeepAccessLogHeadResponse()

    async def ApplyHalt(self, request: node_pb2.ApplyHaltRequest, _call: Call) -> node_pb2.ApplyHaltResponse:
        """Halts a scope here."""
        return await apply_halt(self._halts, self._node_id, request)

    async def LiftHalt(self, request: node_pb2.LiftHaltRequest, _call: Call) -> node_pb2.LiftHaltResponse:
        """Ends the halt of a scope here."""
        return await lift_halt(self._halts, self._node_id, request)

    async def ListNodeHalts(
        self, _request: node_pb2.ListNodeHaltsRequest, _call: Call
    ) -> node_pb2.ListNodeHaltsResponse:
        """What is halted here."""
        return node_pb2.ListNodeHaltsResponse(halts=[halt.to_record() for halt in self._halts.halts.all])

    async def ListNodeRunning(self, request: node_pb2.ListNodeRunningRequest, call: Call) -> None:
        """What runs here."""
        await list_running(self._incarnations, self._halts, self._node_id, request, call)

    def _progress(self, done: bool) -> node_pb2.DrainResponse:
        try:
            host = self._incarnations.current.host
        except (NodeDraining, NodeFenced):
            return node_pb2.DrainResponse(done=done)
        return node_pb2.DrainResponse(sessions_left=len(host), turns_running=host.running_turns, done=done)
