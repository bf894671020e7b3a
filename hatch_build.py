"""Compiles the data plane with mypyc into the wheel, where there is a C compiler; else the wheel is pure.

The data plane is what a message passes through on a router, and what a turn's events pass through on a node. The
modules are the same either way: their types, which mypy checks, become machine code, which halves the CPU time of a
forwarded message. Nothing that waits within a `try` or a `with` is compiled (tests/unit/test_hatch_build.py), and no
frozen record, which takes longer to make compiled. An editable installation stays interpreted, so that a change of the
source is what runs. AGENTRING_PURE=1 leaves the compiling out.
"""

import os
import shutil
import subprocess
import sys
import sysconfig
import tempfile
from pathlib import Path
from typing import Any

from hatchling.builders.hooks.plugin.interface import BuildHookInterface

_MODULES = {
    "agentring/http2": (
        *("budget", "connection", "control_frames", "frames", "header_block", "hpack", "limits", "send_side"),
        *("server_connection", "stream", "stream_events", "traffic", "transport"),
    ),
    "agentring/rpc": (
        *("call_tasks", "enum_check", "inbox", "late_heads", "messages", "non_grpc_stream", "pacing", "request_head"),
        *("response_blocks", "service_connection", "service_stream", "wellformed"),
    ),
    "agentring": ("plain_copy", "plain_json"),
    "router/relay": (
        *("abandoned_stream", "attempts", "call", "call_end", "call_events", "call_failover", "call_registry"),
        *("call_routing", "call_timers", "client_connection", "client_stream", "content_length_stream", "context"),
        *("grpc_framing", "loss_log", "losses", "node_connection", "node_stream", "pings", "reattachment"),
        *("replay_buffer", "request", "response"),
    ),
    "router/routing": ("epochs", "owner", "route"),
    "router": ("stats",),
    "agent_node": ("audit", "json_values"),
    "agent_node/events": ("accepted", "attachment", "encoding", "entries", "log", "numbers", "readers"),
    "agent_node/run": ("event_rows", "input_fingerprint", "run_log", "yielded_text"),
    "agent_node/services": ("route", "streaming"),
    "agent_node/session": ("mailbox", "missing_events", "turn_index"),
    "agent_node/store/memory": ("sessions",),
}
_SETUP = """
from mypyc.build import mypycify
from setuptools import setup

# A group has one C file, and each its own compiler process.
groups = [(sources, "agentring_" + name) for name, sources in {groups!r}.items()]
arguments = [source for sources, _ in groups for source in sources] + {flags!r}
setup(name="compiled", ext_modules=mypycify(arguments, opt_level="3", debug_level="0", separate=groups))
"""


class CompileHook(BuildHookInterface[Any]):
    """Called by hatchling when it builds a wheel."""

    PLUGIN_NAME = "custom"

    def dependencies(self) -> list[str]:
        """What the compiling needs in the build's environment."""
        return ["mypy[mypyc]>=1.18", "setuptools>=75"] if _wanted() else []

    def initialize(self, version: str, build_data: dict[str, Any]) -> None:
        """version: `standard` or `editable`."""
        if version == "editable":
            return
        # Where agentring.protos looks for them; a checkout has them in protos/.
        build_data["force_include"][str(Path(self.root) / "protos" / "agentring")] = "agentring/protos/agentring"
        if not _wanted():
            return
        self._directory = Path(tempfile.mkdtemp(prefix="agentring-build-"))
        for package in ("agent_node", "agentring", "router"):
            shutil.copytree(Path(self.root) / package, self._directory / package)
        groups: dict[str, list[str]] = {"wire": [], "node": []}
        for folder, modules in _MODULES.items():
            group = groups["node" if folder.startswith("agent_node") else "wire"]
            group += (f"{folder}/{module}.py" for module in modules)
        flags = ["--ignore-missing-imports", "--follow-imports=silent"]
        # Of the services' stubs: the types of gRPC are not here, so its two kinds of channel seem to be the same.
        flags.append("--disable-error-code=overload-cannot-match")
        setup = _SETUP.format(groups=groups, flags=flags)
        (self._directory / "build_modules.py").write_text(setup)
        command = [sys.executable, "build_modules.py", "--quiet", "build_ext", "--inplace", f"--parallel={len(groups)}"]
        subprocess.run(command, cwd=self._directory, check=True, stdout=subprocess.DEVNULL)
        suffix = sysconfig.get_config_var("EXT_SUFFIX")
        for built in self._directory.rglob(f"*{suffix}"):
            if "build" not in built.relative_to(self._directory).parts:
                build_data["force_include"][str(built)] = str(built.relative_to(self._directory))
        build_data["pure_python"] = False
        build_data["infer_tag"] = True

    def finalize(self, version: str, build_data: dict[str, Any], artifact_path: str) -> None:
        """The wheel is there."""
        if (directory := getattr(self, "_directory", None)) is not None:
            shutil.rmtree(directory)


def _wanted() -> bool:
    return os.environ.get("AGENTRING_PURE") != "1" and any(map(shutil.which, ("cc", "gcc", "clang")))
