"""The wheel, and environments that it is installed into, beside packages that are there already: nothing is fetched."""

import os
import subprocess
import sys
from collections.abc import Iterable, Iterator
from importlib import metadata
from pathlib import Path

from packaging.requirements import Requirement

ROOT = Path(__file__).parents[2]
_SITE = Path(str(metadata.distribution("pytest").locate_file(""))).resolve()


def build_pure_wheel(directory: Path) -> Path:
    """Builds the wheel without compiling anything."""
    run(
        *(sys.executable, "-m", "hatchling", "build", "-t", "wheel", "-d", str(directory)),
        cwd=ROOT,
        AGENTRING_PURE="1",
    )
    (wheel,) = directory.glob("*.whl")
    return wheel


def build_compiled_wheel() -> Path:
    """The wheel with the data plane compiled; it is built once for the sources as they are."""
    run(str(ROOT / "scripts" / "compile"), cwd=ROOT)
    (wheel,) = (ROOT / ".tools" / "compiled").resolve().parent.glob("wheel/*.whl")
    return wheel


def install(wheel: Path, directory: Path, packages: Path = _SITE) -> Path:
    """Installs it into a new environment, which takes all other packages from a directory. Returns its programs'."""
    run(sys.executable, "-m", "venv", "--without-pip", str(directory), cwd=directory.parent)
    pip = (sys.executable, "-m", "pip", "--python", str(directory / "bin" / "python"))
    run(*pip, "install", "--quiet", "--no-deps", "--no-index", str(wheel), cwd=directory.parent)
    (site,) = directory.glob("lib/python*/site-packages")
    (site / "others.pth").write_text(f"{packages}\n")
    return directory / "bin"


def make_empty(directory: Path, packages: Path) -> Path:
    """A new environment with nothing but pip, which finds all that is to be installed, but the wheel, in a directory.
    Returns its programs'."""
    run(sys.executable, "-m", "venv", str(directory), cwd=directory.parent)
    (site,) = directory.glob("lib/python*/site-packages")
    (site / "others.pth").write_text(f"{packages}\n")
    return directory / "bin"


def link_requirements(wheel: Path, directory: Path, extra: str = "") -> None:
    """Fills a directory with what the wheel's own requirements, and those of an extra, bring in."""
    directory.mkdir()
    for name in sorted(_closure(_requirements(wheel), extra)):
        for entry in {Path(file).parts[0] for file in metadata.distribution(name).files or () if ".." not in str(file)}:
            if entry != "__pycache__" and not (directory / entry).exists():
                (directory / entry).symlink_to(_SITE / entry)


def run(*command: str, cwd: Path, **variables: str) -> str:
    """What a program prints, as from a shell of its own; fails with all of it where it fails."""
    ended = subprocess.run(command, cwd=cwd, env=clean_environment(**variables), capture_output=True, text=True)
    assert ended.returncode == 0, f"{command} ended with {ended.returncode}:\n{ended.stdout}{ended.stderr}"
    return ended.stdout


def clean_environment(**variables: str) -> dict[str, str]:
    """Ours, without what says where modules are: the tests themselves may run with the compiled build."""
    ours = {name: value for name, value in os.environ.items() if not name.startswith(("PYTHON", "VIRTUAL_ENV"))}
    return {**ours, **variables}


def _requirements(wheel: Path) -> Iterator[Requirement]:
    (path,) = metadata.MetadataPathFinder.find_distributions(metadata.DistributionFinder.Context(path=[str(wheel)]))
    yield from map(Requirement, path.requires or ())


def _closure(requirements: Iterator[Requirement], extra: str) -> set[str]:
    names: set[str] = set()
    left = list(_wanted(requirements, {extra}))
    while left:
        one = left.pop()
        if one.name not in names or one.extras:
            names.add(one.name)
            left += _wanted(map(Requirement, metadata.requires(one.name) or ()), one.extras)
    return names


def _wanted(requirements: Iterable[Requirement], extras: set[str]) -> Iterator[Requirement]:
    for one in requirements:
        if one.marker is None or any(one.marker.evaluate({"extra": extra}) for extra in extras | {""}):
            yield one
