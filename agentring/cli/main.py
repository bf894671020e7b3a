"""The command `agentring`: its subcommands, and how their errors end it."""

import sys

import typer

from agentring.cli import admin, once, tasks
from agentring.cli.chat import chat
from agentring.cli.drain import drain
from agentring.cli.errors import CommandError
from agentring.cli.locate import locate
from agentring.cli.ring import ring
from agentring.cli.sessions import sessions
from agentring.cli.status import status
from agentring.cli.up import up

app = typer.Typer(
    help="Run AI agents as stateful services.",
    no_args_is_help=True,
    add_completion=False,
    pretty_exceptions_enable=False,
    context_settings={"help_option_names": ["-h", "--help"]},
)
for command in (up, chat, status, sessions, locate, ring, drain):
    app.command()(command)
app.add_typer(admin.app, name="admin")
app.add_typer(once.app, name="once")
app.add_typer(tasks.app, name="tasks")


def main() -> None:
    """The entry point. Exit status: 0, 1 for what failed, 2 for what cannot be asked, 130 after Ctrl-C."""
    try:
        app(prog_name="agentring")
    except CommandError as error:
        print(f"agentring: {error}", file=sys.stderr)
        sys.exit(error.exit_status)
