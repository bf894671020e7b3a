"""How a node of a local cluster is started: its command line and its variables. Called by `local_cluster`."""

import os
import sys
from collections.abc import Mapping
from dataclasses import dataclass, field
from pathlib import Path

from agentring.cli.errors import AgentMalformed
from agentring.cli.local import import_path
from agentring.cli.local.ports import LOOPBACK
from agentring.ids import NodeId

_VARIABLE = "AGENTRING_AGENT"


@dataclass(frozen=True, slots=True)
class Hosting:
    """What the nodes host, and with what."""

    agents: tuple[str, ...] = ()
    """As the node's --agent, beside those of the variable."""
    env: Mapping[str, str] = field(default_factory=dict)
    """Variables of the nodes alone."""
    import_from: Path | None = None
    """Where modules are looked for first; None: in the working directory."""
    drain_timeout_s: float | None = None
    """None: as the variable says, or the node's default."""


def check_agents(words: tuple[str, ...]) -> tuple[str, ...]:
    """The words of --agent. Raises AgentMalformed."""
    for word in words:
        name, equals, where = word.rpartition("=")
        parts = where.replace(":", ".", 1).split(".")
        is_module = all(part.isidentifier() for part in parts) and not word.endswith(".py")
        if (equals and not (name and ":" in where)) or "," in word or not is_module:
            raise AgentMalformed(word)
    return words


def node_command(
    node_id: NodeId, hosting: Hosting, data_dir: Path, etcd_urls: tuple[str, ...], lease_ttl_s: int, *, module: str
) -> tuple[tuple[str, ...], dict[str, str]]:
    """The command line, and variables. module: what `python -m` runs, which takes a node's flags."""
    python_flags, variables = import_path.for_node()
    if hosting.import_from is not None:
        variables["PYTHONPATH"] = _before(hosting.import_from, variables)
    command = (
        *(sys.executable, *python_flags, "-m", module),
        *("--node-id", node_id),
        *("--listen", f"{LOOPBACK}:0"),
        *("--etcd", ",".join(etcd_urls)),
        *("--cluster", "default"),
        f"--data-dir={data_dir}",  # one word: its name may begin with a dash
        *("--lease-ttl-s", str(lease_ttl_s)),
        *(word for agent in _with_variable(hosting) for word in ("--agent", agent)),
    )
    if hosting.drain_timeout_s is not None and "AGENTRING_DRAIN_TIMEOUT_S" not in os.environ:
        command += ("--drain-timeout-s", str(hosting.drain_timeout_s))
    return command, {**hosting.env, **variables}


def _with_variable(hosting: Hosting) -> tuple[str, ...]:
    """A flag replaces the variable, so that what it names is handed over, too."""
    if not hosting.agents:
        return ()
    variable = hosting.env.get(_VARIABLE) or os.environ.get(_VARIABLE, "")
    return (*(word for word in variable.split(",") if word), *hosting.agents)


def _before(directory: Path, variables: Mapping[str, str]) -> str:
    path = variables.get("PYTHONPATH") or os.environ.get("PYTHONPATH", "")
    return os.pathsep.join((str(directory), *(part for part in path.split(os.pathsep) if part)))
