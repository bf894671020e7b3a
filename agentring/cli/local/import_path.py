"""A child of `agentring up` runs the very code that `up` runs.

`python -m` looks in the working directory first. A node must find its agents there; a router has nothing to look for
there, unless the working directory is the only place that has the code. Where it holds other sources of ours, as for
`scripts/up` at the top of a checkout whose compiled build is what runs, those come last.
"""

import os
import sys
from pathlib import Path

import agentring


def for_node() -> tuple[tuple[str, ...], dict[str, str]]:
    """Python's flags and variables for a child that hosts agents of the working directory."""
    return _after_ours() if _holds_other_sources() else ((), {})


def for_router() -> tuple[tuple[str, ...], dict[str, str]]:
    """Python's flags and variables for a child that hosts none: somebody may have a router.py of their own."""
    if _holds_other_sources():
        return _after_ours()
    return (() if os.getcwd() in sys.path or "" in sys.path else ("-P",)), {}


def _ours() -> Path:
    return Path(agentring.__file__).resolve().parents[1]


def _holds_other_sources() -> bool:
    here = Path.cwd().resolve()
    return here != _ours() and (here / "agentring" / "__init__.py").is_file()


def _after_ours() -> tuple[tuple[str, ...], dict[str, str]]:
    before = os.environ.get("PYTHONPATH", "")
    path = [str(_ours()), *(part for part in before.split(os.pathsep) if part), os.getcwd()]
    return ("-P",), {"PYTHONPATH": os.pathsep.join(dict.fromkeys(path))}
