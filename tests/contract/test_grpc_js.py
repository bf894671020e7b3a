"""A client in TypeScript, made from the protos alone by other people's tools: grpc-js, ts-proto, buf.

Its packages are installed and its code is generated and compiled into .tools/grpc_js, once for each change of either.
"""

import hashlib
import json
import shutil
from importlib.resources import files
from pathlib import Path

import pytest

from agentring.errors import AgentMismatch, AgentNotFound
from harness.cluster import Cluster
from harness.tools import ROOT, TOOLS, locked, require_tool, run

SOURCE = Path(__file__).parent / "grpc_js"
BUILD = TOOLS / "grpc_js"
GOOGLE_RPC = ("status.proto", "error_details.proto")


@pytest.fixture(scope="session")
def client() -> Path:
    """The compiled client."""
    require_tool("node")
    npm = require_tool("npm")
    with locked("grpc_js"):
        BUILD.mkdir(exist_ok=True)
        packages = _digest([SOURCE / "package.json"])
        if not _is_done("packages", packages):
            shutil.rmtree(BUILD / "node_modules", ignore_errors=True)
            shutil.copy(SOURCE / "package.json", BUILD)
            run([npm, "install", "--no-package-lock", "--no-fund", "--no-audit", "--silent"], cwd=BUILD)
            _done("packages", packages)
        sources = _digest([*sorted(SOURCE.iterdir()), *sorted((ROOT / "protos").rglob("*.proto"))])
        if not _is_done("client", sources):
            _compile()
            _done("client", sources)
    return BUILD / "dist" / "client.js"


def _compile() -> None:
    for stale in ("protos", "src", "dist"):
        shutil.rmtree(BUILD / stale, ignore_errors=True)
    shutil.copytree(ROOT / "protos" / "agentring", BUILD / "protos" / "agentring")
    google_rpc = BUILD / "protos" / "google" / "rpc"
    google_rpc.mkdir(parents=True)
    for name in GOOGLE_RPC:
        (google_rpc / name).write_text(files("google.rpc").joinpath(name).read_text())
    (BUILD / "src").mkdir()
    shutil.copy(SOURCE / "client.ts", BUILD / "src")
    for name in ("buf.gen.yaml", "tsconfig.json"):
        shutil.copy(SOURCE / name, BUILD)
    programs = BUILD / "node_modules" / ".bin"
    run([programs / "buf", "generate"], cwd=BUILD)
    run([programs / "tsc"], cwd=BUILD)


def _digest(paths: list[Path]) -> str:
    return hashlib.sha256(b"\0".join(path.read_bytes() for path in paths)).hexdigest()


def _is_done(what: str, digest: str) -> bool:
    stamp = BUILD / f"stamp-{what}"
    return stamp.exists() and stamp.read_text() == digest


def _done(what: str, digest: str) -> None:
    (BUILD / f"stamp-{what}").write_text(digest)


# The first one on a machine installs and compiles.
@pytest.mark.timeout(600)
def test_a_client_in_typescript(client: Path, cluster: Cluster, name: str) -> None:
    printed = json.loads(run([require_tool("node"), client, cluster.router, name], timeout_s=60))

    conversation = printed["converse"]
    assert conversation["opened"] == name
    assert conversation["first"]["result"] == {"intent": "name", "name": "Ada"}
    assert conversation["second"]["result"] == {"intent": "name", "name": "Ada"}
    assert "Ada" in conversation["second"]["text"]
    for each in (conversation["first"], conversation["second"], printed["runTurn"]):
        assert each["kinds"][:2] == ["turnAccepted", "turnStarted"]
        assert each["kinds"][-1] == "turnCompleted"
        assert each["epochs"] == conversation["first"]["epochs"]
    assert conversation["ackedFrame"] == 3
    assert conversation["throughSeq"] == conversation["headSeq"] > 0

    assert printed["runTurn"]["text"] == conversation["second"]["text"]

    dispositions = sorted(task["disposition"] for task in printed["tasks"])
    assert dispositions == ["DISPOSITION_JOINED"] * 4 + ["DISPOSITION_STARTED"]
    for task in printed["tasks"]:
        assert task["text"] == "".join(f"token{n} " for n in range(20))
        assert task["result"] == {"tokens": 20}
        assert task["epochs"] == printed["tasks"][0]["epochs"]
    assert len([line for line in cluster.audit("task_started") if line["task"] == name]) == 1

    for refusal, error in (
        (printed["mismatch"], AgentMismatch("assistant")),
        (printed["unknown"], AgentNotFound("nobody")),
    ):
        info = {"reason": error.reason, "domain": "agentring", "metadata": error.variables}
        assert refusal == {"code": error.code.value[0], "details": error.sentence, "infos": [info]}
