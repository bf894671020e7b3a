"""`agentring admin init` and `migrate`: a cluster's etcd and store are made ready for processes that may do no more
than they must: nodes and routers without etcd's root, nodes without the right to change tables."""

import asyncio
import json
import os
import re
import sys
from asyncio.subprocess import PIPE
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
    EtcdPasswordFileOption,
    EtcdUserOption,
    still_registered,
)
from agentring.cli.etcd_passwords import PasswordFiles
from agentring.cli.options import JsonOption
from agentring.cli.terminal.printing import console, print_json
from agentring.cluster.etcd.client import EtcdClient
from agentring.cluster.etcd.errors import EtcdError, EtcdTokenRefused
from agentring.cluster.keys import Keys
from agentring.cluster.new_generation import NodesRegistered
from agentring.cluster.prepare_etcd import steps_to_prepare
from agentring.cluster.store_record import MEMORY, StoreDiffers, StoreIdentity, prepare
from agentring.ids import NodeId

_DEFAULT_ETCD = "http://127.0.0.1:2379"
_MEMORY_URL = "memory:"
_NODE_ID = re.compile(r"[A-Za-z0-9._-]{1,64}", re.ASCII)
"""As agent_node/settings.py has it."""

_StoreOption = Annotated[
    str,
    typer.Option(
        envvar="AGENTRING_STORE",
        help="The nodes' store, else the one that they have; a URL with a password belongs into the variable.",
    ),
]
_GrantOption = Annotated[
    str, typer.Option(help="PostgreSQL: the nodes' role, which gets what they need, and may not change tables.")
]
_EndpointsOption = Annotated[
    list[str] | None, typer.Option("--etcd", help=f"An endpoint of etcd's, repeatedly for more; else {_DEFAULT_ETCD}.")
]


def init(
    etcd: _EndpointsOption = None,
    cluster: ClusterOption = "default",
    node: Annotated[list[str] | None, typer.Option(help="A node's id, repeatedly for more.")] = None,
    passwords: Annotated[
        Path | None,
        typer.Option(help="A directory for the users' passwords, a file each; else users have none, but certificates."),
    ] = None,
    store: _StoreOption = "",
    grant: _GrantOption = "",
    enable_auth: Annotated[
        bool, typer.Option(help="Turn etcd's check of who calls on, for all that use this etcd.")
    ] = False,
    dry_run: Annotated[bool, typer.Option(help="Say what would be done, and do nothing.")] = False,
    etcd_ca: EtcdCaOption = None,
    etcd_cert: EtcdCertOption = None,
    etcd_key: EtcdKeyOption = None,
    etcd_user: EtcdUserOption = None,
    etcd_password_file: EtcdPasswordFileOption = None,
    as_json: JsonOption = False,
) -> None:
    """Prepare etcd for a cluster whose routers and nodes may do only what they must.

    Makes users and roles, one user for the routers and one for each --node, and the cluster's records, which nodes then
    may not write. Does what is missing; run it again for further nodes.
    """
    access = _access(etcd, etcd_ca, etcd_cert, etcd_key, etcd_user, etcd_password_file)
    files = PasswordFiles(passwords, etcd_password_file, dry_run=dry_run)
    if enable_auth and etcd_user != "root" and etcd_cert is None:
        raise AdminFailed("--enable-auth needs --etcd-user root, or --etcd-cert of root: nobody could get in again")
    if odd := [each for each in node or () if not _NODE_ID.fullmatch(each)]:
        raise AdminFailed(f"--node {odd[0]!r}: no node may have that name")
    if grant and store in ("", _MEMORY_URL):
        raise AdminFailed("--grant needs --store, or AGENTRING_STORE: whose tables are meant?")
    nodes = [NodeId(each) for each in node or ()]
    try:
        done = asyncio.run(
            _init(access, Keys(cluster), nodes, files, store, grant, enable=enable_auth, dry_run=dry_run)
        )
    except NodesRegistered as error:
        raise AdminFailed(still_registered(error)) from error
    except StoreDiffers as error:
        raise AdminFailed(f"{error}; or see `agentring admin forget-store`") from error
    except (EtcdError, OSError, ValueError) as error:
        raise AdminFailed(str(error)) from error
    if as_json:
        print_json({"dry_run": dry_run, "steps": done})
        return
    for what in done:
        console().print(f"{'would ' if dry_run else ''}{what}", highlight=False, markup=False)
    if not done:
        console().print("nothing to do")


def migrate(
    store: _StoreOption = "",
    grant: _GrantOption = "",
    etcd: _EndpointsOption = None,
    cluster: ClusterOption = "default",
    etcd_ca: EtcdCaOption = None,
    etcd_cert: EtcdCertOption = None,
    etcd_key: EtcdKeyOption = None,
    etcd_user: EtcdUserOption = None,
    etcd_password_file: EtcdPasswordFileOption = None,
) -> None:
    """Bring the store's tables to this release's version, for nodes whose role may not.

    Run it with the tables' owner before nodes of a new release start. Nodes of the release before go on meanwhile where
    its notes say so.
    """
    access = _access(etcd, etcd_ca, etcd_cert, etcd_key, etcd_user, etcd_password_file)
    if store in ("", _MEMORY_URL):
        raise AdminFailed("--store names the store, or AGENTRING_STORE does")
    try:
        found = asyncio.run(_store(access, cluster, store, grant))
    except (EtcdError, OSError, ValueError) as error:
        raise AdminFailed(str(error)) from error
    console().print(f"the store {found.uuid} is of this release's version", highlight=False)


def _access(
    etcd: list[str] | None,
    ca: Path | None,
    cert: Path | None,
    key: Path | None,
    user: str | None,
    password: Path | None,
) -> EtcdAccess:
    return EtcdAccess(tuple(etcd or ()) or (_DEFAULT_ETCD,), ca, cert, key, user, password)


async def _init(
    access: EtcdAccess,
    keys: Keys,
    nodes: list[NodeId],
    files: PasswordFiles,
    store: str,
    grant: str,
    *,
    enable: bool,
    dry_run: bool,
) -> list[str]:
    """What was done, or would be."""
    async with access.client() as etcd:
        steps = await steps_to_prepare(etcd, keys, nodes, files, enable=enable)
        done = []
        for step in steps:
            if not dry_run:
                await step.work()
            done.append(step.what)
        if dry_run:
            return [*done, "write the record of the cluster's store, if it is not there"]
        if await _write_store(etcd, access, keys, store, grant):
            done.append("write the record of the cluster's store")
        if enable:
            await _check_root(etcd, keys)
        return done


async def _write_store(etcd: EtcdClient, access: EtcdAccess, keys: Keys, store: str, grant: str) -> bool:
    mine = StoreIdentity(MEMORY) if store == _MEMORY_URL else None
    if store and mine is None:
        mine = await _store(access, keys.cluster, store, grant)
    return await prepare(etcd, keys, mine)


async def _check_root(etcd: EtcdClient, keys: Keys) -> None:
    try:
        await etcd.get(keys.meta)
    except EtcdTokenRefused:
        raise AdminFailed(
            "etcd checks who calls now, and does not know this caller: see etcd's documentation, Disaster recovery"
        ) from None


async def _store(access: EtcdAccess, cluster: str, url: str, grant: str) -> StoreIdentity:
    """The store, its tables brought up to date by the node's own program. Raises AdminFailed, OSError."""
    command = (sys.executable, "-P", "-m", "agent_node.prepare_store", *access.flags(), f"--cluster={cluster}")
    # The URL, which may have a password, stands on no command line.
    environment = {**os.environ, "AGENTRING_STORE": url}
    child = await asyncio.create_subprocess_exec(
        *command, f"--grant={grant}", env=environment, stdout=PIPE, stderr=PIPE
    )
    try:
        printed, errors = await child.communicate()
    finally:
        if child.returncode is None:
            child.terminate()
            await child.wait()
    if child.returncode:
        said = errors.decode(errors="replace").strip().splitlines()
        raise AdminFailed(said[-1].removeprefix("prepare_store: ") if said else "the store was not prepared")
    found = json.loads(printed.decode().splitlines()[-1])
    return StoreIdentity(found["uuid"], found["file"])
