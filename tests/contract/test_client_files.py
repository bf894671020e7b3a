"""Inputs of several parts and files, by the Python client, through a real router."""

from pathlib import Path

import pytest

from agentring.client import File, FileOutput, FilePart, JsonPart, TurnAccepted, connect, sync
from agentring.errors import FileNotFound, InvalidFile
from harness.cluster import Cluster


async def test_a_turn_of_several_parts_with_files_that_come_back(cluster: Cluster, name: str, tmp_path: Path) -> None:
    path = tmp_path / "numbers.bin"
    path.write_bytes(bytes(range(256)) * 10_000)  # more than a message holds
    async with connect(cluster.router) as ring, connect(cluster.router) as another:
        session = ring.session(name, agent="echo")
        turn = session.send(
            ["one ", JsonPart({"n": 4}), File(path, "application/octet-stream"), "two", File(b"", "a/b")]
        )
        events = [event async for event in turn]
        assert turn.text == "one \ntwo"
        (first, empty) = [event.file for event in events if isinstance(event, FileOutput)]
        assert (first.name, first.media_type, first.size_bytes) == (
            "numbers.bin",
            "application/octet-stream",
            2_560_000,
        )
        later = another.session(name)
        assert await later.get_file(first) == path.read_bytes()
        assert await later.get_file(empty) == b""
        accepted = await anext(aiter(later.watch(0)))
        assert isinstance(accepted, TurnAccepted)
        assert accepted.input is not None
        assert accepted.input.parts[1] == JsonPart({"n": 4})
        assert accepted.input.parts[2] == first  # the same bytes, name and type
        with pytest.raises(FileNotFound):
            await session.run([FilePart("ab" * 32, 1, "a/b", "")])
        with pytest.raises(FileNotFound):
            await ring.session(f"{name}-2", agent="echo").run([first])  # another session's
        with pytest.raises(InvalidFile):
            await session.run([File(bytes((16 << 20) + 1), "a/b")])


def test_files_without_an_event_loop(cluster: Cluster, name: str) -> None:
    with sync.connect(cluster.router) as ring:
        session = ring.session(name, agent="echo")
        part = session.put_file(File(b"content", "text/plain", name="notes.txt"))
        assert session.get_file(part) == b"content"
        assert session.run(["read", part]).text == "read"
