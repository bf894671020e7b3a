"""`agentring audit`: whether the access logs of routers and nodes are as they were written."""

import json
import os
import subprocess
import sys
from dataclasses import asdict
from pathlib import Path
from typing import Annotated

import typer

from agentring.audit.chain import BadKey, Head, read_key
from agentring.audit.verify import ChainReport, verify
from agentring.cli.errors import AuditFailed, AuditNotWhole
from agentring.cli.options import JsonOption
from agentring.cli.terminal.printing import console, print_json

_STORE = "AGENTRING_STORE"
_READ_WITHIN_S = 60.0

app = typer.Typer(help="Check the logs of who called what.", no_args_is_help=True)


@app.callback()
def audit() -> None:
    """Check the logs of who called what."""


@app.command("verify")
def verify_logs(
    directory: Annotated[Path, typer.Argument(help="Where the files are: --access-log of routers and nodes.")],
    key: Annotated[Path, typer.Option(help="The file that they were sealed with: --access-log-key.")],
    heads: Annotated[
        Path | None, typer.Option(help="Heads that `agentring audit heads` has printed, in place of the store's.")
    ] = None,
    no_heads: Annotated[bool, typer.Option(help="Without heads: lines cut off the end are not found.")] = False,
    as_json: JsonOption = False,
) -> None:
    """Find lines that were changed, left out, moved or cut off. AGENTRING_STORE names the store with the heads.

    Exit status 0 where all is as it was written, 1 where something is not.
    """
    known = None if no_heads else _heads(heads)
    try:
        reports = verify(directory, read_key(key), known)
    except (BadKey, OSError) as error:
        raise AuditFailed(str(error)) from error
    if as_json:
        print_json({"chains": [asdict(report) for report in reports]})
    else:
        for report in reports:
            _show(report)
    found = sum(len(report.findings) + report.more for report in reports)
    if found:
        raise AuditNotWhole(found)
    if not reports:
        raise AuditFailed(f"there is no access log in {directory}")


@app.command("heads")
def print_heads() -> None:
    """Print the heads that the store has, to keep them where who can write the store cannot.

    AGENTRING_STORE names the store.
    """
    for head in _heads(None):
        print(json.dumps(asdict(head)))


def _heads(file: Path | None) -> list[Head]:
    try:
        text = file.read_text() if file is not None else _stored_heads()
        return [Head(**json.loads(line)) for line in text.splitlines() if line.strip()]
    except (OSError, ValueError, TypeError) as error:
        raise AuditFailed(f"the heads cannot be read: {error}") from error


def _stored_heads() -> str:
    """What the node's program reads from the store: no command knows databases."""
    if not os.environ.get(_STORE):
        raise AuditFailed(f"set {_STORE} to the nodes' store, which has the heads, or give --heads or --no-heads")
    command = [sys.executable, *(("-P",) if sys.flags.safe_path else ()), "-m", "agent_node.access_heads"]
    try:
        done = subprocess.run(command, capture_output=True, text=True, timeout=_READ_WITHIN_S, check=False)
    except subprocess.TimeoutExpired as error:
        raise AuditFailed("the store does not answer") from error
    if done.returncode:
        raise AuditFailed(f"the heads cannot be read: {done.stderr.strip()}")
    return done.stdout


def _show(report: ChainReport) -> None:
    out = console()
    state = "not as it was written" if report.findings else "whole"
    out.print(f"{report.process} {report.chain}: {report.lines} lines, {state}", markup=False, highlight=False)
    for finding in report.findings:
        out.print(f"  {finding}", markup=False, highlight=False, soft_wrap=True)
    if report.more:
        out.print(f"  and {report.more} more", markup=False, highlight=False)
    for note in report.notes:
        out.print(f"  note: {note}", markup=False, highlight=False, soft_wrap=True)
