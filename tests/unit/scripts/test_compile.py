"""scripts/compile and scripts/up: the compiled data plane is used where its build is of these very sources.

The scripts are the real ones; the build itself is a stand-in for pip that packs the sources, slowly or in vain where a
test has it so (tests/integration/test_wheel.py has the real one).
"""

import shutil
import subprocess
import sys
import time
from pathlib import Path

import pytest

_SCRIPTS = Path(__file__).parents[3] / "scripts"
_NEEDED = (
    *("bash", "cat", "dirname", "env", "find", "flock", "ln", "ls", "mkdir", "mktemp", "nice", "nohup", "rm", "sleep"),
    *("tail", "touch", "xargs"),
)
_PIP = """#!{python}
import os, sys, time, zipfile
from pathlib import Path
Path("pip.calls").open("a").write("wheel\\n")
time.sleep(float(os.environ.get("PIP_TAKES_S", "0")))
if os.environ.get("PIP_FAILS"):
    sys.exit("pip: no")
if os.environ.get("PIP_EDITS"):
    Path("router/app.py").write_text("edited\\n")
wheel = Path(sys.argv[sys.argv.index("--wheel-dir") + 1]) / "agentring.whl"
wheel.parent.mkdir(parents=True, exist_ok=True)
with zipfile.ZipFile(wheel, "w") as archive:
    archive.write("agentring/http2/connection.py")
    if not os.environ.get("PIP_IS_PURE"):
        archive.writestr("agentring/http2/connection.cpython.so", "")
"""
_PYTHON = """#!/usr/bin/env bash
if [ "${{2:-}}" = pip ]; then exec "$(dirname "$0")/pip" "${{@:3}}"; fi
exec {python} "$@"
"""


class Checkout:
    """A checkout with the scripts, few sources, and a venv whose pip and agentring are stand-ins."""

    def __init__(self, path: Path) -> None:
        """path: empty."""
        self.path = path
        for name in ("agentring/http2/connection.py", "router/app.py", "agent_node/app.py", "protos/a.proto"):
            (path / name).parent.mkdir(parents=True)
            (path / name).write_text(f"# {name}\n")
        for name in ("hatch_build.py", "pyproject.toml"):
            (path / name).write_text("")
        self._put("scripts/compile", (_SCRIPTS / "compile").read_text())
        self._put("scripts/up", (_SCRIPTS / "up").read_text())
        self._put("scripts/setup_venv", "#!/usr/bin/env bash\n")
        self._put(".venv/bin/python", _PYTHON.format(python=sys.executable))
        self._put(".venv/bin/pip", _PIP.format(python=sys.executable))
        self._put(".venv/bin/agentring", '#!/usr/bin/env bash\necho "$*: ${PYTHONPATH:-}"\n')
        for name in _NEEDED:
            (path / "bin").mkdir(exist_ok=True)
            (path / "bin" / name).symlink_to(shutil.which(name) or f"/usr/bin/{name}")
        self._put("bin/cc", "#!/usr/bin/env bash\n")

    def run(self, script: str, *arguments: str, **variables: str) -> subprocess.CompletedProcess[str]:
        """Runs a script to its end."""
        process = self.start(script, *arguments, **variables)
        out, err = process.communicate(timeout=60)
        return subprocess.CompletedProcess(arguments, process.returncode, out, err)

    def start(self, script: str, *arguments: str, **variables: str) -> subprocess.Popen[str]:
        """Starts a script."""
        return subprocess.Popen(
            [self.path / "scripts" / script, *arguments],
            env={"PATH": str(self.path / "bin"), **variables},
            text=True,
            stdout=subprocess.PIPE,
            stderr=subprocess.PIPE,
        )

    def builds(self) -> int:
        """How often it was built, or tried to."""
        calls = self.path / "pip.calls"
        return len(calls.read_text().splitlines()) if calls.exists() else 0

    def found(self) -> str:
        """Where the build of the sources is; empty: there is none."""
        answer = self.run("compile", "--find")
        assert (answer.returncode == 0) == bool(answer.stdout), answer
        return answer.stdout.strip()

    def until_found(self) -> str:
        """Waits for a build in the background."""
        ends = time.monotonic() + 30
        while time.monotonic() < ends:
            if found := self.found():
                return found
            time.sleep(0.05)
        raise AssertionError((self.path / ".tools" / "compile.log").read_text())

    def until_it_failed(self) -> None:
        """Waits until a build in the background has failed."""
        ends = time.monotonic() + 30
        while not (self.path / ".tools" / "compile.failed").exists():
            assert time.monotonic() < ends
            time.sleep(0.05)

    def forbid(self, program: str) -> None:
        """The program says that it may not write, as on a file system that is mounted read-only."""
        (self.path / "bin" / program).unlink()
        self._put(f"bin/{program}", f"#!/bin/sh\necho '{program}: Read-only file system' >&2\nexit 1\n")

    def _put(self, name: str, text: str) -> None:
        path = self.path / name
        path.parent.mkdir(parents=True, exist_ok=True)
        path.write_text(text)
        path.chmod(0o755)


@pytest.fixture
def checkout(tmp_path: Path) -> Checkout:
    return Checkout(tmp_path)


def test_the_first_start_has_it_built_and_the_next_one_uses_it(checkout: Checkout) -> None:
    first = checkout.run("up", "--port", "0")
    assert first.stdout == "up --port 0: \n"
    assert "in the background" in first.stderr

    built = checkout.until_found()
    second = checkout.run("up", PYTHONPATH="/mine")

    assert (second.stdout, second.stderr) == (f"up: {built}:/mine\n", "")
    assert Path(built, "agentring", "http2", "connection.cpython.so").is_file()
    assert checkout.builds() == 1


def test_without_a_compiler_it_starts_all_the_same_and_says_nothing(checkout: Checkout) -> None:
    (checkout.path / "bin" / "cc").unlink()

    started = checkout.run("up")

    assert (started.returncode, started.stdout, started.stderr) == (0, "up: \n", "")
    assert checkout.builds() == 0


def test_a_build_without_machine_code_is_none(checkout: Checkout) -> None:
    answer = checkout.run("compile", PIP_IS_PURE="1")

    assert (answer.returncode, answer.stderr) == (1, "compile: there is no C compiler\n")
    assert not checkout.found()


def test_who_wants_it_interpreted_gets_that(checkout: Checkout) -> None:
    assert checkout.run("compile").returncode == 0

    assert checkout.run("up", AGENTRING_PURE="1").stdout == "up: \n"


@pytest.mark.parametrize("change", ["edited", "added", "removed", "renamed"])
def test_a_stale_build_is_never_used(checkout: Checkout, change: str) -> None:
    assert checkout.run("compile").returncode == 0
    stale = checkout.found()
    source = checkout.path / "agent_node" / "app.py"
    match change:
        case "edited":
            source.write_text("edited\n")
        case "added":
            source.with_name("more.py").write_text("")
        case "removed":
            source.unlink()
        case "renamed":
            source.rename(source.with_name("renamed.py"))

    started = checkout.run("up")

    assert stale
    assert started.stdout == "up: \n"
    assert checkout.until_found() != stale
    assert Path(stale).is_dir(), "a cluster may still run from it"


def test_what_is_edited_during_the_build_is_not_taken_for_built(checkout: Checkout) -> None:
    answer = checkout.run("compile", PIP_EDITS="1")

    assert answer.returncode == 1
    assert "have changed meanwhile" in answer.stderr
    assert not checkout.found()


def test_two_starts_at_once_build_once(checkout: Checkout) -> None:
    starts = [checkout.start("up", PIP_TAKES_S="1") for _ in range(2)]

    assert [start.communicate(timeout=60)[0] for start in starts] == ["up: \n"] * 2
    checkout.until_found()
    assert checkout.builds() == 1


def test_two_builds_at_once_are_one(checkout: Checkout) -> None:
    builds = [checkout.start("compile", PIP_TAKES_S="1") for _ in range(2)]

    for build in builds:
        build.communicate(timeout=60)
    assert [build.returncode for build in builds] == [0, 0]
    assert checkout.builds() == 1
    assert (checkout.path / ".tools" / "compiled").resolve() == Path(checkout.found())


def test_a_build_that_fails_is_not_tried_at_every_start(checkout: Checkout) -> None:
    assert checkout.run("up", PIP_FAILS="1").stdout == "up: \n"
    checkout.until_it_failed()

    again = checkout.run("up")
    assert (again.stdout, again.stderr, checkout.builds()) == ("up: \n", "", 1)

    assert checkout.run("compile", PIP_FAILS="1").returncode == 1, "who asks for it gets it tried"
    assert checkout.run("compile").returncode == 0
    assert checkout.run("up").stdout == f"up: {checkout.found()}\n"


def test_a_checkout_that_cannot_be_written_to_starts_all_the_same(checkout: Checkout) -> None:
    checkout.forbid("mkdir")

    started = checkout.run("up")

    assert (started.returncode, started.stdout, started.stderr) == (0, "up: \n", "")
    assert checkout.builds() == 0


def test_a_build_in_a_checkout_that_cannot_be_written_to_is_used(checkout: Checkout) -> None:
    assert checkout.run("compile").returncode == 0
    checkout.forbid("touch")

    started = checkout.run("up")

    assert (started.stdout, started.stderr) == (f"up: {checkout.found()}\n", "")
    assert checkout.found()


def test_a_lock_that_is_somebody_elses_is_no_reason_to_complain(checkout: Checkout) -> None:
    (checkout.path / ".tools" / "compiling.lock").mkdir(parents=True)

    started = checkout.run("up")

    assert (started.returncode, started.stdout, started.stderr) == (0, "up: \n", "")
    assert checkout.builds() == 0


def test_the_oldest_builds_are_removed(checkout: Checkout) -> None:
    for number in range(7):
        (checkout.path / "router" / "app.py").write_text(f"{number}\n")
        assert checkout.run("compile").returncode == 0

    assert len(list((checkout.path / ".tools").glob("compiled-*"))) == 5
    assert checkout.found()
