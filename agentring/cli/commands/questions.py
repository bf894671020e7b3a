"""`agentring questions`: what agents have asked and nobody has answered; answer it, or end the turn that asked."""

import sys
from collections.abc import Iterable
from functools import partial
from typing import Annotated, Any

import typer
from rich.table import Table

from agentring import plain_json
from agentring.cli.calls import CALL_DEADLINE_S, explained, open_channel, open_ring, tenant_metadata
from agentring.cli.errors import NoQuestion, NothingToAnswerWith
from agentring.cli.local.cluster_file import find_router
from agentring.cli.options import DEFAULT_DATA_DIR, DataDirOption, JsonOption, RouterOption, TenantOption
from agentring.cli.terminal.interrupts import run_interruptible
from agentring.cli.terminal.listing import read_list
from agentring.cli.terminal.printing import console, print_json, to_fields
from agentring.client import Question
from agentring.v1.session_pb2 import ListSessionsRequest, ListSessionsResponse, Session
from agentring.v1.session_pb2_grpc import SessionServiceStub

app = typer.Typer(help="See what agents ask, answer it, or cancel the turn that asks.", no_args_is_help=True)

SessionArgument = Annotated[str, typer.Argument(help="The session.")]
InputOption = Annotated[str, typer.Option("--input-id", help="Which question; empty: the one that is open.")]


@app.command("list")
def list_questions(
    prefix: Annotated[str, typer.Argument(help="Only of sessions whose id begins so; empty: of all.")] = "",
    router: RouterOption = None,
    tenant: TenantOption = "",
    data_dir: DataDirOption = DEFAULT_DATA_DIR,
    as_json: JsonOption = False,
) -> None:
    """List the questions that wait for an answer, as the store has them."""
    with open_channel(find_router(router, data_dir)) as channel:
        ask = partial(
            SessionServiceStub(channel).ListSessions, timeout=CALL_DEADLINE_S, metadata=tenant_metadata(tenant)
        )
        request = ListSessionsRequest(session_id_prefix=prefix)
        found = read_list(ask, request, ListSessionsResponse(), "sessions", sys.maxsize).sessions
    if as_json:
        questions = [to_fields(asked) | {"session_id": one.session_id} for one in found for asked in one.questions]
        print_json({"questions": questions})
    else:
        console().print(render(found))


@app.command("answer")
def answer(
    session: SessionArgument,
    text: Annotated[str, typer.Argument(help="The answer's words.")] = "",
    data: Annotated[str | None, typer.Option(help="The answer's data, a JSON object.")] = None,
    input_id: InputOption = "",
    router: RouterOption = None,
    tenant: TenantOption = "",
    data_dir: DataDirOption = DEFAULT_DATA_DIR,
) -> None:
    """Answer a question: its turn goes on."""
    fields = _read_object(data)
    if not text and fields is None:
        raise NothingToAnswerWith
    address = find_router(router, data_dir)

    async def give() -> Question:
        with explained(address):
            async with open_ring(address, tenant) as ring:
                asking = ring.session(session)
                asked = _pick(session, (await asking.get()).questions, input_id)
                await asking.reply(asked.input_id, text, data=fields)
                return asked

    asked = run_interruptible(give())
    console().print(f"answered {asked.input_id}: {asked.prompt}", soft_wrap=True)


@app.command("cancel")
def cancel(
    session: SessionArgument,
    input_id: InputOption = "",
    router: RouterOption = None,
    tenant: TenantOption = "",
    data_dir: DataDirOption = DEFAULT_DATA_DIR,
) -> None:
    """Cancel the turn that asks: those behind it go on."""
    address = find_router(router, data_dir)

    async def end() -> tuple[Question, str]:
        with explained(address):
            async with open_ring(address, tenant) as ring:
                asking = ring.session(session)
                asked = _pick(session, (await asking.get()).questions, input_id)
                return asked, (await asking.cancel(asked.turn_id)).name

    asked, state = run_interruptible(end())
    console().print(f"turn {asked.turn_id}: {state}", soft_wrap=True)


def render(found: Iterable[Session]) -> Table:
    """A row a question."""
    table = Table("session", "turn", "question", "input_id")
    for one in found:
        for asked in one.questions:
            table.add_row(one.session_id, asked.turn_id, asked.prompt, asked.input_id)
    return table


def _pick(session: str, asked: tuple[Question, ...], input_id: str) -> Question:
    for question in asked:
        if input_id in ("", question.input_id):
            return question
    raise NoQuestion(session, tuple(question.input_id for question in asked))


def _read_object(data: str | None) -> dict[str, Any] | None:
    if data is None:
        return None
    try:
        fields = plain_json.parse(data)
        plain_json.to_value(fields)
    except plain_json.NotJson as error:
        raise NothingToAnswerWith(str(error)) from None
    except ValueError:
        raise NothingToAnswerWith from None
    if not isinstance(fields, dict):
        raise NothingToAnswerWith
    return fields
