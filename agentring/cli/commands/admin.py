"""`agentring admin`: what an operator does to the cluster's own data in etcd, not through a router."""

import asyncio
from pathlib import Path
from typing import Annotated

import typer

from agentring.cli.errors import AdminFailed
from agentring.cli.etcd import (
    ClusterOption,
    EtcdAccess,
    EtcdCaOption,
    EtcdCertOption,
    EtcdKeyOption,
    EtcdOption,
    EtcdPasswordFileOption,
    EtcdUserOption,
    forget_store,
    still_registered,
)
from agentring.cli.local.cluster_file import ClusterFile
from agentring.cli.options import DEFAULT_DATA_DIR, DataDirOption, JsonOption
from agentring.cli.terminal.printing import console, print_json, to_fields
from agentring.cluster.etcd.errors import EtcdError
from agentring.cluster.keys import Keys
from agentring.cluster.new_generation import (
    GenerationUnknown,
    NodesRegistered,
    RecordChanged,
    begin_new_generation,
)
from agentring.v1.cluster_pb2 import ClusterMeta, StoreRecord

_DEFAULT_ETCD = "http://127.0.0.1:2379"

app = typer.Typer(help="Act on the cluster's own data in etcd.", no_args_is_help=True)


@app.callback()
def admin() -> None:
    """Act on the cluster's own data in etcd."""


@app.command("new-generation")
def new_generation(
    etcd: EtcdOption = None,
    cluster: ClusterOption = "default",
    above: Annotated[
        int | None,
        typer.Option(
            min=0, help="The highest generation that was ever used, where etcd lost it: nodes and routers log it."
        ),
    ] = None,
    cluster_uuid: Annotated[
        str,
        typer.Option(help="The cluster's uuid, where etcd lost it: nodes and routers log it, stores insist on it."),
    ] = "",
    etcd_ca: EtcdCaOption = None,
    etcd_cert: EtcdCertOption = None,
    etcd_key: EtcdKeyOption = None,
    etcd_user: EtcdUserOption = None,
    etcd_password_file: EtcdPasswordFileOption = None,
    data_dir: DataDirOption = DEFAULT_DATA_DIR,
    as_json: JsonOption = False,
) -> None:
    """Begin a new generation of a cluster whose etcd was wiped, restored or replaced.

    Refused while a node is registered. Routers and nodes that have stopped trusting etcd go on by themselves.
    """
    endpoints = tuple(etcd or ()) or _local_etcd(data_dir)
    access = EtcdAccess(endpoints, etcd_ca, etcd_cert, etcd_key, etcd_user, etcd_password_file)
    try:
        meta = asyncio.run(_begin(access, Keys(cluster), above, cluster_uuid))
    except NodesRegistered as error:
        raise AdminFailed(still_registered(error)) from error
    except GenerationUnknown as error:
        raise AdminFailed(
            f"etcd has no record of the cluster {cluster!r} that can be read: give --above, the generation that it was "
            "in (nodes and routers log it; 1 unless this was done before), and --cluster-uuid where a store is kept"
        ) from error
    except RecordChanged as error:
        raise AdminFailed("the cluster's record was changed at the same moment; look, and try again") from error
    except (EtcdError, OSError, ValueError) as error:
        raise AdminFailed(str(error)) from error
    if as_json:
        print_json(to_fields(meta))
    else:
        console().print(f"the cluster {cluster} ({meta.cluster_uuid}) is in generation {meta.generation}")


@app.command("forget-store")
def forget(
    etcd: EtcdOption = None,
    cluster: ClusterOption = "default",
    etcd_ca: EtcdCaOption = None,
    etcd_cert: EtcdCertOption = None,
    etcd_key: EtcdKeyOption = None,
    etcd_user: EtcdUserOption = None,
    etcd_password_file: EtcdPasswordFileOption = None,
    data_dir: DataDirOption = DEFAULT_DATA_DIR,
    as_json: JsonOption = False,
) -> None:
    """Let the next node that joins bring another store, an older copy, or what stands where the store was.

    What only the cluster's own store had is given up with it. Refused while a node is registered.
    """
    endpoints = tuple(etcd or ()) or _local_etcd(data_dir)
    access = EtcdAccess(endpoints, etcd_ca, etcd_cert, etcd_key, etcd_user, etcd_password_file)
    forgotten = asyncio.run(forget_store(access, Keys(cluster)))
    if as_json:
        print_json(to_fields(forgotten or StoreRecord()))
    elif forgotten is None:
        console().print(f"the cluster {cluster} knows no store")
    else:
        console().print(f"the cluster {cluster} has forgotten the store {forgotten.store_uuid}")


async def _begin(access: EtcdAccess, keys: Keys, above: int | None, cluster_uuid: str) -> ClusterMeta:
    async with access.client() as etcd:
        return await begin_new_generation(etcd, keys, above=above, cluster_uuid=cluster_uuid)


def _local_etcd(data_dir: Path) -> tuple[str, ...]:
    file = ClusterFile.read(data_dir / "cluster.json")
    return file.etcd if file is not None and file.etcd else (_DEFAULT_ETCD,)
