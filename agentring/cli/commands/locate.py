"""`agentring locate SESSION`: which node owns a session, or would, and why."""

from collections.abc import Iterator, Sequence
from datetime import UTC, datetime, timedelta
from typing import Annotated

import grpc
import typer
from rich.console import Group
from rich.table import Table
from rich.text import Text

from agentring.cli.calls import CALL_DEADLINE_S, open_channel, tenant_metadata
from agentring.cli.local.cluster_file import find_router
from agentring.cli.options import DEFAULT_DATA_DIR, DataDirOption, JsonOption, RouterOption, TenantOption
from agentring.cli.terminal.printing import console, print_json, to_fields
from agentring.v1.cluster_pb2 import LocateSessionRequest, LocateSessionResponse
from agentring.v1.cluster_pb2_grpc import ClusterServiceStub
from agentring.v1.session_pb2 import GetSessionRequest, Question, Session
from agentring.v1.session_pb2_grpc import SessionServiceStub


def locate(
    session: Annotated[str, typer.Argument(help="The session.")],
    agent: Annotated[str, typer.Option(help="The agent, for a session that does not exist yet; empty: any.")] = "",
    router: RouterOption = None,
    tenant: TenantOption = "",
    data_dir: DataDirOption = DEFAULT_DATA_DIR,
    as_json: JsonOption = False,
) -> None:
    """Show which node owns a session, or would, and why."""
    request = LocateSessionRequest(session_id=session, agent=agent, tenant_id=tenant)
    with open_channel(find_router(router, data_dir)) as channel:
        found = ClusterServiceStub(channel).LocateSession(
            request, timeout=CALL_DEADLINE_S, metadata=tenant_metadata(tenant)
        )
        now = _described(channel, session, tenant)
    if as_json:
        questions = [to_fields(question) for question in now.questions]
        steps = [to_fields(step) for step in now.open_steps]
        print_json(to_fields(found) | {"questions": questions, "open_steps": steps})
    else:
        console().print(render(session, found, now.questions, now))


def _described(channel: grpc.Channel, session: str, tenant: str) -> Session:
    """What the session does, and waits for; nothing where it is not known now."""
    try:
        found = SessionServiceStub(channel).GetSession(
            GetSessionRequest(session_id=session), timeout=CALL_DEADLINE_S, metadata=tenant_metadata(tenant)
        )
    except grpc.RpcError:
        return Session()  # that it is not there, or not to be had, is what the owner's line says
    return found.session


def render(
    session: str, found: LocateSessionResponse, asked: Sequence[Question] = (), now: Session | None = None
) -> Group:
    """The owner, the reason, the candidates in the ring's order, what the session waits for, and its open steps."""
    if found.node_id:
        owner = f"{session} is on {found.node_id} at {found.address}, epoch {found.epoch}"
        if found.claim_time.seconds:
            since = found.claim_time.ToDatetime(UTC)
            owner += f", since {since:%Y-%m-%d %H:%M:%S} UTC ({to_age(datetime.now(UTC) - since)})"
    else:
        owner = f"{session} has no owner"
    if found.agent:
        owner += f"; agent {found.agent}"
    place = f"candidates from ring position {found.ring_position:016x} on, revision {found.ring_revision}:"
    candidates = Table("node", "accepted", "reason")
    for one in found.candidates:
        candidates.add_row(one.node_id, "yes" if one.accepted else "no", one.reason)
    waits = [
        Text(f"turn {question.turn_id} waits for an answer: {question.prompt}; `agentring chat` asks for it")
        for question in asked
    ]
    runs = [Text(line) for line in _open_steps(now)] if now is not None else []
    return Group(Text(owner, style="bold"), Text(found.why), *waits, *runs, Text(place), candidates)


def _open_steps(now: Session) -> Iterator[str]:
    for step in now.open_steps:
        age = to_age(datetime.now(UTC) - step.begin_time.ToDatetime(UTC))
        attempt = f", attempt {step.attempt}" if step.attempt > 1 else ""
        yield f"{'  ' * step.depth}turn {now.running_turn_id} runs {step.name} for {age}{attempt}"


def to_age(age: timedelta) -> str:
    """In one unit, by this machine's clock, which may be behind the owner's."""
    seconds = max(0.0, age.total_seconds())
    for unit_s, unit in ((86_400, "d"), (3_600, "h"), (60, "min")):
        if seconds >= unit_s:
            return f"{seconds / unit_s:.0f} {unit}"
    return f"{seconds:.0f} s"
