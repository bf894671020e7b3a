"""What `agentring dev` is told to run: a file, a module, an agent in it, or nothing but the project it stands in.

Guarantees that nothing of it is imported here: that is for the nodes. Called by `dev`.
"""

import tomllib
from dataclasses import dataclass
from pathlib import Path
from typing import ClassVar

from agentring.cli.errors import CommandError
from agentring.cli.local.node_command import check_agents

_GROUP = "agentring.agents"
_HOW = "name a file (my_agents.py), a module, or package.module:attribute"


@dataclass(eq=False)
class TargetUnknown(CommandError):
    """What `agentring dev` should run is not there."""

    exit_status: ClassVar[int] = 2
    why: str

    def __str__(self) -> str:
        """One line."""
        return self.why


@dataclass(frozen=True, slots=True)
class Target:
    """What the nodes host, from where, and what to watch."""

    agents: tuple[str, ...]
    """As --agent of a node."""
    import_from: Path
    """Where modules are looked for first; what changes below it is looked at."""


def find_target(word: str, here: Path) -> Target:
    """word: empty: the entry points of here's pyproject.toml. Raises TargetUnknown, AgentMalformed."""
    if not word:
        return _of_project(here)
    path = here / word
    if word.endswith(".py") or path.is_file():
        return _of_file(word, path)
    agent = word
    if ":" in word and "=" not in word:
        agent = f"{word.rpartition(':')[2].rpartition('.')[2]}={word}"
    return Target(check_agents((agent,)), here)


def _of_file(word: str, path: Path) -> Target:
    if not path.is_file():
        raise TargetUnknown(f"{word}: there is no such file")
    if not path.stem.isidentifier() or path.suffix != ".py":
        raise TargetUnknown(f"{word}: that is no name of a module")
    path = path.resolve()
    parts, directory = [path.stem], path.parent
    while (directory / "__init__.py").is_file():
        parts.insert(0, directory.name)
        directory = directory.parent
    return Target((".".join(parts),), directory)


def _of_project(here: Path) -> Target:
    file = here / "pyproject.toml"
    try:
        project = tomllib.loads(file.read_text(encoding="utf-8"))
    except FileNotFoundError:
        raise TargetUnknown(f"there is no pyproject.toml here: {_HOW}") from None
    except (OSError, ValueError) as error:
        raise TargetUnknown(f"pyproject.toml: {error}") from None
    points = project.get("project", {}).get("entry-points", {}).get(_GROUP, {})
    if not points:
        raise TargetUnknown(f'pyproject.toml has no [project.entry-points."{_GROUP}"]: {_HOW}')
    agents = tuple(f"{name}={where}" for name, where in points.items())
    source = here / "src"
    return Target(check_agents(agents), source if source.is_dir() else here)
