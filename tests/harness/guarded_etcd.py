"""A real etcd with TLS that checks who calls, made so by `agentring admin init` as an operator would."""

import asyncio
import ssl
from collections.abc import Sequence
from datetime import timedelta
from pathlib import Path

import pytest

from agentring.certificates.authority import Authority, make_authority
from agentring.certificates.names import Holder
from agentring.cli.etcd_passwords import PasswordFiles
from agentring.cli.local.embedded_etcd import ask_version, find_program
from agentring.cluster.access import node_user, router_user
from agentring.cluster.etcd.access_control import is_fit
from agentring.cluster.etcd.channel import EtcdTls
from agentring.cluster.etcd.client import EtcdClient
from agentring.cluster.etcd.login import EtcdLogin
from agentring.cluster.keys import Keys
from agentring.cluster.prepare_etcd import steps_to_prepare
from agentring.ids import NodeId
from harness.etcd import EtcdProcess

ROOT = "root"
PATIENCE_S = 20.0


class GuardedEtcd:
    """Resource handling: `stop`. Skips the test where the etcd at hand is too old to be relied on."""

    def __init__(self, directory: Path, *, asks_certificates: bool = False) -> None:
        """directory: of certificates, passwords, data and log; asks_certificates: whoever calls must have one, and
        without a token is whom it names."""
        version = ".".join(map(str, asyncio.run(ask_version(find_program()))))
        if not is_fit(version):
            pytest.skip(f"etcd {version} lets users go round its access control: scripts/get_etcd builds a later one")
        made = make_authority("etcd", timedelta(days=1))
        self.authority = Authority.load(made.certificate, made.key)
        self.directory = directory
        self.ca = directory / "ca.pem"
        self.ca.write_bytes(made.certificate)
        cert, key = self.issue("server", "127.0.0.1")
        flags = [f"--cert-file={cert}", f"--key-file={key}", "--bcrypt-cost=4"]
        asked = ssl.create_default_context(cafile=self.ca)
        self.tls = EtcdTls(self.ca.read_bytes())
        if asks_certificates:
            flags += ["--client-cert-auth", f"--trusted-ca-file={self.ca}"]
            asked.load_cert_chain(*self.issue("nobody"))
            self.tls = self.tls_of("nobody")
        self.process = EtcdProcess(directory, *flags, tls=asked)
        self.root = directory / "root"
        self.root.write_text("the root's\n")

    def issue(self, name: str, *hosts: str) -> tuple[Path, Path]:
        """Files of a certificate and its key; the name is the subject's, which etcd takes for a user's."""
        issued = self.authority.issue(Holder.node, name, hosts, timedelta(days=1))
        cert, key = (self.directory / f"{name.replace('/', '-')}.{kind}" for kind in ("pem", "key"))
        cert.write_bytes(issued.certificate)
        key.write_bytes(issued.key)
        return cert, key

    @property
    def url(self) -> str:
        return self.process.url

    def tls_of(self, name: str) -> EtcdTls:
        """Of somebody whose certificate names them so."""
        cert, key = self.issue(name)
        return EtcdTls(self.ca.read_bytes(), cert.read_bytes(), key.read_bytes())

    def password(self, user: str) -> Path:
        """The file of a user's."""
        return self.root if user == ROOT else PasswordFiles.path_of(self.directory / "passwords", user)

    def login(self, user: str) -> EtcdLogin:
        return EtcdLogin(user, self.password(user))

    def client(self, user: str) -> EtcdClient:
        return EtcdClient([self.url], tls=self.tls, login=self.login(user), timeout_s=PATIENCE_S)

    async def init(self, keys: Keys, nodes: Sequence[NodeId]) -> list[str]:
        """What was done for the cluster, the check turned on."""
        files = PasswordFiles(self.directory / "passwords", self.root, dry_run=False)
        async with self.client(ROOT) as root:
            steps = await steps_to_prepare(root, keys, nodes, files, enable=True)
            for step in steps:
                await step.work()
        return [step.what for step in steps]

    def flags(self, user: str) -> tuple[str, ...]:
        """Of a process that is this user."""
        return (f"--etcd-ca={self.ca}", f"--etcd-user={user}", f"--etcd-password-file={self.password(user)}")

    def node_flags(self, cluster: str, name: str) -> tuple[str, ...]:
        return self.flags(node_user(Keys(cluster), NodeId(name)))

    def router_flags(self, cluster: str) -> tuple[str, ...]:
        return self.flags(router_user(Keys(cluster)))

    def stop(self) -> None:
        self.process.stop()
