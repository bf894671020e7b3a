"""An example whose turn asks a question, whose node is killed then, and that is answered: what its client and its model
have seen. For the examples of all frameworks: each writes a line for every model call to the file EXAMPLE_CALLS.
"""

import signal
from collections.abc import Callable
from dataclasses import dataclass, field
from pathlib import Path

from google.protobuf import json_format
from google.protobuf.struct_pb2 import Struct

from agentring.client import connect as connect_client
from agentring.v1 import session_pb2, session_pb2_grpc
from harness.client import connect
from harness.cluster import Cluster

PATIENCE_S = 90.0


@dataclass
class KilledTurn:
    """What was seen of the turn, all of it by one stream."""

    nodes: list[str] = field(default_factory=list)
    """On which it began to run, one for each attempt."""
    questions: list[str] = field(default_factory=list)
    text: str = ""
    end: session_pb2.Event = field(default_factory=session_pb2.Event)
    model_calls: list[str] = field(default_factory=list)
    """A line for each."""

    @property
    def result(self) -> dict[str, object]:
        """The agent's."""
        found: Struct = self.end.turn_completed.result
        return dict(json_format.MessageToDict(found))


async def killed_while_asking(
    make_cluster: Callable[..., Cluster], calls: Path, name: str, text: str, answer: str
) -> KilledTurn:
    """Runs a turn of examples/NAME/agent.py with this text, kills its node once it asks, and answers. calls: the file
    that EXAMPLE_CALLS names."""
    cluster = make_cluster(nodes=2, lease_ttl_s=2, flags=(f"--agent={name}=examples.{name}.agent:{name}",))
    seen = KilledTurn()
    async with connect(cluster.router) as channel, connect_client(cluster.router) as ring:
        turn = session_pb2.Turn(turn_id="t", input=session_pb2.Input(text=text))
        request = session_pb2.RunTurnRequest(session_id="s", agent=name, turn=turn)
        stream = session_pb2_grpc.SessionServiceStub(channel).RunTurn(request, timeout=PATIENCE_S)
        async for response in stream:
            for event in response.events:
                match event.WhichOneof("body"):
                    case "turn_started":
                        seen.nodes.append(event.turn_started.node_id)
                    case "attempt_restarted":
                        seen.text = ""
                    case "text_delta":
                        seen.text = (seen.text.encode()[: event.text_delta.offset]).decode() + event.text_delta.text
                    case "input_required" if not seen.questions:
                        seen.questions.append(event.input_required.prompt)
                        cluster.nodes[seen.nodes[-1]].process.stop(signal.SIGKILL)
                        await ring.session("s").reply(event.input_required.input_id, answer)
                seen.end = event
    seen.model_calls = calls.read_text().splitlines()  # noqa: ASYNC240  one small file
    return seen
