"""Whether the data plane runs as machine code: hatch_build.py compiles its modules, which are the same either way."""

from typing import Literal

from agentring.http2 import connection


def data_plane() -> Literal["compiled", "interpreted"]:
    """How this process runs the data plane."""
    return "interpreted" if connection.__file__.endswith(".py") else "compiled"
