"""The users of the etcd under test: its certificate, root's password, and what `agentring admin init` makes of them.

Guarantees that every process has a user of its own, which may do its work and no more; the faults' own changes are
root's. For etcd and for a store on PostgreSQL whose tables are another role's.
"""

import os
import ssl
import subprocess
import sys
from collections.abc import Iterable
from pathlib import Path
from typing import Any

import grpc
from aetcd import rpc
from grpc import aio

from agentring.certificates.names import Holder
from agentring.cli.etcd_passwords import PasswordFiles
from agentring.cluster.access import node_user, router_user
from agentring.cluster.keys import Keys
from agentring.ids import NodeId
from harness.certificates import Certificates

_INIT_S = 60.0
_CALL_S = 10.0
_ROOT = "root"


class EtcdUsers:
    """Of one run."""

    def __init__(self, directory: Path, cluster: str) -> None:
        """directory: of certificates and passwords, which is made."""
        self._keys = Keys(cluster)
        self._certificates = Certificates(directory, "etcd")
        self._passwords = directory / "passwords"
        self._root = directory / _ROOT
        self._root.write_text("the root's of a run\n")
        self.context = ssl.create_default_context(cafile=self._certificates.ca)
        """How etcd is asked over HTTPS."""

    def serving(self) -> tuple[str, ...]:
        """etcd's flags."""
        cert, key = self._certificates.issue("etcd", Holder.node)
        return (f"--cert-file={cert}", f"--key-file={key}", "--bcrypt-cost=4")

    def of_node(self, name: str) -> tuple[str, ...]:
        """A node's flags."""
        return self._flags(node_user(self._keys, NodeId(name)))

    def of_router(self) -> tuple[str, ...]:
        """A router's flags."""
        return self._flags(router_user(self._keys))

    def init(self, urls: Iterable[str], nodes: Iterable[str], store: str, grant: str) -> None:
        """What an operator does once. store: its owner's URL; grant: the nodes' role, where it is another one's. Raises
        CalledProcessError."""
        command = [sys.executable, "-P", "-m", "agentring.cli", "admin", "init", f"--cluster={self._keys.cluster}"]
        command += [*(f"--etcd={url}" for url in urls), *(f"--node={name}" for name in nodes), *self._flags(_ROOT)]
        command += [f"--passwords={self._passwords}", "--enable-auth", *([f"--grant={grant}"] if grant else [])]
        env = {**os.environ, "AGENTRING_STORE": store}
        subprocess.run(command, check=True, timeout=_INIT_S, env=env, stdout=subprocess.DEVNULL)

    def channel(self, address: str) -> aio.Channel:
        """root's."""
        credentials = grpc.ssl_channel_credentials(self._certificates.ca.read_bytes())
        options = (("grpc.use_local_subchannel_pool", 1),)
        as_root = _AsRoot(self._root, credentials, address)
        return aio.secure_channel(address, credentials, options, interceptors=(as_root,))

    def _flags(self, user: str) -> tuple[str, ...]:
        password = self._root if user == _ROOT else PasswordFiles.path_of(self._passwords, user)
        ca = self._certificates.ca
        return (f"--etcd-ca={ca}", f"--etcd-user={user}", f"--etcd-password-file={password}")


class _AsRoot(aio.UnaryUnaryClientInterceptor):
    """Sends root's token with each call."""

    def __init__(self, password: Path, credentials: grpc.ChannelCredentials, address: str) -> None:
        self._password = password
        self._credentials = credentials
        self._address = address

    async def intercept_unary_unary(self, continuation: Any, client_call_details: Any, request: Any) -> Any:
        """As the interface has it."""
        async with aio.secure_channel(self._address, self._credentials) as channel:
            login = rpc.AuthenticateRequest(name=_ROOT, password=self._password.read_text().strip())
            token = (await rpc.AuthStub(channel).Authenticate(login, timeout=_CALL_S)).token
        metadata = aio.Metadata(*(client_call_details.metadata or ()), ("token", token))
        return await continuation(client_call_details._replace(metadata=metadata), request)
