"""What a client makes of what is to be sent."""

from pathlib import Path

import pytest

from agentring.client.inputs import File, FilePart, to_file, to_input
from agentring.errors import InvalidFile

MOST = 16 << 20


def test_a_file_is_read_and_named_by_its_path(tmp_path: Path) -> None:
    path = tmp_path / "cat.png"
    path.write_bytes(b"cat")
    part, content = to_file(File(path, "image/png"))
    assert (part.name, part.size_bytes, content) == ("cat.png", 3, b"cat")
    assert to_input(["what?", File(path, "image/png")], None)[1] == [b"cat"]


@pytest.mark.parametrize("data", [Path("/dev/zero"), bytes(MOST + 1)], ids=["endless", "too_large"])
def test_what_is_too_large_is_refused_before_all_of_it_is_read(data: Path | bytes) -> None:
    with pytest.raises(InvalidFile, match="more than the 16777216 bytes"):
        to_input([File(data, "image/png")], None)


def test_a_file_may_have_all_bytes_that_are_allowed() -> None:
    part, content = to_file(File(bytes(MOST), "a/b"))
    assert isinstance(part, FilePart)
    assert part.size_bytes == len(content) == MOST
