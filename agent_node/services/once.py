"""OnceService on a node: what became of the runs of steps, and how those that nobody knows of are settled."""

import json
from contextlib import suppress
from typing import Any

from google.protobuf import struct_pb2

from agent_node.json_values import NotJson, from_struct, to_value
from agent_node.lifecycle.supervisor import IncarnationSupervisor
from agent_node.once.run import idempotency_key
from agent_node.services.once_list import list_page
from agent_node.services.route import once_of, tenant_of
from agent_node.store.once_records import ENDED, StoredRun
from agentring.errors import MalformedRequest, MessageTooLarge
from agentring.ids import SessionRef
from agentring.rpc.service import Call
from agentring.v1 import once_pb2


class OnceService:
    """The service's methods; see protos/agentring/v1/once.proto."""

    def __init__(self, incarnations: IncarnationSupervisor) -> None:
        """incarnations: whose keys are served."""
        self._incarnations = incarnations

    async def GetRun(self, request: once_pb2.GetRunRequest, call: Call) -> once_pb2.GetRunResponse:
        """Reads one run."""
        keys = self._incarnations.current.once.keys
        return once_pb2.GetRunResponse(run=_described(await keys.find(once_of(call, request.once_key))))

    async def ListRuns(self, request: once_pb2.ListRunsRequest, call: Call) -> once_pb2.ListRunsResponse:
        """Reads a page of runs; with a volatile store, those of this node alone."""
        incarnation = self._incarnations.current
        return await list_page(incarnation.once.keys, incarnation.page_key, tenant_of(call), request, _described)

    async def ResolveRun(self, request: once_pb2.ResolveRunRequest, call: Call) -> once_pb2.ResolveRunResponse:
        """Settles a run."""
        ref = once_of(call, request.once_key)
        keys = self._incarnations.current.once.keys
        result_json: str | None = None
        if request.HasField("result"):
            result_json = json.dumps(_value(request), ensure_ascii=False)
            if len(result_json.encode()) > keys.limits.max_result_bytes:
                raise MessageTooLarge
        elif not request.HasField("run_again"):
            raise MalformedRequest
        return once_pb2.ResolveRunResponse(run=_described(await keys.resolve(ref, result_json)))


def _value(request: once_pb2.ResolveRunRequest) -> Any:
    """What it came to. Raises MalformedRequest where it is no JSON, or so deep that it could not be sent again."""
    if request.result.WhichOneof("kind") is None:
        raise MalformedRequest
    value = from_struct(struct_pb2.Struct(fields={"result": request.result}))["result"]
    try:
        to_value(value)
    except NotJson:
        raise MalformedRequest from None
    return value


def _described(run: StoredRun) -> once_pb2.Run:
    caller = run.caller.ref
    described = once_pb2.Run(
        once_key=run.ref.task_key,
        state=run.state,
        attempt=run.attempt,
        idempotency_key=idempotency_key(run),
        epoch=run.epoch,
        owner=run.owner,
        idempotent=run.idempotent,
        session_id=caller.session_id if isinstance(caller, SessionRef) else "",
        turn_id=run.caller.turn_id,
        task_key="" if isinstance(caller, SessionRef) else caller.task_key,
        error_type=run.ending.error_type if run.state in ENDED else "",
    )
    if run.ending.result_json:
        with suppress(NotJson):  # one that an earlier release kept, which cannot be sent as it is
            described.result.CopyFrom(to_value(json.loads(run.ending.result_json)))
    described.create_time.FromNanoseconds(run.created_ns)
    if run.ended_ns is not None:
        described.end_time.FromNanoseconds(run.ended_ns)
    if run.expiry_wall_ns is not None:
        described.expire_time.FromNanoseconds(run.expiry_wall_ns)
    return described
