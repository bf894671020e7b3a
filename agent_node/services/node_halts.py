"""What routers ask a node about halts and about what runs, for NodeService.

Guarantees: a halt is answered once nothing of it starts here any more; whether the store has it is said, and a store
that does not answer holds the answer up for no longer than STORE_S.
"""

import asyncio
from itertools import islice

from agent_node.halt.reading import HaltReader
from agent_node.lifecycle.supervisor import IncarnationSupervisor
from agent_node.services.running import running_work
from agentring.cluster.etcd.errors import EtcdError
from agentring.cluster.halts import of_record, read_scope
from agentring.errors import CoordinatorUnavailable, NodeDraining, NodeFenced, StoreUnavailable
from agentring.rpc.service import Call
from agentring.v1 import node_pb2

STORE_S = 1.0
_PAGE = 500


async def apply_halt(
    reader: HaltReader, node_id: str, request: node_pb2.ApplyHaltRequest
) -> node_pb2.ApplyHaltResponse:
    """As NodeService.ApplyHalt. Raises InvalidHalt, InvalidTenantId, InvalidSessionId."""
    halt = of_record(request.halt)
    reader.halts.say(halt)
    stored = reader.is_durable
    try:
        async with asyncio.timeout(STORE_S):
            await reader.store(halt)
    except (StoreUnavailable, TimeoutError):
        stored = False
    return node_pb2.ApplyHaltResponse(node_id=node_id, durable=reader.is_durable, stored=stored)


async def lift_halt(reader: HaltReader, node_id: str, request: node_pb2.LiftHaltRequest) -> node_pb2.LiftHaltResponse:
    """As NodeService.LiftHalt. Raises InvalidHalt, InvalidTenantId, InvalidSessionId, CoordinatorUnavailable."""
    scope = read_scope(request.scope)
    was_halted = any(halt.scope == scope for halt in reader.halts.all)
    reader.halts.unsay(scope)
    removed = reader.is_durable
    try:
        async with asyncio.timeout(STORE_S):
            await reader.remove(scope)
            await reader.read()
    except (StoreUnavailable, TimeoutError):
        removed = False
    except EtcdError:
        raise CoordinatorUnavailable from None
    return node_pb2.LiftHaltResponse(
        node_id=node_id,
        durable=reader.is_durable,
        removed=removed,
        was_halted=was_halted,
        is_halted=any(halt.scope == scope for halt in reader.halts.all),
    )


async def list_running(
    incarnations: IncarnationSupervisor,
    reader: HaltReader,
    node_id: str,
    request: node_pb2.ListNodeRunningRequest,
    call: Call,
) -> None:
    """As NodeService.ListNodeRunning."""
    try:
        found = running_work(incarnations.current, reader.halts, request.tenant_id)
    except (NodeDraining, NodeFenced):
        found = iter(())  # nothing runs here
    while page := list(islice(found, _PAGE)):
        await call.send(node_pb2.ListNodeRunningResponse(node_id=node_id, running=page))
        await asyncio.sleep(0)
    await call.send(node_pb2.ListNodeRunningResponse(node_id=node_id))
