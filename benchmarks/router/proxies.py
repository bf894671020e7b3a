"""The proxies under test: how each is started, and when it serves.

Guarantees one process a proxy, pinned to the proxy's core, in front of the same two nodes; `start` returns when it
accepts connections and, a router, when it sees both nodes. Whoever starts one stops its child.
"""

import asyncio
import shlex
import shutil
import sys
from dataclasses import dataclass
from pathlib import Path

from agentring.cli.local.child import Child, ChildSpec
from agentring.cli.local.cluster_file import NodeEntry
from agentring.cli.local.ports import LOOPBACK, free_ports, join_address
from agentring.cli.local.readiness import until_seen
from benchmarks.router.build import find_envoy
from benchmarks.router.errors import BenchError

DIRECT = "direct"
ROUTER = "router"
ENVOY = "envoy"
INTERPRETED = "interpreted"
KNOWN = (DIRECT, ROUTER, INTERPRETED, ENVOY, "haproxy", "nginx")
_COMPILED = Path(__file__).resolve().parents[2] / ".tools" / "compiled"
"""The unpacked wheel (scripts/compile)."""

_CONF = Path(__file__).resolve().parent / "conf"
_READY_DEADLINE_S = 30.0
_POLL_S = 0.02
_PATIENCE_S = 10.0


@dataclass(frozen=True, slots=True)
class Site:
    """What every proxy is started with."""

    directory: Path
    """For configurations and logs."""
    core: int
    nodes: tuple[NodeEntry, ...]
    etcd_url: str
    """Empty: no router is started."""
    cluster: str


@dataclass(frozen=True, slots=True)
class Running:
    """A proxy that serves."""

    port: int
    child: Child | None
    """None: the way is direct."""


@dataclass(frozen=True, slots=True)
class Proxy:
    """A proxy that can be started."""

    name: str
    command: tuple[str, ...]
    """Its program; for a router, all but the flags that say where it is."""
    is_router: bool = False

    async def start(self, site: Site) -> Running:
        """Starts it and waits until it serves. Raises BenchError, ChildFailed.

        Cancellation: a process that was started is stopped.
        """
        if self.name == DIRECT:
            return Running(int(site.nodes[0].address.rpartition(":")[2]), None)
        (port,) = free_ports(1)
        pinned = ("taskset", "--cpu-list", str(site.core), *self.command, *self._flags(site, port))
        child = await Child.start(ChildSpec(self.name, pinned, site.directory / f"{self.name}.log", _PATIENCE_S))
        try:
            if self.is_router:
                await child.ready_line(_READY_DEADLINE_S)
                await until_seen(join_address(LOOPBACK, port), site.nodes, _READY_DEADLINE_S)
            else:
                await _until_accepting(child, port)
        except BaseException as error:
            await asyncio.shield(child.stop(asyncio.Event()))
            if isinstance(error, TimeoutError):
                raise child.failure("did not serve in time") from error
            raise
        return Running(port, child)

    def _flags(self, site: Site, port: int) -> tuple[str, ...]:
        if self.is_router:
            return ("--listen", join_address(LOOPBACK, port), "--etcd", site.etcd_url, "--cluster", site.cluster)
        match self.name:
            case "envoy":
                conf = _configuration("envoy.yaml", site, port)
                return ("--config-path", conf, "--concurrency", "1", "--log-level", "error", "--disable-hot-restart")
            case "haproxy":
                return ("-db", "-q", "-f", _configuration("haproxy.cfg", site, port))
            case "nginx":
                return ("-p", f"{site.directory}/", "-c", _configuration("nginx.conf", site, port), "-e", "stderr")
        raise AssertionError(self.name)


def find(name: str) -> Proxy | None:
    """A known proxy; None: it is not installed, and cannot be fetched. Raises BenchError."""
    match name:
        case "direct":
            return Proxy(name, ())
        case "router":
            if not _COMPILED.is_dir():
                raise BenchError("the router was not compiled: scripts/compile")
            path = f"PYTHONPATH={_COMPILED}"
            return Proxy(name, ("env", path, sys.executable, "-P", "-m", "router"), is_router=True)
        case "interpreted":
            return Proxy(name, (sys.executable, "-m", "router"), is_router=True)
        case "envoy":
            return Proxy(name, (str(find_envoy()),))
        case "haproxy" | "nginx":
            program = shutil.which(name) or shutil.which(name, path="/usr/sbin:/usr/local/sbin")
            return Proxy(name, (program,)) if program else None
    raise BenchError(f"there is no proxy {name!r}; there are {', '.join(KNOWN)}")


def router_of(name: str, command: str) -> Proxy:
    """A router that is started by another command, such as another checkout's."""
    return Proxy(name, tuple(shlex.split(command)), is_router=True)


def profiled(router: Proxy, into: Path) -> Proxy:
    """The router under cProfile, which writes the file when the router ends. Raises BenchError."""
    if router.command[1:2] != ("-m",):
        raise BenchError("--profile needs a router that is started by `PYTHON -m MODULE`")
    python, *rest = router.command
    return Proxy(router.name, (python, "-m", "cProfile", "-o", str(into), *rest), is_router=True)


def _configuration(template: str, site: Site, port: int) -> str:
    text = (_CONF / template).read_text().replace("@listen_port@", str(port))
    for number, node in enumerate(site.nodes, 1):
        text = text.replace(f"@node_{number}_port@", node.address.rpartition(":")[2])
    written = site.directory / template
    written.write_text(text)
    return str(written)


async def _until_accepting(child: Child, port: int) -> None:
    async with asyncio.timeout(_READY_DEADLINE_S):
        while True:
            try:
                _, writer = await asyncio.open_connection(LOOPBACK, port)
            except OSError:
                if child.has_ended:
                    raise child.failure() from None
                await asyncio.sleep(_POLL_S)
            else:
                writer.close()
                return
