"""docs/testing.md: its tests pass, under pytest as its reader runs it."""

import asyncio
import re
import sys
from pathlib import Path

import pytest

from harness.installations import clean_environment
from harness.pages import ROOT, blocks

_PROJECT = """
[tool.pytest.ini_options]
asyncio_mode = "auto"
asyncio_default_fixture_loop_scope = "function"
filterwarnings = ["error"]
markers = ["slow"]
addopts = "-m 'not slow'"
"""
PAGE = ROOT / "docs" / "testing.md"


@pytest.mark.timeout(100)
async def test_the_tests_of_the_page_pass(tmp_path: Path) -> None:
    files = {block.file_name: block.text for block in blocks(PAGE) if block.language == "python"}
    assert None not in files
    for name, text in files.items():
        (tmp_path / str(name)).write_text(text)
    (tmp_path / "pyproject.toml").write_text(_PROJECT)
    env = {name: value for name, value in clean_environment().items() if not name.startswith(("AGENTRING_", "PYTEST"))}
    command = (sys.executable, "-m", "pytest", "-q", "-p", "no:cacheprovider", "-p", "no:xdist")
    process = await asyncio.create_subprocess_exec(
        *command, cwd=tmp_path, env=env, stdout=asyncio.subprocess.PIPE, stderr=asyncio.subprocess.STDOUT
    )
    out, _ = await process.communicate()
    assert process.returncode == 0, out.decode()
    written = sum(len(re.findall(r"^(?:async )?def test_", text, re.MULTILINE)) for text in files.values())
    assert f"{written} passed" in out.decode()
