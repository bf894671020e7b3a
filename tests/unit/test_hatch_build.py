"""hatch_build.py compiles the data plane: a new module of its folders must be placed, on either side."""

import ast
import importlib.util
from collections.abc import Iterator
from pathlib import Path
from types import ModuleType

import pytest

ROOT = Path(__file__).parents[2]

_INTERPRETED = {
    "agentring/http2": {"listener", "tls_acceptor"},
    "agentring/rpc": {
        *("channel", "clock", "health", "limits", "metrics", "probe", "reflection", "server", "status"),
    },
    "router/relay": {"relay"},
    "router/routing": {"explanation"},
}
"""What listens and dials, or has no work to do for a message."""

_WAITS = (ast.Await, ast.AsyncFor, ast.AsyncWith, ast.Yield, ast.YieldFrom)


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


def test_nothing_compiled_awaits_in_an_except_block(hatch_build: ModuleType, tmp_path: Path) -> None:
    """mypyc does not keep which exception is being handled while a coroutine waits: a `raise` after that, or the end of
    an `async with`, raises nothing at all, which crashes the process."""
    modules = [ROOT / folder / f"{module}.py" for folder, names in hatch_build._MODULES.items() for module in names]
    assert [f"{path}:{line}" for path in modules for line in _handlers_that_await(path)] == []
    wrong = tmp_path / "wrong.py"
    wrong.write_text("async def f(g):\n    try:\n        await g()\n    except E:\n        await g()\n        raise\n")
    assert list(_handlers_that_await(wrong)) == [4]


def _handlers_that_await(path: Path) -> Iterator[int]:
    for node in ast.walk(ast.parse(path.read_text(encoding="utf-8"))):
        if isinstance(node, ast.ExceptHandler) and any(isinstance(each, _WAITS) for each in ast.walk(node)):
            yield node.lineno
