"""What the pages point at is there: links, anchors, files named in the text. README is short."""

import re
from pathlib import Path

import pytest

from harness.pages import ROOT, blocks, files, headings, pages, prose

_LINK = re.compile(r"\[[^]\[]*\]\(([^)\s]+)\)")
_FILE = re.compile(r"`([\w./*-]+\.(?:py|proto|md|toml|json|svg))`")
_MADE = {"cluster.json", "rNNNN_what.py"}
"""Files that the programs make, or stand for any; beside them those that a page has its reader write."""
_FORMER = (
    *("SharedCalls", "TaskRoom", "StoreWords", "LetGo", "DeadlineMet", "LostStories", "KnownTurns", "SessionTurns"),
    *("SessionWrites", "shared_calls", "session_turns", "running_places", "routerbench", "chaosing", "soaking"),
    *("router/http2", "loadgen", "agent_node.agent import", "once_errors import"),
)
"""Names that the code no longer has."""
_PAGES = [path.relative_to(ROOT).as_posix() for path in pages()]


def test_there_are_the_pages_that_a_newcomer_looks_for() -> None:
    wanted = {"README.md", "CONTRIBUTING.md", "CHANGELOG.md", "SECURITY.md"} | {
        f"docs/{name}.md"
        for name in (
            *("architecture", "operations", "guarantees", "agents", "client", "benchmarks", "decisions"),
            *("install", "metrics", "settings"),
        )
    }
    assert wanted <= set(_PAGES)
    assert (ROOT / "LICENSE").read_text().split()[:4] == ["Apache", "License", "Version", "2.0,"]


def test_readme_is_short() -> None:
    assert len((ROOT / "README.md").read_text().splitlines()) <= 150


@pytest.mark.parametrize("name", _PAGES)
def test_every_link_resolves(name: str) -> None:
    page = ROOT / name
    broken = []
    for target in _LINK.findall(prose(page)):
        if target.startswith(("https://", "mailto:")):
            continue
        path, _, anchor = target.partition("#")
        found = (page.parent / path).resolve() if path else page
        if not found.exists() or not found.is_relative_to(ROOT) or (anchor and anchor not in headings(found)):
            broken.append(target)
    assert not broken


@pytest.mark.parametrize("name", _PAGES)
def test_every_file_that_is_named_exists(name: str) -> None:
    if name == "CHANGELOG.md":
        return  # speaks of files that were
    known = [path.relative_to(ROOT).as_posix() for path in files()]
    written = {block.file_name for page in pages() for block in blocks(page)} | _MADE
    missing = [
        found
        for found in _FILE.findall(prose(ROOT / name))
        if "*" not in found and found not in written and not any(f"/{path}".endswith(f"/{found}") for path in known)
    ]
    assert not missing


def test_every_script_is_explained_somewhere_and_every_one_that_is_named_exists() -> None:
    scripts = {path.name for path in files() if path.parent == ROOT / "scripts"}
    named = {found for name in _PAGES for found in re.findall(r"\bscripts/(\w+)", (ROOT / name).read_text())}
    assert scripts == named


@pytest.mark.parametrize("name", [name for name in _PAGES if name != "CHANGELOG.md"])
def test_no_page_uses_a_former_name(name: str) -> None:
    text = (ROOT / name).read_text(encoding="utf-8")
    assert [former for former in _FORMER if former in text] == []


@pytest.mark.parametrize("name", _PAGES)
def test_every_mark_of_a_block_is_known(name: str) -> None:
    unknown = [
        f"{block}: {mark}"
        for block in blocks(ROOT / name)
        for mark in block.marks
        if mark not in {"run", "background", "output"}
    ]
    assert not unknown


def test_a_heading_is_anchored_as_github_does_it(tmp_path: Path) -> None:
    page = tmp_path / "page.md"
    page.write_text("# The `x_y` of it, and …\n## Again\n## Again\n```\n# not this\n```\n")
    assert headings(page) == {"the-x_y-of-it-and-", "again", "again-1"}


def test_every_guarantee_says_when_it_holds_what_enforces_it_and_how_it_is_tried() -> None:
    page = (ROOT / "docs" / "guarantees.md").read_text()
    found = re.split(r"^\*\*", page[: page.index("\n## What is not guaranteed")], flags=re.MULTILINE)[1:]
    assert len(found) > 20
    for guarantee in found:
        for part in ("- Condition: ", "- Enforced by: ", "- Tried by: "):
            assert guarantee.count(f"\n{part}") == 1, guarantee
