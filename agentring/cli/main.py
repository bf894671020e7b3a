"""The command `agentring`: its subcommands, and how their errors end it."""

import errno
import os
import sys
from io import TextIOWrapper
from pathlib import Path
from typing import Annotated

import typer

from agentring import variables
from agentring.cli.commands import admin, audit, auth, certs, keys, once, prepare, questions, tasks
from agentring.cli.commands.chat import chat
from agentring.cli.commands.dev import dev
from agentring.cli.commands.down import down
from agentring.cli.commands.drain import drain, undrain
from agentring.cli.commands.halt import halt, halts, resume
from agentring.cli.commands.locate import locate
from agentring.cli.commands.logs import logs
from agentring.cli.commands.new import new
from agentring.cli.commands.ps import ps
from agentring.cli.commands.ring import ring
from agentring.cli.commands.sessions import sessions
from agentring.cli.commands.status import status
from agentring.cli.commands.up import up
from agentring.cli.credentials import SHOWN, read_shown
from agentring.cli.errors import CommandError, NotText, VariableUnknown
from agentring.process.descriptors import fill_standard_fds

app = typer.Typer(
    no_args_is_help=True,
    add_completion=False,
    pretty_exceptions_enable=False,
    context_settings={"help_option_names": ["-h", "--help"]},
)


@app.callback()
def shows(
    token_file: Annotated[
        Path | None,
        typer.Option(envvar="AGENTRING_TOKEN_FILE", help="File of the token or key that routers are shown."),
    ] = None,
    ca: Annotated[
        Path | None,
        typer.Option(
            envvar="AGENTRING_ROUTER_CA", help="PEM file: the authority of routers' certificates; turns TLS on."
        ),
    ] = None,
    cert: Annotated[
        Path | None, typer.Option(envvar="AGENTRING_ROUTER_CERT", help="PEM file: the certificate that they are shown.")
    ] = None,
    key: Annotated[
        Path | None, typer.Option(envvar="AGENTRING_ROUTER_KEY", help="PEM file: the key of --cert.")
    ] = None,
) -> None:
    """Run AI agents as stateful services. Without --token-file the variable AGENTRING_TOKEN has the token."""
    SHOWN.set(read_shown(os.environ.get("AGENTRING_TOKEN"), token_file, ca, cert, key))


_NO_SPACE = (errno.ENOSPC, errno.EDQUOT)

for command in (
    new,
    dev,
    up,
    down,
    logs,
    chat,
    status,
    sessions,
    ps,
    locate,
    ring,
    drain,
    undrain,
    halt,
    resume,
    halts,
):
    app.command()(command)
admin.app.command("init")(prepare.init)
admin.app.command("migrate")(prepare.migrate)
app.add_typer(admin.app, name="admin")
app.add_typer(audit.app, name="audit")
app.add_typer(auth.app, name="auth")
app.add_typer(certs.app, name="certs")
app.add_typer(keys.app, name="keys")
app.add_typer(once.app, name="once")
app.add_typer(questions.app, name="questions")
app.add_typer(tasks.app, name="tasks")


def main() -> None:
    """The entry point. Exit status: 0, 1 for what failed, 2 for what cannot be asked, 130 after Ctrl-C."""
    fill_standard_fds()
    _be_printable()
    try:
        _check_text()
        _check_variables()
        try:
            app(prog_name="agentring")
        finally:
            if sys.stdout is not None:
                sys.stdout.flush()
    except CommandError as error:
        print(f"agentring: {error}", file=sys.stderr)
        sys.exit(error.exit_status)
    except OSError as error:
        if error.errno not in _NO_SPACE:
            raise
        print(f"agentring: the output cannot be written: {error.strerror}", file=sys.stderr)
        sys.stdout = None  # what it still has would be tried again at the end
        sys.exit(1)


def _be_printable() -> None:
    """A terminal that cannot show a character shows its escape instead, and does not end the command."""
    for stream in (sys.stdout, sys.stderr):
        if isinstance(stream, TextIOWrapper):
            stream.reconfigure(errors="backslashreplace")


def _check_text() -> None:
    """Raises NotText: what is not UTF-8 is the name of nothing, and could not be sent."""
    for position, argument in enumerate(sys.argv[1:], 1):
        if not _is_text(argument):
            raise NotText(f"argument {position}")
    for name, value in os.environ.items():
        if name.startswith("AGENTRING_") and not _is_text(value):
            raise NotText(name)


def _check_variables() -> None:
    """Raises VariableUnknown: one of ours was meant, and would have no effect."""
    near, _ = variables.unknown(os.environ, ())
    for name, meant in near.items():
        raise VariableUnknown(name, meant)


def _is_text(argument: str) -> bool:
    try:
        argument.encode()
    except UnicodeEncodeError:
        return False
    return True
