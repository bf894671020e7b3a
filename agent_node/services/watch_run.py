"""WatchRun: another node waits here for the run of a step that this one has."""

import asyncio

from agent_node.lifecycle.incarnation import Incarnation
from agentring.errors import SessionMoving
from agentring.ids import parse_once
from agentring.rpc.service import Call
from agentring.v1 import node_pb2
from agentring.v1.session_pb2 import Event, Heartbeat

_HEARTBEAT_S = 1.0


async def watch_run(incarnation: Incarnation, request: node_pb2.WatchRunRequest, call: Call) -> None:
    """Heartbeats, then the outcome. Raises InvalidTenantId, InvalidTaskKey, RunNotFound, TaskCycle, NodeFenced, and
    SessionMoving where the run was given up."""
    ref = parse_once(request.tenant_id, request.task_key)
    held = frozenset(parse_once(ref.tenant, key) for key in request.held_task_keys)
    run = incarnation.once.keys.watch(ref, held)
    while not run.ended.done():
        await call.send(node_pb2.WatchRunResponse(through_seq=0, acked_frame=1, events=[Event(heartbeat=Heartbeat())]))
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
