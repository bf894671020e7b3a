"""`agentring certs`: a cluster's own authority, and the certificates of its routers, nodes and clients.

Every file is readable for its owner alone, and none that is there is replaced unless --overwrite says so.
"""

import os
import re
import secrets
from contextlib import suppress
from datetime import timedelta
from pathlib import Path
from typing import Annotated

import typer

from agentring.certificates.authority import Authority, AuthorityUnusable, Issued, make_authority
from agentring.certificates.names import Holder, uri_of
from agentring.cli.certificate_errors import CertificateExists, CertificateFailed, HolderMalformed
from agentring.process.private_files import make_directory, open_file

app = typer.Typer(
    help="Make the certificates by which a cluster's routers and nodes know one another.", no_args_is_help=True
)

_NAME = re.compile(r"[A-Za-z0-9._-]{1,64}", re.ASCII)
_HOST = re.compile(r"[A-Za-z0-9._-]{1,253}|[0-9a-fA-F:.]{2,45}", re.ASCII)
_LOCAL = ("localhost", "127.0.0.1", "::1")
_MOST_DAYS = 36_500

DirectoryOption = Annotated[Path, typer.Option(help="Where the files are.")]
DaysOption = Annotated[int, typer.Option(min=1, max=_MOST_DAYS, help="How long it is valid.")]
HostOption = Annotated[list[str], typer.Option(help="Name or address that callers reach it at; may be repeated.")]
OverwriteOption = Annotated[bool, typer.Option("--overwrite", help="Replace files that are there.")]


@app.command("init")
def init(
    cluster: Annotated[str, typer.Option(help="The cluster's name, as of --cluster of its routers and nodes.")] = (
        "default"
    ),
    directory: DirectoryOption = Path("certs"),
    days: DaysOption = 3_650,
    overwrite: OverwriteOption = False,
) -> None:
    """Make the cluster's authority: ca.pem, which every process gets, and ca.key, which none does."""
    _check(cluster, "--cluster")
    _write(directory, "ca", make_authority(cluster, timedelta(days=days)), overwrite=overwrite)
    typer.echo(f"next: keep {directory / 'ca.key'} off the cluster's machines: who has it can be any node and router;")
    typer.echo("then `agentring certs node ID --host ADDRESS` and `agentring certs router ID --host ADDRESS`")


@app.command("router")
def router(
    name: Annotated[str, typer.Argument(metavar="ID", help="The router's name.")],
    host: HostOption = list(_LOCAL),  # noqa: B006  typer copies it
    directory: DirectoryOption = Path("certs"),
    days: DaysOption = 90,
    overwrite: OverwriteOption = False,
) -> None:
    """Make the certificate of a router, for its clients and for nodes."""
    path = _issue(Holder.router, name, host, directory, days, overwrite=overwrite)
    typer.echo(
        f"next: start the router with --tls-cert {path}.pem --tls-key {path}.key "
        f"--node-ca {directory / 'ca.pem'} --node-cert {path}.pem --node-key {path}.key"
    )


@app.command("node")
def node(
    name: Annotated[str, typer.Argument(metavar="ID", help="The node's --node-id.")],
    host: HostOption = list(_LOCAL),  # noqa: B006  typer copies it
    directory: DirectoryOption = Path("certs"),
    days: DaysOption = 90,
    overwrite: OverwriteOption = False,
) -> None:
    """Make the certificate of a node, for its callers and for other nodes."""
    path = _issue(Holder.node, name, host, directory, days, overwrite=overwrite)
    ca = directory / "ca.pem"
    typer.echo(
        f"next: start the node with --node-id {name} --tls-cert {path}.pem --tls-key {path}.key --tls-client-ca {ca} "
        f"--node-ca {ca} --node-cert {path}.pem --node-key {path}.key"
    )


@app.command("client")
def client(
    name: Annotated[str, typer.Argument(metavar="NAME", help="The client's name.")],
    directory: DirectoryOption = Path("certs"),
    days: DaysOption = 90,
    overwrite: OverwriteOption = False,
) -> None:
    """Make the certificate of a client, for routers that ask for one (--tls-client-ca)."""
    path = _issue(Holder.client, name, (), directory, days, overwrite=overwrite)
    typer.echo(f"next: connect with agentring.client.Tls of {directory / 'ca.pem'}, {path}.pem and {path}.key")


def _issue(
    holder: Holder, name: str, hosts: list[str] | tuple[()], directory: Path, days: int, *, overwrite: bool
) -> Path:
    """Writes the certificate; its path without the suffix."""
    _check(name, f"the {holder}'s name")
    for host in hosts:
        if not _HOST.fullmatch(host):
            raise HolderMalformed("--host", host)
    try:
        authority = Authority.load((directory / "ca.pem").read_bytes(), (directory / "ca.key").read_bytes())
    except FileNotFoundError as error:
        raise CertificateFailed(f"{error.filename}: no such file; `agentring certs init` makes it") from None
    except OSError as error:
        raise CertificateFailed(f"{error.filename}: {error.strerror}") from None
    except AuthorityUnusable as error:
        raise CertificateFailed(f"{directory / 'ca.pem'} and ca.key are no authority to sign with: {error}") from None
    issued = authority.issue(holder, name, hosts, timedelta(days=days))
    path = _write(directory, f"{holder}-{name}", issued, overwrite=overwrite)
    typer.echo(f"it is {uri_of(authority.cluster, holder, name)}")
    return path


def _check(name: str, what: str) -> None:
    if not _NAME.fullmatch(name) or name in {".", ".."}:
        raise HolderMalformed(what, name)


def _write(directory: Path, name: str, issued: Issued, *, overwrite: bool) -> Path:
    """The files' path without the suffix. Raises CertificateExists, CertificateFailed."""
    path = directory / name
    files = {directory / f"{name}.key": issued.key, directory / f"{name}.pem": issued.certificate}
    try:
        make_directory(directory)
        if not overwrite and (found := [file for file in files if os.path.lexists(file)]):
            raise CertificateExists(found[0])
        for file, content in files.items():
            _put(file, content, overwrite=overwrite)
    except FileExistsError as error:
        raise CertificateExists(Path(error.filename2 or error.filename)) from None
    except OSError as error:
        raise CertificateFailed(f"{error.filename or directory}: {error.strerror}") from None
    typer.echo(f"wrote {path}.pem, valid until {issued.not_after:%Y-%m-%d}, and its key {path}.key")
    return path


def _put(file: Path, content: bytes, *, overwrite: bool) -> None:
    """The whole file or none of it: a process may read it meanwhile."""
    whole = file.with_name(f".{file.name}.{secrets.token_hex(4)}")
    try:
        with os.fdopen(open_file(whole, os.O_WRONLY | os.O_CREAT | os.O_EXCL), "wb") as opened:
            opened.write(content)
        if overwrite:
            whole.replace(file)
        else:
            os.link(whole, file)
    finally:
        with suppress(FileNotFoundError):
            whole.unlink()
