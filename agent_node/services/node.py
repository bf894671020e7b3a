"""NodeService: how the node is, for operators on the spot and for other processes of the cluster."""

import time

from agent_node.lifecycle.supervisor import IncarnationSupervisor
from agent_node.services.watch_run import watch_run
from agentring.errors import NodeDraining, NodeFenced
from agentring.rpc.service import Call
from agentring.v1 import node_pb2

_PROGRESS_S = 0.25


class NodeService:
    """The service's methods; see protos/agentring/v1/node.proto."""

    def __init__(self, incarnations: IncarnationSupervisor) -> None:
        """incarnations: whose state is told."""
        self._incarnations = incarnations

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
        """Lets another node wait for a step's run."""
        await watch_run(self._incarnations.current, request, call)

    async def Drain(self, request: node_pb2.DrainRequest, call: Call) -> None:
        """Starts the drain, and tells how far it is until the node has left. A caller that goes away ends nothing."""
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

    def _progress(self, done: bool) -> node_pb2.DrainResponse:
        try:
            host = self._incarnations.current.host
        except (NodeDraining, NodeFenced):
            return node_pb2.DrainResponse(done=done)
        return node_pb2.DrainResponse(sessions_left=len(host), turns_running=host.running_turns, done=done)
