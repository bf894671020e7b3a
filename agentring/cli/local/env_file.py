"""`--env-file`: variables for the nodes of a local cluster, and so for the agents in them.

Guarantees: what is set in our own environment wins; values are taken as they stand, and never shown; a line that cannot
be read is named by its number. Called by `up` and `dev`.
"""

from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import ClassVar

from dotenv.parser import parse_stream

from agentring.cli.errors import CommandError


@dataclass(eq=False)
class EnvFileUnusable(CommandError):
    """--env-file cannot be read."""

    exit_status: ClassVar[int] = 2
    path: Path
    why: str

    def __str__(self) -> str:
        """One line."""
        return f"--env-file {self.path}: {self.why}"


def read_env_file(path: Path | None, ours: Mapping[str, str]) -> dict[str, str]:
    """The variables of the file that are not among ours; none without a file. Raises EnvFileUnusable."""
    if path is None:
        return {}
    found: dict[str, str] = {}
    try:
        with path.open(encoding="utf-8") as file:
            for binding in parse_stream(file):
                if binding.error or (binding.key is not None and (binding.value is None or "\0" in binding.value)):
                    raise EnvFileUnusable(path, f"line {_line(binding.original)}: not NAME=VALUE")
                if binding.key is not None and binding.value is not None:
                    found[binding.key] = binding.value
    except (OSError, UnicodeDecodeError) as error:
        raise EnvFileUnusable(path, getattr(error, "strerror", None) or "it is not UTF-8") from error
    return {name: value for name, value in found.items() if name not in ours}


def _line(original: object) -> int:
    text, number = getattr(original, "string", ""), int(getattr(original, "line", 0))
    return number + len(text) - len(text.lstrip("\n"))  # empty lines before it are taken for a part of it
