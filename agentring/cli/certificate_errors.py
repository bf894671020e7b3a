"""What ends `agentring certs`."""

from dataclasses import dataclass
from pathlib import Path
from typing import ClassVar

from agentring.cli.errors import CommandError


@dataclass(eq=False)
class HolderMalformed(CommandError):
    """A name that a certificate cannot have."""

    exit_status: ClassVar[int] = 2
    what: str
    word: str

    def __str__(self) -> str:
        """One line."""
        allowed = "a host's name or an address" if self.what == "--host" else "1 to 64 of A-Z a-z 0-9 . _ -"
        return f"{self.what} {self.word!r}: it is not {allowed}"


@dataclass(eq=False)
class CertificateExists(CommandError):
    """A certificate or key is there already, and stays."""

    path: Path

    def __str__(self) -> str:
        """One line."""
        return f"{self.path} is there, and nothing was written; --overwrite replaces it"


@dataclass(eq=False)
class CertificateFailed(CommandError):
    """A certificate could not be made."""

    why: str

    def __str__(self) -> str:
        """One line."""
        return self.why
