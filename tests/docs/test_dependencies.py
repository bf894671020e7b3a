"""CONTRIBUTING's table of dependencies is that of pyproject.toml."""

import re
import tomllib

from harness.pages import ROOT


def declared() -> set[str]:
    """The packages that pyproject.toml names, its own extras aside."""
    project = tomllib.loads((ROOT / "pyproject.toml").read_text())
    wanted = [*project["build-system"]["requires"], *project["project"]["dependencies"]]
    for extra in project["project"]["optional-dependencies"].values():
        wanted += extra
    names = {name[0] for each in wanted if (name := re.match(r"[A-Za-z0-9._-]+", each))}
    return names - {"agentring"}


def test_every_dependency_has_a_line_with_its_reason_and_no_other() -> None:
    page = (ROOT / "CONTRIBUTING.md").read_text()
    table = page[page.index("\n## Dependencies") :]
    rows = [line.strip("| ").split(" | ") for line in table.splitlines() if line.startswith("| `")]
    named = [name for row in rows for name in re.findall(r"`([^`]+)`", row[0])]
    assert sorted(named) == sorted(declared())
    assert all(len(row) >= 2 and row[1] for row in rows)
