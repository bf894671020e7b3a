"""A cluster's own authority, which signs the certificates of its routers, nodes and clients.

Guarantees: what it signs names one holder by a URI (names.py), signs nothing itself, and ends with the authority at the
latest. Works on PEM alone: files are its callers'. Called by `agentring certs`.
"""

import ipaddress
import secrets
from collections.abc import Sequence
from dataclasses import dataclass
from datetime import UTC, datetime, timedelta

from cryptography import x509
from cryptography.exceptions import InvalidSignature, UnsupportedAlgorithm
from cryptography.hazmat.primitives.asymmetric import ec
from cryptography.hazmat.primitives.hashes import SHA256
from cryptography.hazmat.primitives.serialization import (
    Encoding,
    NoEncryption,
    PrivateFormat,
    PublicFormat,
    load_pem_private_key,
)
from cryptography.x509.oid import ExtendedKeyUsageOID, NameOID

from agentring.certificates.names import SCHEME, Holder, host_name_of, uri_of

_EARLY = timedelta(minutes=5)
"""Clocks of a cluster's machines differ."""
_USAGES = {
    Holder.router: (ExtendedKeyUsageOID.SERVER_AUTH, ExtendedKeyUsageOID.CLIENT_AUTH),
    Holder.node: (ExtendedKeyUsageOID.SERVER_AUTH, ExtendedKeyUsageOID.CLIENT_AUTH),
    Holder.client: (ExtendedKeyUsageOID.CLIENT_AUTH,),
}


class AuthorityUnusable(Exception):
    """The files are not those of an authority that can sign; the text says why."""


@dataclass(frozen=True, slots=True)
class Issued:
    """A certificate and its key."""

    certificate: bytes
    """PEM."""
    key: bytes
    """PEM, PKCS #8, not encrypted."""
    not_after: datetime

    def __repr__(self) -> str:
        """Without the key."""
        return f"Issued(not_after={self.not_after.isoformat()})"


class Authority:
    """Signs for one cluster."""

    def __init__(self, cluster: str, certificate: x509.Certificate, key: ec.EllipticCurvePrivateKey) -> None:
        """Called by `load`."""
        self.cluster = cluster
        self._certificate = certificate
        self._key = key

    @classmethod
    def load(cls, certificate: bytes, key: bytes) -> "Authority":
        """From PEM; of several certificates in a file the first. Raises AuthorityUnusable."""
        try:
            loaded = x509.load_pem_x509_certificate(certificate)
            private = load_pem_private_key(key, None)
            names = loaded.extensions.get_extension_for_class(x509.SubjectAlternativeName).value
            can_sign = loaded.extensions.get_extension_for_class(x509.BasicConstraints).value.ca
        except (ValueError, TypeError, UnsupportedAlgorithm, InvalidSignature):
            raise AuthorityUnusable("it is no certificate and its key in PEM, the key not encrypted") from None
        except x509.ExtensionNotFound:
            raise AuthorityUnusable("no cluster made it") from None
        uris = names.get_values_for_type(x509.UniformResourceIdentifier)
        if not can_sign or len(uris) != 1 or not uris[0].startswith(SCHEME) or "/" in uris[0].removeprefix(SCHEME):
            raise AuthorityUnusable("no cluster made it")
        if not isinstance(private, ec.EllipticCurvePrivateKey) or _public(private.public_key()) != _public(
            loaded.public_key()
        ):
            raise AuthorityUnusable("the key is not the certificate's")
        if loaded.not_valid_after_utc <= datetime.now(UTC):
            raise AuthorityUnusable(f"it ended on {loaded.not_valid_after_utc:%Y-%m-%d}")
        return cls(uris[0].removeprefix(SCHEME), loaded, private)

    def issue(self, holder: Holder, name: str, hosts: Sequence[str], valid: timedelta) -> Issued:
        """A new key and its certificate. hosts: names and addresses that the holder is reached at; valid: from now."""
        key = ec.generate_private_key(ec.SECP256R1())
        not_after = min(datetime.now(UTC) + valid, self._certificate.not_valid_after_utc)
        uri = uri_of(self.cluster, holder, name)
        names = [x509.UniformResourceIdentifier(uri), x509.DNSName(host_name_of(uri)), *map(_host, hosts)]
        certificate = (
            _builder(name, key, not_after)
            .issuer_name(self._certificate.subject)
            .add_extension(x509.SubjectAlternativeName(names), critical=False)
            .add_extension(x509.BasicConstraints(ca=False, path_length=None), critical=True)
            .add_extension(_key_usage(signs=False), critical=True)
            .add_extension(x509.ExtendedKeyUsage(_USAGES[holder]), critical=False)
            .add_extension(_authority_id(self._key), critical=False)
            .sign(self._key, SHA256())
        )
        return Issued(certificate.public_bytes(Encoding.PEM), _pem(key), not_after)


def make_authority(cluster: str, valid: timedelta) -> Issued:
    """A new authority of a cluster, which signs itself."""
    key = ec.generate_private_key(ec.SECP256R1())
    not_after = datetime.now(UTC) + valid
    uri = x509.UniformResourceIdentifier(f"{SCHEME}{cluster}")
    # Keeps the names of a cluster's authorities apart: a bundle may have two of them.
    name = f"agentring {cluster[:32]} {secrets.token_hex(4)}"
    builder = _builder(name, key, not_after)
    certificate = (
        builder.issuer_name(_subject(name))
        .add_extension(x509.SubjectAlternativeName([uri]), critical=False)
        .add_extension(x509.BasicConstraints(ca=True, path_length=0), critical=True)
        .add_extension(_key_usage(signs=True), critical=True)
        .sign(key, SHA256())
    )
    return Issued(certificate.public_bytes(Encoding.PEM), _pem(key), not_after)


def _builder(name: str, key: ec.EllipticCurvePrivateKey, not_after: datetime) -> x509.CertificateBuilder:
    return (
        x509.CertificateBuilder()
        .subject_name(_subject(name))
        .public_key(key.public_key())
        .serial_number(x509.random_serial_number())
        .not_valid_before(datetime.now(UTC) - _EARLY)
        .not_valid_after(not_after)
        .add_extension(x509.SubjectKeyIdentifier.from_public_key(key.public_key()), critical=False)
    )


def _subject(name: str) -> x509.Name:
    return x509.Name([x509.NameAttribute(NameOID.COMMON_NAME, name)])


def _authority_id(key: ec.EllipticCurvePrivateKey) -> x509.AuthorityKeyIdentifier:
    return x509.AuthorityKeyIdentifier.from_issuer_public_key(key.public_key())


def _key_usage(*, signs: bool) -> x509.KeyUsage:
    return x509.KeyUsage(
        digital_signature=not signs,
        content_commitment=False,
        key_encipherment=False,
        data_encipherment=False,
        key_agreement=False,
        key_cert_sign=signs,
        crl_sign=signs,
        encipher_only=False,
        decipher_only=False,
    )


def _host(host: str) -> x509.GeneralName:
    try:
        return x509.IPAddress(ipaddress.ip_address(host))
    except ValueError:
        return x509.DNSName(host)


def _pem(key: ec.EllipticCurvePrivateKey) -> bytes:
    return key.private_bytes(Encoding.PEM, PrivateFormat.PKCS8, NoEncryption())


def _public(key: object) -> bytes:
    if not isinstance(key, ec.EllipticCurvePublicKey):
        return b""
    return key.public_bytes(Encoding.DER, PublicFormat.SubjectPublicKeyInfo)
