"""What the numbers were measured on: the machine and the proxies' versions."""

import os
import platform
import re
import subprocess
from collections.abc import Iterable
from typing import Any

from benchmarks.router.proxies import Proxy

_VERSION_FLAGS = {"envoy": "--version", "haproxy": "-v", "nginx": "-v"}
_DEADLINE_S = 10.0


def describe(proxies: Iterable[Proxy]) -> dict[str, Any]:
    """Names and versions, for the head of a report."""
    return {
        "cpu": _cpu_model(),
        "cores": os.cpu_count(),
        "kernel": platform.release(),
        "load average": round(os.getloadavg()[0], 2),
        "python": platform.python_version(),
        **{proxy.name: _version(proxy) for proxy in proxies if proxy.name in _VERSION_FLAGS},
    }


def _cpu_model() -> str:
    with open("/proc/cpuinfo") as lines:
        for line in lines:
            if line.startswith("model name"):
                return line.partition(":")[2].strip()
    return platform.machine()


def _version(proxy: Proxy) -> str:
    command = (*proxy.command, _VERSION_FLAGS[proxy.name])
    output = subprocess.run(command, check=False, capture_output=True, text=True, timeout=_DEADLINE_S)
    found = re.search(r"\d+\.\d+\.\d+", output.stdout + output.stderr)
    return found[0] if found else "unknown"
