"""A project for one agent: the agent, its test, a README and a pyproject.toml, ready to run.

Guarantees that nothing is overwritten: the directory is new, or empty. The files are those of project_files/, with the
names put in. Called by `new`.
"""

import keyword
import re
import sys
from dataclasses import dataclass
from importlib.resources import files
from pathlib import Path
from string import Template
from typing import ClassVar

from agentring.cli.errors import CommandError

_NAME = re.compile(r"[A-Za-z][A-Za-z0-9_-]{0,63}")
_TAKEN = frozenset({"agent_node", "agentring", "router", "tests"})


@dataclass(eq=False)
class ProjectRefused(CommandError):
    """`agentring new` cannot write a project there."""

    exit_status: ClassVar[int] = 2
    path: Path
    why: str

    def __str__(self) -> str:
        """One line."""
        return f"{self.path}: {self.why}"


@dataclass(frozen=True, slots=True)
class NewProject:
    """What is written where."""

    directory: Path
    module: str
    """The agent's name, too."""

    def write(self) -> list[Path]:
        """Writes the files, and returns them. Raises ProjectRefused."""
        names = {"name": self.directory.name, "module": self.module, "agent": self.module}
        places = {
            "agent": f"{self.module}.py",
            "test": f"tests/test_{self.module}.py",
            "readme": "README.md",
            "pyproject": "pyproject.toml",
            "gitignore": ".gitignore",
        }
        written = []
        try:
            self.directory.mkdir(parents=True, exist_ok=True)
            if any(self.directory.iterdir()):
                raise ProjectRefused(self.directory, "there is something in it already")
            for source, place in places.items():
                text = (files("agentring.cli.local") / "project_files" / f"{source}.txt").read_text(encoding="utf-8")
                path = self.directory / place
                path.parent.mkdir(exist_ok=True)
                path.write_text(Template(text).substitute(names), encoding="utf-8")
                written.append(path)
        except OSError as error:
            raise ProjectRefused(self.directory, error.strerror or "it cannot be written") from error
        return written


def plan_project(place: Path) -> NewProject:
    """A project in this directory, under its name. Raises ProjectRefused."""
    if not _NAME.fullmatch(place.name):
        raise ProjectRefused(place, "a name has letters, digits, - and _, and begins with a letter")
    module = place.name.replace("-", "_").lower()
    if keyword.iskeyword(module) or module in sys.stdlib_module_names or module in _TAKEN:
        raise ProjectRefused(place, f"{module} is the name of something else in Python")
    return NewProject(place, module)
