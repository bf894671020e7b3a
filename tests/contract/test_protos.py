"""The protos are what is generated from, and what buf wants: STANDARD, and a comment on everything. What clients were
generated from stays as it is: wire_v1.binpb is what the protos were, and buf finds nothing that breaks its clients.

What is new is added to it by `buf build protos --exclude-source-info -o tests/contract/wire_v1.binpb`.
"""

import shutil
import subprocess
from pathlib import Path

import pytest

from harness.tools import ROOT, require_buf, run

PROTOS = ROOT / "protos"
WIRE = Path(__file__).with_name("wire_v1.binpb")


def test_the_generated_code_is_what_the_protos_generate() -> None:
    run([ROOT / "scripts" / "gen_protos", "--check"])


# The first one on a machine may have to install buf.
@pytest.mark.timeout(600)
def test_the_protos_are_as_buf_wants_them() -> None:
    assert run([require_buf(), "lint", PROTOS]) == ""


@pytest.mark.timeout(600)
def test_no_client_is_broken() -> None:
    assert run([require_buf(), "breaking", PROTOS, "--against", WIRE]) == ""


@pytest.mark.timeout(600)
@pytest.mark.parametrize(
    ("proto", "before", "after", "found"),
    [
        ("session", "string turn_id = 1;", "string turn_id = 9;", '"1" with name "turn_id"'),
        ("task", "fixed64 epoch = 5;", "uint64 epoch = 5;", '"5" with name "epoch" on message "Task" changed'),
        ("cluster", "NODE_STATE_DRAINING = 2;", "NODE_STATE_DRAINING = 3;", "NodeState"),
        ("once", "rpc ListRuns(ListRunsRequest)", "rpc ListRuns(stream ListRunsRequest)", "ListRuns"),
        ("node", "rpc Undrain(", "rpc Return(", 'RPC "Undrain"'),
    ],
)
def test_what_breaks_clients_is_found(tmp_path: Path, proto: str, before: str, after: str, found: str) -> None:
    shutil.copytree(PROTOS, tmp_path, dirs_exist_ok=True)
    changed = tmp_path / "agentring" / "v1" / f"{proto}.proto"
    text = changed.read_text()
    assert before in text
    changed.write_text(text.replace(before, after, 1))
    command: list[str | Path] = [require_buf(), "breaking", tmp_path, "--against", WIRE]
    ended = subprocess.run(command, capture_output=True, text=True, timeout=60, check=False)
    assert ended.returncode == 100, ended.stderr
    assert found in ended.stdout
