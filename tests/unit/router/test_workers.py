"""The command by which a router starts its workers."""

import subprocess
import sys

import pytest

_COMMAND = """
from router.settings import RouterSettings
from router.workers import _command

print(*_command(RouterSettings(), "127.0.0.1:7700", 0), sep="\\n")
"""


@pytest.mark.parametrize("flags", [(), ("-P",)])
def test_a_worker_looks_for_modules_where_the_router_does(flags: tuple[str, ...]) -> None:
    """Else one in a checkout would run its sources where the router runs their compiled build, or a router.py of
    somebody's own."""
    run = subprocess.run([sys.executable, *flags, "-c", _COMMAND], capture_output=True, text=True, check=True)

    assert run.stdout.splitlines()[: len(flags) + 3] == [sys.executable, *flags, "-m", "router"]
    assert "--shared-port" in run.stdout
