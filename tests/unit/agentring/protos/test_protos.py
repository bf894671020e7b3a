"""The protos are found and written, from a checkout and from where a wheel has them."""

import shutil
import sys
from pathlib import Path

from agentring import protos
from harness.tools import ROOT, run

OURS = ("blob", "cluster", "halt", "node", "once", "session", "store", "task")
NAMES = {f"agentring/v1/{name}.proto" for name in OURS} | {"google/rpc/status.proto", "google/rpc/error_details.proto"}


def test_they_are_written_and_can_be_generated_from(tmp_path: Path) -> None:
    written = tmp_path / "new" / "protos"
    printed = run([sys.executable, "-m", "agentring.protos", written])
    assert {str(path.relative_to(written)) for path in written.rglob("*") if path.is_file()} == NAMES
    assert {str(Path(line).relative_to(written)) for line in printed.splitlines()} == NAMES
    session = (ROOT / "protos" / "agentring" / "v1" / "session.proto").read_bytes()
    assert (written / "agentring" / "v1" / "session.proto").read_bytes() == session
    options = (f"-I{written}", f"--descriptor_set_out={tmp_path / 'set'}")
    assert run([sys.executable, "-m", "grpc_tools.protoc", *options, *sorted(NAMES)]) == ""


def test_in_a_wheel_they_are_beside_the_code(tmp_path: Path) -> None:
    shutil.copytree(Path(protos.__file__).parent, tmp_path / "agentring" / "protos")
    shutil.copytree(ROOT / "protos" / "agentring", tmp_path / "agentring" / "protos" / "agentring")
    (tmp_path / "agentring" / "__init__.py").touch()
    printed = run([sys.executable, "-m", "agentring.protos", "written"], cwd=tmp_path)
    assert {str(Path(line).relative_to("written")) for line in printed.splitlines()} == NAMES
    code = "import agentring.protos; print(agentring.protos.directory())"
    assert run([sys.executable, "-c", code], cwd=tmp_path).strip() == str(tmp_path / "agentring" / "protos")
