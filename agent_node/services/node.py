"""NodeService: how the node is, for operators on the spot and for other processes of the cluster."""

from agent_node.incarnation import Incarnations
from agentring.rpc.service import Call
from agentring.v1 import node_pb2


class NodeService:
    """The service's methods; see protos/agentring/v1/node.proto. WatchRun and Drain are not served yet."""

    def __init__(self, incarnations: Incarnations) -> None:
        """incarnations: whose state is told."""
        self._incarnations = incarnations

    async def GetNodeStatus(
        self, _request: node_pb2.GetNodeStatusRequest, _call: Call
    ) -> node_pb2.GetNodeStatusResponse:
        """Counts."""
        incarnation = self._incarnations.current
        registration = incarnation.registration
        return node_pb2.GetNodeStatusResponse(
            node_id=registration.identity.node_id,
            incarnation=registration.incarnation,
            sessions=len(incarnation.host),
            turns_running=incarnation.host.running_turns,
            tasks_running=incarnation.task_runs.running,
            tasks_held=len(incarnation.task_runs),
            fence_in_s=registration.lease.fence_in_s,
        )
