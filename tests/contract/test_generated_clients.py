"""Clients in other languages, as docs/clients describes them: a page's files are written, its commands are run, and its
program speaks with a cluster. A page's last command runs the program; the block below it is what that prints.

A page's program is built into .tools/clients, anew once its files, its commands or the protos have changed.
"""

import hashlib
import os
import re
import shutil
import sys
from pathlib import Path

import pytest

from agentring import protos
from harness.cluster import Cluster
from harness.tools import ROOT, TOOLS, locked, require_library, require_tool, run

PAGES = ROOT / "docs" / "clients"
BUILDS = TOOLS / "clients"
TOOLS_OF = {
    "cpp": ("g++", "pkg-config", "protoc", "grpc_cpp_plugin"),
    "go": ("go", "protoc"),
    "java": ("java", "mvn"),
    "typescript": ("node", "npm"),
}
"""The programs that each page's commands need."""
LIBRARIES_OF = {"cpp": ("grpc++", "protobuf")}
FILE = re.compile(r"^`([\w./-]+)`:\n\n```\w+\n(.*?)^```$", re.MULTILINE | re.DOTALL)
COMMANDS = re.compile(r"^```bash\n(.*?)^```$", re.MULTILINE | re.DOTALL)
OUTPUT = re.compile(r"^```text\n(.*?)^```$", re.MULTILINE | re.DOTALL)


def test_every_page_is_tried() -> None:
    assert sorted(page.stem for page in PAGES.iterdir()) == sorted(TOOLS_OF)


# The first one on a machine installs and compiles.
@pytest.mark.timeout(600)
@pytest.mark.parametrize("language", TOOLS_OF)
def test_the_client_of_the_page_speaks(language: str, cluster: Cluster, name: str) -> None:
    for tool in TOOLS_OF[language]:
        require_tool(tool)
    for library in LIBRARIES_OF.get(language, ()):
        require_library(library)
    page = (PAGES / f"{language}.md").read_text()
    *build, start = COMMANDS.findall(page)
    (said,) = OUTPUT.findall(page)
    directory = _built(language, dict(FILE.findall(page)), "".join(build))
    session = f"ada-from-{language}"
    assert start.endswith(f" 127.0.0.1:7700 {session}\n")
    printed = _bash(start.replace("127.0.0.1:7700", cluster.router).replace(session, name), directory)
    assert printed == said


def _built(language: str, files: dict[str, str], commands: str) -> Path:
    """Where the page's client is, built."""
    sources = [path.read_text() for path in sorted(protos.directory().rglob("*.proto"))]
    digest = hashlib.sha256("\0".join((*files, *files.values(), commands, *sources)).encode()).hexdigest()
    directory = BUILDS / language
    stamp = directory / "stamp"
    with locked(f"clients-{language}"):
        if not (stamp.exists() and stamp.read_text() == digest):
            shutil.rmtree(directory, ignore_errors=True)
            protos.copy(directory / "protos")
            for name, text in files.items():
                (directory / name).parent.mkdir(parents=True, exist_ok=True)
                (directory / name).write_text(text)
            _bash(commands, directory)
            stamp.write_text(digest)
    return directory


def _bash(commands: str, directory: Path) -> str:
    programs = os.pathsep.join((str(directory / "bin"), str(Path(sys.executable).parent), os.environ["PATH"]))
    # Go's generators go beside the client, so that they are those that its page names.
    env = {"PATH": programs, "GOBIN": str(directory / "bin")}
    return run(["bash", "-euo", "pipefail", "-c", commands], cwd=directory, env=env)
