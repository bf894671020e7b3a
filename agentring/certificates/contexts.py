"""TLS contexts of what a process serves and dials. Their files are read here, so each raises OSError."""

import ssl
from pathlib import Path


def serving_context(cert: Path, key: Path | None, client_ca: Path | None) -> ssl.SSLContext:
    """For those who call. client_ca: they must have a certificate of this authority. Raises OSError."""
    context = ssl.create_default_context(ssl.Purpose.CLIENT_AUTH, cafile=client_ca)
    load_pair(context, cert, key)
    if client_ca is not None:
        context.verify_mode = ssl.CERT_REQUIRED
    return context


def load_pair(context: ssl.SSLContext, cert: Path, key: Path | None) -> None:
    """A certificate and its key, not encrypted: OpenSSL would ask the terminal for a password, and hold the process up
    for as long as nobody types one. Raises OSError."""
    context.load_cert_chain(cert, key, password=_no_password)


def _no_password() -> bytes:
    raise OSError("the key is encrypted; it must be one without a password")


def http2_only(context: ssl.SSLContext) -> ssl.SSLContext:
    """The context, set for what RFC 9113 9.2 asks for."""
    context.minimum_version = ssl.TLSVersion.TLSv1_2
    context.set_alpn_protocols(["h2"])
    return context
