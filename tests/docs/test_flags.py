"""A flag that a page names is one: of a setting, of a command, of a script, or of our plugin of pytest."""

import re
from pathlib import Path

import pytest

from agent_node.settings import NodeSettings
from harness.pages import ROOT, pages
from router.settings import RouterSettings

_FLAG = re.compile(r"(?<![\w-])--([a-z][a-z0-9-]+)(?![\w-])")
_PARAMETER = re.compile(r"^    (\w+): (?:Annotated\[|\w+Option\b)", re.MULTILINE)
_PROGRAMS = (
    "agentring/cli",
    "agentring/pytest_plugin.py",
    "benchmarks",
    "examples",
    "robustness",
    "scripts",
    "docs/settings_page.py",
)
_OTHERS = frozenset(
    {"check", "no-deps", "editable", "cflags", "libs", "plugin", "exclude-source-info", "require-hashes"}
) | {
    "cert-file",
    "key-file",
    "client-cert-auth",
}
"""Of programs that are not ours: ruff, pip, pkg-config, protoc, buf, etcd. (One with an underscore is never ours.)."""
_PAGES = [path.relative_to(ROOT).as_posix() for path in pages()]


def sources() -> list[Path]:
    """Where the flags of commands, scripts and our plugin of pytest are said."""
    found = []
    for place in _PROGRAMS:
        path = ROOT / place
        found += [path] if path.is_file() else [each for each in path.rglob("*") if each.is_file()]
    return [path for path in found if path.suffix in {".py", ""}]


@pytest.fixture(scope="module")
def known() -> set[str]:
    flags = {name.replace("_", "-") for name in (*NodeSettings.model_fields, *RouterSettings.model_fields)}
    for path in sources():
        text = path.read_text(encoding="utf-8")
        flags |= {*_FLAG.findall(text), *(name.replace("_", "-") for name in _PARAMETER.findall(text))}
    return flags | _OTHERS | {"config", "help"}


@pytest.mark.parametrize("name", _PAGES)
def test_every_flag_exists(name: str, known: set[str]) -> None:
    assert sorted(set(_FLAG.findall((ROOT / name).read_text(encoding="utf-8"))) - known) == []


def test_a_flag_that_is_none_is_found(known: set[str]) -> None:
    assert not {"drain-timeout", "lease-ttl", "max-session"} & known
    assert {"drain-timeout-s", "forget-store", "run-again", "svg", "fault", "agents-on-cluster"} <= known
