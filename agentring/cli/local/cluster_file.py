"""`<data-dir>/cluster.json`: what runs in a local cluster, for the commands and for scripts.

Guarantees that a reader sees a whole file or none: it is written beside and renamed. It says what `agentring up`
started, not what lives now; ClusterService says that. Written by `up`, read by every command that needs a router.
"""

import json
import os
import socket
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import Self

from agentring.address import check_address
from agentring.cli.errors import ClusterFileMalformed, check_option
from agentring.ids import NodeId
from agentring.process import private_files

_CONNECT_S = 1.0
DEFAULT_ROUTER = "127.0.0.1:7700"


@dataclass(frozen=True, slots=True)
class NodeEntry:
    """A node that `up` started."""

    id: NodeId
    address: str
    pid: int


@dataclass(frozen=True, slots=True)
class RouterEntry:
    """A router that `up` started."""

    address: str
    pid: int


@dataclass(frozen=True, slots=True)
class ClusterFile:
    """The file's contents, in the file's own names."""

    router: tuple[str, ...]
    etcd: tuple[str, ...]
    store: str
    nodes: tuple[NodeEntry, ...]
    routers: tuple[RouterEntry, ...]
    data_plane: str = ""
    """How nodes and routers run it: compiled or interpreted; empty in the file of a release that did not say."""

    @classmethod
    def read(cls, path: Path) -> Self | None:
        """The file, or None where there is none. Raises ClusterFileMalformed."""
        try:
            fields = json.loads(path.read_text(encoding="utf-8"))
        except FileNotFoundError:
            return None
        except (OSError, ValueError) as error:
            raise ClusterFileMalformed(path) from error
        try:
            return cls(
                router=tuple(fields["router"]),
                etcd=tuple(fields["etcd"]),
                store=fields["store"],
                nodes=tuple(NodeEntry(**node) for node in fields["nodes"]),
                routers=tuple(RouterEntry(**router) for router in fields["routers"]),
                data_plane=fields.get("data_plane", ""),
            )
        except (AttributeError, KeyError, TypeError) as error:
            raise ClusterFileMalformed(path) from error

    def write(self, path: Path) -> None:
        """Puts the file in place, whole."""
        beside = path.with_suffix(".json.new")
        private_files.write_text(beside, json.dumps(asdict(self), indent=2) + "\n")
        os.replace(beside, path)


def find_cluster(data_dir: Path) -> ClusterFile | None:
    """The local cluster; None: there is none. Raises ClusterFileMalformed."""
    return ClusterFile.read(data_dir / "cluster.json")


def find_routers(router: str | None, data_dir: Path) -> tuple[str, ...]:
    """The routers to speak to: the one that is named, else those of the local cluster, else the default address.

    Raises ClusterFileMalformed, AddressUnusable.
    """
    if router is not None:
        check_option("--router", router, check_address)
        return (router,)
    cluster = find_cluster(data_dir)
    return cluster.router if cluster is not None and cluster.router else (DEFAULT_ROUTER,)


def find_router(router: str | None, data_dir: Path) -> str:
    """One of `find_routers` to ask: the first one that somebody listens on, where there are several.

    Raises ClusterFileMalformed, AddressUnusable.
    """
    routers = find_routers(router, data_dir)
    return next((one for one in routers if _is_listening(one)), routers[0]) if len(routers) > 1 else routers[0]


def _is_listening(address: str) -> bool:
    host, _, port = address.rpartition(":")
    try:
        socket.create_connection((host.strip("[]"), int(port)), _CONNECT_S).close()
    except OSError:
        return False
    return True
