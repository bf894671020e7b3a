"""Examples whose turns ask a question, whose node is killed then, and that are answered: what their clients have seen.
For the examples of all frameworks, on one cluster.
"""

import asyncio
import itertools
import signal
from collections.abc import AsyncIterator, Callable, Sequence
from dataclasses import dataclass, field
from typing import NamedTuple

from google.protobuf import json_format
from google.protobuf.struct_pb2 import Struct
from grpc import aio

from agentring.client import connect as connect_client
from agentring.client.ring import Ring
from agentring.v1 import cluster_pb2, cluster_pb2_grpc, session_pb2, session_pb2_grpc
from harness.client import connect
from harness.cluster import Cluster

PATIENCE_S = 90.0
_KILLED = "n1"


class Asking(NamedTuple):
    """A turn of examples/NAME/agent.py."""

    name: str
    text: str
    answer: str
    """To the question that it asks."""


@dataclass
class KilledTurn:
    """What was seen of the turn, all of it by one stream."""

    nodes: list[str] = field(default_factory=list)
    """On which it began to run, one for each attempt."""
    questions: list[str] = field(default_factory=list)
    text: str = ""
    end: session_pb2.Event = field(default_factory=session_pb2.Event)

    @property
    def result(self) -> dict[str, object]:
        """The agent's."""
        found: Struct = self.end.turn_completed.result
        return dict(json_format.MessageToDict(found))


async def killed_while_asking(make_cluster: Callable[..., Cluster], turns: Sequence[Asking]) -> list[KilledTurn]:
    """Runs the turns on one node, kills it once all of them ask, and answers."""
    agents = ",".join(f"{turn.name}=examples.{turn.name}.agent:{turn.name}" for turn in turns)
    cluster = make_cluster(nodes=2, lease_ttl_s=2, flags=(f"--agent={agents}",))
    all_ask = asyncio.Barrier(len(turns))

    async def answer(ring: Ring, session_id: str, input_id: str, text: str) -> None:
        if await all_ask.wait() == 0:
            cluster.nodes[_KILLED].process.stop(signal.SIGKILL)
        await all_ask.wait()
        await ring.session(session_id).reply(input_id, text)

    async def run(channel: aio.Channel, ring: Ring, turn: Asking) -> KilledTurn:
        seen = KilledTurn()
        session_id = await _session_of_it(channel, turn.name)
        async for event in _events(channel, session_id, turn):
            match event.WhichOneof("body"):
                case "turn_started":
                    seen.nodes.append(event.turn_started.node_id)
                case "attempt_restarted":
                    seen.text = ""
                case "text_delta":
                    seen.text = (seen.text.encode()[: event.text_delta.offset]).decode() + event.text_delta.text
                case "input_required" if not seen.questions:
                    seen.questions.append(event.input_required.prompt)
                    await answer(ring, session_id, event.input_required.input_id, turn.answer)
            seen.end = event
        return seen

    async with (
        connect(cluster.router) as channel,
        connect_client(cluster.router) as ring,
        asyncio.timeout(PATIENCE_S),
        asyncio.TaskGroup() as group,
    ):
        running = [group.create_task(run(channel, ring, turn)) for turn in turns]
    return [each.result() for each in running]


async def _session_of_it(channel: aio.Channel, agent: str) -> str:
    """A session that the node to kill would have."""
    stub = cluster_pb2_grpc.ClusterServiceStub(channel)
    for number in itertools.count():
        request = cluster_pb2.LocateSessionRequest(session_id=f"{agent}{number}", agent=agent)
        first, *_ = (await stub.LocateSession(request, timeout=PATIENCE_S)).candidates
        if first.accepted and first.node_id == _KILLED:
            return request.session_id
    raise AssertionError


async def _events(channel: aio.Channel, session_id: str, turn: Asking) -> AsyncIterator[session_pb2.Event]:
    asked = session_pb2.Turn(turn_id="t", input=session_pb2.Input(text=turn.text))
    request = session_pb2.RunTurnRequest(session_id=session_id, agent=turn.name, turn=asked)
    async for response in session_pb2_grpc.SessionServiceStub(channel).RunTurn(request, timeout=PATIENCE_S):
        for event in response.events:
            yield event
