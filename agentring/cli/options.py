"""Options that several commands share."""

from pathlib import Path
from typing import Annotated

import typer

DEFAULT_DATA_DIR = Path(".agentring")

DataDirOption = Annotated[Path, typer.Option(help="Where the local cluster's data, logs and cluster.json are.")]
RouterOption = Annotated[
    str | None,
    typer.Option(envvar="AGENTRING_ROUTER", help="host:port; else the local cluster's, else 127.0.0.1:7700."),
]
TenantOption = Annotated[str, typer.Option(help="The tenant; empty: the default one.")]
JsonOption = Annotated[bool, typer.Option("--json", help="Print JSON.")]
