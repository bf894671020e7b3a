"""Options that several commands share."""

from pathlib import Path
from typing import Annotated

import typer

DEFAULT_DATA_DIR = Path(".agentring")


def for_data_dir(data_dir: Path) -> str:
    """What a command needs to be about this directory."""
    return "" if data_dir == DEFAULT_DATA_DIR else f" --data-dir {data_dir}"


DataDirOption = Annotated[Path, typer.Option(help="Where the local cluster's data, logs and cluster.json are.")]
RouterOption = Annotated[
    str | None,
    typer.Option(envvar="AGENTRING_ROUTER", help="host:port; else the local cluster's, else 127.0.0.1:7700."),
]
TenantOption = Annotated[str, typer.Option(help="The tenant; empty: the default one.")]
AgentsOption = Annotated[
    list[str] | None,
    typer.Option(
        help="name=package.module:attribute of an agent that the nodes host, or package.module: all that it defines."
    ),
]
EnvFileOption = Annotated[
    Path | None, typer.Option(help="A file of NAME=VALUE lines: variables for the nodes, and so for the agents.")
]
JsonOption = Annotated[bool, typer.Option("--json", help="Print JSON.")]
