"""The protos that clients of other languages are generated from, wherever agentring is installed.

    python -m agentring.protos DIRECTORY

writes them there: agentring/v1, and the two files of google/rpc that the details of an error are read by. A wheel has
them in this folder, a checkout in protos/.
"""

from importlib.resources import files
from pathlib import Path

_GOOGLE_RPC = ("status.proto", "error_details.proto")


def directory() -> Path:
    """Where agentring/v1/*.proto are: the directory to give to protoc as `-I`."""
    here = Path(__file__).parent
    return here if (here / "agentring").is_dir() else here.parents[1] / "protos"


def copy(to: Path) -> list[Path]:
    """Writes the protos below a directory, which is made if it does not exist. Returns the files."""
    google_rpc = files("google.rpc")
    contents = {Path("google", "rpc", name): google_rpc.joinpath(name).read_bytes() for name in _GOOGLE_RPC}
    for path in sorted(directory().rglob("*.proto")):
        contents[path.relative_to(directory())] = path.read_bytes()
    for name, content in contents.items():
        (to / name).parent.mkdir(parents=True, exist_ok=True)
        (to / name).write_bytes(content)
    return [to / name for name in contents]
