"""Dependencies: CONTRIBUTING's table is that of pyproject.toml, each has an upper bound, and constraints.txt fits."""

import re
import tomllib

from packaging.requirements import Requirement
from packaging.utils import canonicalize_name

from harness.pages import ROOT

LOCKED_EXTRAS = ("server", "postgres")


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


def required(extras: tuple[str, ...]) -> list[Requirement]:
    """What an installation with these extras asks for, agentring's own extras aside."""
    project = tomllib.loads((ROOT / "pyproject.toml").read_text())["project"]
    wanted = [*project["dependencies"], *(each for extra in extras for each in project["optional-dependencies"][extra])]
    return [asked for each in wanted if (asked := Requirement(each)).name != "agentring"]


def test_what_is_installed_to_run_has_an_upper_bound() -> None:
    extras = tomllib.loads((ROOT / "pyproject.toml").read_text())["project"]["optional-dependencies"]
    asked = required(tuple(extra for extra in extras if extra != "dev"))
    assert [each.name for each in asked if not any(one.operator == "<" for one in each.specifier)] == []
    assert len(asked) > 20


def test_the_locked_versions_fit_and_have_hashes() -> None:
    text = (ROOT / "constraints.txt").read_text()
    locked: dict[str, str] = {}
    for entry in re.split(r"\n(?=[a-z])", text[re.search("^[a-z]", text, re.MULTILINE).start() :]):  # type: ignore[union-attr]
        line = Requirement(entry.split(" \\\n")[0])
        locked[canonicalize_name(line.name)] = str(line.specifier).removeprefix("==")
        assert re.search(r"--hash=sha256:[0-9a-f]{64}", entry), line
    for asked in required(LOCKED_EXTRAS):
        assert asked.specifier.contains(locked[canonicalize_name(asked.name)]), asked
