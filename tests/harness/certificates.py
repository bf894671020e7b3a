"""An authority of a cluster and what it has signed, as PEM files."""

from collections.abc import Sequence
from datetime import timedelta
from pathlib import Path

import grpc

from agentring.certificates.authority import Authority, make_authority
from agentring.certificates.names import Holder

DAY = timedelta(days=1)


class Certificates:
    """In a directory, which is made."""

    def __init__(self, directory: Path, cluster: str) -> None:
        directory.mkdir(parents=True, exist_ok=True)
        self._directory = directory
        made = make_authority(cluster, DAY)
        self._authority = Authority.load(made.certificate, made.key)
        self.ca = self._write("ca.pem", made.certificate)

    def issue(
        self,
        name: str,
        holder: Holder = Holder.client,
        valid: timedelta = DAY,
        hosts: Sequence[str] = ("127.0.0.1",),
    ) -> tuple[Path, Path]:
        """A certificate and its key."""
        issued = self._authority.issue(holder, name, hosts, valid)
        return self._write(f"{name}.pem", issued.certificate), self._write(f"{name}.key", issued.key)

    def serving(self, name: str, holder: Holder) -> tuple[str, ...]:
        """The flags of what a router or node serves."""
        certificate, key = self.issue(name, holder)
        return (f"--tls-cert={certificate}", f"--tls-key={key}", f"--tls-client-ca={self.ca}")

    def to_nodes(self, name: str, holder: Holder = Holder.router) -> tuple[str, ...]:
        """The flags of what calls nodes."""
        certificate, key = self.issue(name, holder)
        return (f"--node-ca={self.ca}", f"--node-cert={certificate}", f"--node-key={key}")

    def everywhere(self, name: str, holder: Holder, valid: timedelta = DAY) -> tuple[str, ...]:
        """The flags of a router or node that knows everybody, and is known, by certificates."""
        cert, key = self.issue(name, holder, valid)
        return (
            *(f"--tls-cert={cert}", f"--tls-key={key}", f"--tls-client-ca={self.ca}"),
            *(f"--node-cert={cert}", f"--node-key={key}", f"--node-ca={self.ca}"),
        )

    def credentials(self, name: str | None, valid: timedelta = DAY) -> grpc.ChannelCredentials:
        """A client's; None: one without a certificate."""
        if name is None:
            return grpc.ssl_channel_credentials(self.ca.read_bytes())
        certificate, key = self.issue(name, valid=valid)
        return grpc.ssl_channel_credentials(self.ca.read_bytes(), key.read_bytes(), certificate.read_bytes())

    def trusting(self, authorities: bytes, name: str) -> grpc.ChannelCredentials:
        """A client's, who believes these authorities."""
        certificate, key = self.issue(name)
        return grpc.ssl_channel_credentials(authorities, key.read_bytes(), certificate.read_bytes())

    def _write(self, name: str, content: bytes) -> Path:
        path = self._directory / name
        path.write_bytes(content)
        return path
