"""What commands do to the cluster's own data in etcd, for `agentring admin` and for a local cluster's start."""

from dataclasses import dataclass
from pathlib import Path
from typing import Annotated

import typer

from agentring.cli.errors import AdminFailed
from agentring.cluster import store_record
from agentring.cluster.etcd.channel import EtcdTls
from agentring.cluster.etcd.client import EtcdClient
from agentring.cluster.etcd.errors import EtcdError
from agentring.cluster.etcd.login import check_etcd_login, login_of
from agentring.cluster.keys import Keys
from agentring.cluster.new_generation import NodesRegistered
from agentring.v1.cluster_pb2 import StoreRecord

EtcdOption = Annotated[
    list[str] | None, typer.Option(help="An endpoint of etcd's, repeatedly for more; else the local cluster's.")
]
ClusterOption = Annotated[str, typer.Option(help="The cluster's name in etcd.")]
EtcdCaOption = Annotated[Path | None, typer.Option(help="PEM file; turns TLS on.")]
EtcdCertOption = Annotated[Path | None, typer.Option(help="PEM file.")]
EtcdKeyOption = Annotated[Path | None, typer.Option(help="PEM file.")]
EtcdUserOption = Annotated[
    str | None, typer.Option(help="The user in etcd, as root; else whom the certificate names, or nobody.")
]
EtcdPasswordFileOption = Annotated[Path | None, typer.Option(help="A file with the password of --etcd-user.")]


@dataclass(frozen=True, slots=True)
class EtcdAccess:
    """Where etcd is, and who calls."""

    endpoints: tuple[str, ...]
    ca: Path | None = None
    cert: Path | None = None
    key: Path | None = None
    user: str | None = None
    password_file: Path | None = None

    def client(self) -> EtcdClient:
        """Raises OSError, ValueError."""
        if (self.cert is None) != (self.key is None) or (self.cert is not None and self.ca is None):
            raise ValueError("--etcd-cert and --etcd-key are given together, with --etcd-ca, or not at all")
        check_etcd_login(self.endpoints, self.user, self.password_file, tls=self.ca is not None)
        return EtcdClient(self.endpoints, tls=self._tls(), login=login_of(self.user, self.password_file))

    def flags(self) -> list[str]:
        """As routers and nodes take them."""
        named = {"ca": self.ca, "cert": self.cert, "key": self.key, "user": self.user}
        named["password-file"] = self.password_file
        given = [f"--etcd-{name}={value}" for name, value in named.items() if value is not None]
        return [f"--etcd={','.join(self.endpoints)}", *given]

    def _tls(self) -> EtcdTls | None:
        if self.ca is None:
            return None
        cert, key = (path.read_bytes() if path is not None else None for path in (self.cert, self.key))
        return EtcdTls(self.ca.read_bytes(), cert, key)


async def forget_store(access: EtcdAccess, keys: Keys) -> StoreRecord | None:
    """Lets the next node bring any store; what is forgotten. Raises AdminFailed."""
    try:
        async with access.client() as etcd:
            return await store_record.forget(etcd, keys)
    except NodesRegistered as error:
        raise AdminFailed(still_registered(error)) from error
    except (EtcdError, OSError, ValueError) as error:
        raise AdminFailed(str(error)) from error


def still_registered(error: NodesRegistered) -> str:
    """The message about nodes that stand in the way."""
    return f"nodes are registered: {', '.join(error.node_ids)}; stop them, or wait until their leases have run out"
