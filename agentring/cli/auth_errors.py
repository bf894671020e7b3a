"""What ends `agentring auth` and `agentring keys`."""

from dataclasses import dataclass
from typing import ClassVar

from agentring.cli.errors import CommandError


@dataclass(eq=False)
class AuthUnusable(CommandError):
    """A file is not what it must be, or cannot be read or written."""

    why: str

    def __str__(self) -> str:
        """One line, which names the file."""
        return self.why


@dataclass(eq=False)
class CredentialRefused(CommandError):
    """The file is in order, and refuses the credential."""

    why: str

    def __str__(self) -> str:
        """One line."""
        return f"refused: {self.why}"


@dataclass(eq=False)
class CredentialsUnclear(CommandError):
    """More than one credential, or none that can be read."""

    exit_status: ClassVar[int] = 2
    why: str

    def __str__(self) -> str:
        """One line."""
        return self.why


@dataclass(eq=False)
class KeyOptionUnusable(CommandError):
    """A key cannot be made of what was asked for."""

    exit_status: ClassVar[int] = 2
    why: str

    def __str__(self) -> str:
        """One line."""
        return self.why
