"""hatch_build.py compiles the data plane: a new module of its folders must be placed, on either side."""

import importlib.util
from pathlib import Path
from types import ModuleType

import pytest

ROOT = Path(__file__).parents[2]

_INTERPRETED = {
    "agentring/http2": {"listener", "tls_acceptor"},
    "agentring/rpc": {
        *("channel", "clock", "health", "limits", "metrics", "probe", "reflection", "server", "status"),
    },
    "router/relay": {"node_pool", "relay"},
    "router/routing": {"explanation", "ring_view"},
}
"""What listens and dials, or has no work to do for a message."""


@pytest.fixture(scope="module")
def hatch_build() -> ModuleType:
    spec = importlib.util.spec_from_file_location("hatch_build", ROOT / "hatch_build.py")
    assert spec is not None
    assert spec.loader is not None
    module = importlib.util.module_from_spec(spec)
    spec.loader.exec_module(module)
    return module


@pytest.mark.parametrize("folder", _INTERPRETED)
def test_every_module_of_the_data_plane_is_compiled_or_known_not_to_be(folder: str, hatch_build: ModuleType) -> None:
    modules = {path.stem for path in (ROOT / folder).glob("*.py")} - {"__init__"}

    assert modules - _INTERPRETED[folder] == set(hatch_build._MODULES[folder])
    assert _INTERPRETED[folder] < modules
