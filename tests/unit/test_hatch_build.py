"""hatch_build.py compiles the data plane: a new module of its folders must be placed, on either side."""

import ast
import importlib.util
from collections.abc import Iterator
from pathlib import Path
from types import ModuleType

import pytest

ROOT = Path(__file__).parents[2]

_INTERPRETED = {
    "agentring/http2": {"listener", "peer", "tls_acceptor"},
    "agentring/rpc": {
        *(
            "access",
            "call_recorder",
            "channel",
            "clock",
            "health",
            "limits",
            "metrics",
            "metrics_port",
            "probe",
            "reflection",
            "server",
            "service",
        ),
        "status",
    },
    "agent_node/events": {"restart_replay", "waiting", "whole_log"},
    "router/relay": {"access", "node_pool", "relay"},
    "router/routing": {"explanation", "ring_view"},
}
"""What listens and dials, has no work to do for a message as a rule, or waits within a `try`."""

_WAITS = (ast.Await, ast.Yield, ast.YieldFrom)


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


_GUARDS = (ast.Try, ast.With)
_GUARDS_THAT_WAIT = (ast.AsyncWith, ast.AsyncFor)
_FUNCTIONS = (ast.FunctionDef, ast.AsyncFunctionDef, ast.Lambda)


def test_nothing_compiled_waits_within_a_try_or_a_with(hatch_build: ModuleType) -> None:
    """mypyc 2.4 does not keep which exception is being handled while a coroutine or a generator waits: a `raise` after
    that, or the end of an `async with` or a `finally`, raises another one, or none at all, which crashes the process.
    Only some of these forms go wrong; none is needed here."""
    modules = [ROOT / folder / f"{module}.py" for folder, names in hatch_build._MODULES.items() for module in names]
    assert [f"{path}:{line}" for path in modules for line in _guarded_waits(ast.parse(path.read_text()))] == []


@pytest.mark.parametrize(
    ("body", "is_wrong"),
    [
        ("await g()", False),
        ("with x: g()\n await g()", False),
        ("try: g()\n finally: (lambda: g())()", False),
        ("try: await g()\n except E: pass", True),
        ("try: g()\n except E: await g()", True),
        ("try: g()\n finally: await g()", True),
        ("with x: await g()", True),
        ("with x: yield", True),
        ("async with x: g()", True),
        ("async for y in x: g()", True),
    ],
)
def test_what_waits_within_a_try_or_a_with_is_found(body: str, is_wrong: bool) -> None:
    assert bool(list(_guarded_waits(ast.parse(f"async def f():\n {body}")))) is is_wrong


def _guarded_waits(node: ast.AST, *, is_guarded: bool = False) -> Iterator[int]:
    for child in ast.iter_child_nodes(node):
        if isinstance(child, _GUARDS_THAT_WAIT) or (is_guarded and isinstance(child, _WAITS)):
            yield child.lineno
        guards = isinstance(child, _GUARDS) or (is_guarded and not isinstance(child, _FUNCTIONS))
        yield from _guarded_waits(child, is_guarded=guards)
