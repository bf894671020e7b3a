"""`agentring keys`: the API keys of a file that an auth file names.

A key is printed once, when it is made, alone on standard output; the file has its hash. Routers and nodes see a change
within seconds.
"""

import time
from datetime import UTC, datetime
from pathlib import Path
from typing import Annotated

import typer
from pydantic import ValidationError
from rich.table import Table

from agentring.auth import key_file
from agentring.auth.identity import Role
from agentring.auth.rules import AuthFileUnusable, load_key_rows
from agentring.auth.tables import KeyRow
from agentring.cli.auth_errors import AuthUnusable, KeyOptionUnusable
from agentring.cli.options import JsonOption
from agentring.cli.terminal.printing import console, print_json, without_control

app = typer.Typer(help="Make, list and revoke API keys.", no_args_is_help=True)

_MOST_DAYS = 36_500
FileOption = Annotated[Path, typer.Option(help="The file of keys, as `[[api_keys]]` of the auth file names it.")]


@app.command("new")
def new(
    tenant: Annotated[str, typer.Option(help="Whose sessions it is for.")],
    subject: Annotated[str, typer.Option(help="Who uses it; the next key of the same subject takes its place.")],
    role: Annotated[list[Role], typer.Option(help="What it may do; may be repeated.")] = [Role.user],  # noqa: B006  typer copies it
    days: Annotated[
        int | None, typer.Option(min=1, max=_MOST_DAYS, help="How long it is valid; without: until it is revoked.")
    ] = None,
    file: FileOption = Path("keys.toml"),
) -> None:
    """Make a key, and print it: it cannot be printed again. The file is made if it is missing."""
    key_id, key, digest = key_file.make_key()
    ends = None if days is None else float(round(time.time()) + days * 86_400)
    try:
        row = KeyRow(
            id=key_id, sha256=digest, tenant=tenant, subject=subject, roles=tuple(dict.fromkeys(role)), expires_at=ends
        )
    except ValidationError as error:
        first = error.errors(include_input=False, include_url=False, include_context=False)[0]
        raise KeyOptionUnusable(f"--{first['loc'][0]}: {first['msg'].removeprefix('Value error, ')}") from None
    try:
        key_file.add_row(file, row)
    except AuthFileUnusable as error:
        raise AuthUnusable(str(error)) from None
    except OSError as error:
        raise AuthUnusable(f"{file}: {error.strerror}") from None
    typer.echo(f"{file}: key {key_id} of {tenant}/{subject}, valid {_until(ends)}; it is shown this once:", err=True)
    typer.echo(key)


@app.command("list")
def list_keys(file: FileOption = Path("keys.toml"), as_json: JsonOption = False) -> None:
    """List the keys, which are not shown themselves."""
    try:
        rows = load_key_rows(file)
    except AuthFileUnusable as error:
        raise AuthUnusable(str(error)) from None
    if as_json:
        fields = ("id", "tenant", "subject", "roles", "expires_at")
        print_json({"keys": [row.model_dump(mode="json", include=set(fields)) for row in rows]})
        return
    table = Table("key", "tenant", "subject", "roles", "valid", box=None, pad_edge=False)
    for row in rows:
        words = (row.id, row.tenant, row.subject, ", ".join(row.roles), _until(row.expires_at))
        table.add_row(*(without_control(word) for word in words))
    console().print(table)


@app.command("revoke")
def revoke(
    key_id: Annotated[str, typer.Argument(metavar="ID", help="Which key: what stands between `ar_` and the next `_`.")],
    file: FileOption = Path("keys.toml"),
) -> None:
    """Take a key out of the file. Calls with it are refused, and streams end, within seconds."""
    try:
        row = key_file.remove_row(file, key_id)
    except key_file.KeyUnknown:
        hint = "; an id is 12 characters, and no key" if len(key_id) > 32 else f" {key_id}"
        raise AuthUnusable(f"{file}: there is no key{hint}") from None
    except AuthFileUnusable as error:
        raise AuthUnusable(str(error)) from None
    except OSError as error:
        raise AuthUnusable(f"{file}: {error.strerror}") from None
    typer.echo(f"{file}: key {row.id} of {row.tenant}/{row.subject} is not valid any more")


def _until(ends: float | None) -> str:
    if ends is None:
        return "until it is revoked"
    day = f"{datetime.fromtimestamp(ends, UTC):%Y-%m-%d %H:%M} UTC"
    return f"until {day}" if ends > time.time() else f"no more since {day}"
