"""`agentring halt`: stops a session, an agent, a tenant or everything; `resume` ends that, `halts` lists it."""

import getpass
import socket
from collections.abc import Iterable
from dataclasses import dataclass
from datetime import UTC
from typing import Annotated, ClassVar

import typer
from rich.console import Group
from rich.table import Table
from rich.text import Text

from agentring.cli.calls import CALL_DEADLINE_S, of_all_or_own, open_channel, tenant_metadata
from agentring.cli.errors import CommandError
from agentring.cli.local.cluster_file import find_router
from agentring.cli.options import DEFAULT_DATA_DIR, DataDirOption, JsonOption, RouterOption
from agentring.cli.terminal.printing import console, print_json, to_fields
from agentring.v1.halt_pb2 import (
    HALT_KIND_AGENT,
    HALT_KIND_ALL,
    HALT_KIND_SESSION,
    HALT_KIND_TENANT,
    HaltKept,
    HaltRequest,
    HaltResponse,
    HaltScope,
    ListHaltsRequest,
    ListHaltsResponse,
    ResumeRequest,
    ResumeResponse,
    UnconfirmedNode,
)
from agentring.v1.halt_pb2_grpc import HaltServiceStub

_BEYOND_S = 5.0
"""How much longer than it was asked to wait a router may take."""

SessionOption = Annotated[str, typer.Option(help="A session; of --tenant, else of the default tenant.")]
AgentOption = Annotated[str, typer.Option(help="An agent: its sessions and tasks of --tenant, or with --all of all.")]
TenantOption = Annotated[str, typer.Option(help="A tenant: all of it, unless a session or an agent is named.")]
AllOption = Annotated[bool, typer.Option("--all", help="Every tenant.")]
TimeoutOption = Annotated[float, typer.Option(min=0.1, max=60.0, help="How long to wait for the nodes.")]


@dataclass(eq=False)
class HaltUnclear(CommandError):
    """What is to be halted or resumed is not said, or said twice."""

    exit_status: ClassVar[int] = 2
    problem: str

    def __str__(self) -> str:
        """One line."""
        return self.problem


def halt(
    session: SessionOption = "",
    agent: AgentOption = "",
    tenant: TenantOption = "",
    everything: AllOption = False,
    hold: Annotated[
        bool, typer.Option("--hold", help="Hold what runs at its next step, and do not cancel it.")
    ] = False,
    why: Annotated[str, typer.Option(help="For those who ask later.")] = "",
    timeout_s: TimeoutOption = 5.0,
    router: RouterOption = None,
    data_dir: DataDirOption = DEFAULT_DATA_DIR,
    as_json: JsonOption = False,
) -> None:
    """Halt: no step starts, no turn or task begins, what runs is cancelled or held, until `agentring resume`.

    Exit status 1: a node has not confirmed, or the halt is not written everywhere; it stands all the same.
    """
    request = HaltRequest(
        scope=_scope(session, agent, tenant, everything=everything),
        hold=hold,
        by=_who(),
        why=why,
        timeout_s=timeout_s,
    )
    with open_channel(find_router(router, data_dir)) as channel:
        answer = HaltServiceStub(channel).Halt(request, timeout=timeout_s + _BEYOND_S)
    if as_json:
        print_json(to_fields(answer))
    else:
        console().print(render_halt(answer))
    if answer.unconfirmed or not _is_kept(answer.kept):
        raise typer.Exit(1)


def resume(
    session: SessionOption = "",
    agent: AgentOption = "",
    tenant: TenantOption = "",
    everything: AllOption = False,
    timeout_s: TimeoutOption = 5.0,
    router: RouterOption = None,
    data_dir: DataDirOption = DEFAULT_DATA_DIR,
    as_json: JsonOption = False,
) -> None:
    """End the halt of exactly this scope.

    Exit status 1: a node has not confirmed.
    """
    request = ResumeRequest(scope=_scope(session, agent, tenant, everything=everything), timeout_s=timeout_s)
    with open_channel(find_router(router, data_dir)) as channel:
        answer = HaltServiceStub(channel).Resume(request, timeout=timeout_s + _BEYOND_S)
    if as_json:
        print_json(to_fields(answer))
    else:
        console().print(render_resume(answer))
    if answer.unconfirmed:
        raise typer.Exit(1)


def halts(
    tenant: Annotated[str, typer.Option(help="Only this tenant's, and those of every tenant.")] = "",
    router: RouterOption = None,
    data_dir: DataDirOption = DEFAULT_DATA_DIR,
    as_json: JsonOption = False,
) -> None:
    """List what is halted."""
    with open_channel(find_router(router, data_dir)) as channel:
        stub = HaltServiceStub(channel)

        def ask(of_all: bool) -> ListHaltsResponse:
            request = ListHaltsRequest(tenant_id=tenant, all_tenants=of_all)
            return stub.ListHalts(request, timeout=CALL_DEADLINE_S, metadata=tenant_metadata(tenant))

        found = of_all_or_own(tenant, ask)
    if as_json:
        print_json(to_fields(found))
    else:
        console().print(render_halts(found))


def render_halt(answer: HaltResponse) -> Group:
    """What is halted, and what has not confirmed it."""
    how = "held at its next step" if answer.halt.hold else "cancelled"
    lines = [f"{_words(answer.halt.scope)} is halted on {len(answer.confirmed)} nodes; what ran there is {how}"]
    if not answer.kept.in_etcd:
        lines.append("etcd has not taken it: a node that starts now may not know it; halt again once etcd works")
    if not (answer.kept.in_store or answer.kept.store_is_volatile):
        lines.append("the store has not taken it: a restore of etcd would lose it; halt again once the store works")
    return Group(*map(Text, lines), *_unconfirmed(answer.unconfirmed, "it stops by its fence if it is cut off"))


def render_resume(answer: ResumeResponse) -> Group:
    """What was resumed, and what has not confirmed it."""
    what = f"resumed on {len(answer.confirmed)} nodes" if answer.was_halted else "nothing was halted"
    return Group(Text(what), *_unconfirmed(answer.unconfirmed, "resume again, once it answers"))


def render_halts(found: ListHaltsResponse) -> Group:
    """A table."""
    table = Table("halted", "how", "by", "since", "why")
    for record in found.halts:
        since = record.since.ToDatetime(UTC).strftime("%Y-%m-%d %H:%M:%SZ")
        table.add_row(_words(record.scope), "held" if record.hold else "cancelled", record.by, since, record.why)
    return Group(table, *_unconfirmed(found.silent, "a halt that it alone knows is missing here"))


def _unconfirmed(nodes: Iterable[UnconfirmedNode], what_then: str) -> list[Text]:
    return [Text(f"{each.node_id} has not confirmed ({each.why}): {what_then}", style="red") for each in nodes]


def _is_kept(kept: HaltKept) -> bool:
    return kept.in_etcd and (kept.in_store or kept.store_is_volatile)


def _scope(session: str, agent: str, tenant: str, *, everything: bool) -> HaltScope:
    """Raises HaltUnclear."""
    if (session and agent) or (everything and (session or tenant)):
        raise HaltUnclear("say one of --session, --agent, --tenant and --all (--agent goes with --tenant or --all)")
    if everything:
        return HaltScope(kind=HALT_KIND_ALL, agent=agent)
    if session:
        return HaltScope(kind=HALT_KIND_SESSION, tenant_id=tenant, session_id=session)
    if agent:
        return HaltScope(kind=HALT_KIND_AGENT, tenant_id=tenant, agent=agent)
    if tenant:
        return HaltScope(kind=HALT_KIND_TENANT, tenant_id=tenant)
    raise HaltUnclear("say what: --session ID, --agent NAME, --tenant NAME or --all")


def _words(scope: HaltScope) -> str:
    tenant = f"tenant {scope.tenant_id}" if scope.tenant_id else ""
    if scope.kind == HALT_KIND_ALL:
        return f"agent {scope.agent} of every tenant" if scope.agent else "everything"
    if scope.kind == HALT_KIND_TENANT:
        return tenant
    named = f"session {scope.session_id}" if scope.session_id else f"agent {scope.agent}"
    return f"{named} of {tenant}"


def _who() -> str:
    """Of the operating system: what the audit of a cluster without authentication has."""
    try:
        return f"{getpass.getuser()}@{socket.gethostname()}"[:256]
    except (KeyError, OSError):
        return ""
