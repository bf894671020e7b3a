"""How commands show a router who calls: a token or key, and TLS where the router serves it.

Guarantees: a token comes from a file or the environment, never from the command line, and stands in no error; it is
sent nowhere but over TLS or within this machine. Set by `agentring`'s own options, before its command; used by calls.
"""

import re
from collections.abc import Iterator
from contextlib import contextmanager
from contextvars import ContextVar
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any, ClassVar, NamedTuple

import grpc

from agentring import metadata
from agentring.address import is_loopback
from agentring.cli.errors import CommandError
from agentring.client import Tls
from agentring.rpc.channel import open_blocking_channel

_TOKEN = re.compile(r"[!-~]{1,16384}", re.ASCII)


@dataclass(eq=False)
class CredentialUnusable(CommandError):
    """What is to be shown to the router cannot be."""

    exit_status: ClassVar[int] = 2
    source: str
    problem: str

    def __str__(self) -> str:
        """One line, without the credential."""
        return f"{self.source}: {self.problem}"


@dataclass(frozen=True, slots=True)
class Shown:
    """What a router is shown."""

    token: str = field(default="", repr=False)
    """Empty: none."""
    tls: Tls | None = None
    """None: plaintext."""

    def check(self, router: str) -> None:
        """Raises CredentialUnusable."""
        if self.token and self.tls is None and not is_loopback(router):
            raise CredentialUnusable(router, "a token would go there in plain text: name its authority by --ca FILE")


NOTHING = Shown()
SHOWN: ContextVar[Shown] = ContextVar("agentring shown", default=NOTHING)
"""Of the command that runs."""


def read_shown(
    token: str | None, token_file: Path | None, ca: Path | None, cert: Path | None, key: Path | None
) -> Shown:
    """token: of the environment; token_file: has precedence; the others: PEM files. Raises CredentialUnusable."""
    source = "AGENTRING_TOKEN" if token_file is None else f"--token-file {token_file}"
    said = _read(token_file, "--token-file").decode("latin-1").strip() if token_file is not None else token or ""
    if (token is not None or token_file is not None) and not _TOKEN.fullmatch(said):
        raise CredentialUnusable(
            source, "it is no token: printable ASCII characters other than the space, up to 16 KiB"
        )
    if ca is None and (cert is not None or key is not None):
        raise CredentialUnusable("--cert and --key", "they need --ca, which turns TLS on")
    if (cert is None) != (key is None):
        raise CredentialUnusable("--cert and --key", "they are given together or not at all")
    if ca is None:
        return Shown(said)
    pair = (_read(cert, "--cert"), _read(key, "--key")) if cert is not None and key is not None else (None, None)
    return Shown(said, Tls(_read(ca, "--ca"), *pair))


@contextmanager
def open_router(router: str) -> Iterator[grpc.Channel]:
    """A blocking channel on which every call shows what is to be shown. Raises CredentialUnusable."""
    shown = SHOWN.get()
    shown.check(router)
    tls = shown.tls
    credentials = grpc.ssl_channel_credentials(tls.ca, tls.key, tls.certificate) if tls is not None else None
    with open_blocking_channel(router, credentials) as channel:
        yield grpc.intercept_channel(channel, _Bearer(shown.token)) if shown.token else channel


class _Details(NamedTuple):
    method: str
    timeout: float | None
    metadata: Any
    credentials: Any
    wait_for_ready: bool | None
    compression: Any


class _Bearer(grpc.UnaryUnaryClientInterceptor, grpc.UnaryStreamClientInterceptor):
    """Puts the token into calls of the two kinds that commands make."""

    def __init__(self, token: str) -> None:
        self._pair = (metadata.AUTHORIZATION, f"Bearer {token}")

    def intercept_unary_unary(self, continuation: Any, client_call_details: Any, request: Any) -> Any:
        """As grpc."""
        return continuation(self._with_token(client_call_details), request)

    def intercept_unary_stream(self, continuation: Any, client_call_details: Any, request: Any) -> Any:
        """As grpc."""
        return continuation(self._with_token(client_call_details), request)

    def _with_token(self, details: Any) -> _Details:
        said = (*(details.metadata or ()), self._pair)
        return _Details(
            details.method, details.timeout, said, details.credentials, details.wait_for_ready, details.compression
        )


def _read(path: Path, option: str) -> bytes:
    try:
        return path.read_bytes()
    except OSError as error:
        raise CredentialUnusable(f"{option} {path}", str(error.strerror)) from None
