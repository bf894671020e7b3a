"""scripts/test says which of the system's tools it has found, and skips by name the tests of those that are missing."""

import os
import shutil
import subprocess
from pathlib import Path

import pytest

_SCRIPT = Path(__file__).parents[3] / "scripts" / "test"
_SYSTEM = "/usr/lib/postgresql"
_NEEDED = ("dirname", "tail", "id")
"""Programs that the part itself calls. (Not apt-get: nothing is to be installed.)"""


def looked_for(tmp_path: Path, *, on_path: bool, in_system: bool, ci: bool = False) -> subprocess.CompletedProcess[str]:
    """Runs the script's part that looks for the system's tools, on a machine that has PostgreSQL here or there."""
    programs, system = tmp_path / "bin", tmp_path / "postgresql"
    programs.mkdir()
    system.mkdir()
    for name in _NEEDED:
        (programs / name).symlink_to(shutil.which(name) or f"/usr/bin/{name}")
    for has_it, directory in ((on_path, programs), (in_system, system / "15" / "bin")):
        if has_it:
            directory.mkdir(parents=True, exist_ok=True)
            (directory / "initdb").write_text("#!/bin/sh\n")
            (directory / "initdb").chmod(0o755)
    text = _SCRIPT.read_text().replace(_SYSTEM, str(system))
    assert str(system) in text
    functions = text[text.index("heading()") : text.index('heading "setup"')]
    begin = text.index('heading "tools of the system')
    part = text[begin : text.index("# What is compiled is tested so", begin)]
    bash = shutil.which("bash")
    assert bash is not None
    return subprocess.run(
        [bash, "-c", f"set -euo pipefail\n{functions}\n{part}"],
        env={"PATH": str(programs), "CI": "true" if ci else "false", "HOME": os.environ.get("HOME", "/")},
        capture_output=True,
        text=True,
        timeout=30,
        check=False,
    )


@pytest.mark.parametrize(("on_path", "in_system"), [(True, False), (False, True), (True, True)])
def test_postgresql_is_found_where_it_is(tmp_path: Path, on_path: bool, in_system: bool) -> None:
    done = looked_for(tmp_path, on_path=on_path, in_system=in_system)
    assert done.returncode == 0, done.stderr
    where = tmp_path / ("bin" if on_path else "postgresql/15/bin")
    assert f"PostgreSQL is in {where}" in done.stdout.splitlines()


def test_a_machine_without_postgresql_is_told_so_and_its_tests_are_skipped_by_name(tmp_path: Path) -> None:
    done = looked_for(tmp_path, on_path=False, in_system=False)
    assert done.returncode == 0, done.stderr
    assert "SKIPPED tests with PostgreSQL: postgresql is not installed" in done.stdout.splitlines()
    assert "PostgreSQL is" not in done.stdout


def test_with_ci_a_missing_postgresql_fails(tmp_path: Path) -> None:
    done = looked_for(tmp_path, on_path=False, in_system=False, ci=True)
    assert done.returncode == 1
    assert "FAILED tests with PostgreSQL" in done.stderr
