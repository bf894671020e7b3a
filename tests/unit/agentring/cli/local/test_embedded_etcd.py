"""Which etcd is started and with which flags; and that the one in the wheel serves."""

import asyncio
import socket
from pathlib import Path

import pytest

from agentring.cli.errors import ChildFailed, EtcdUnusable
from agentring.cli.local.child import Child, ChildSpec
from agentring.cli.local.data_dir import DataDir
from agentring.cli.local.embedded_etcd import (
    EtcdProgram,
    Version,
    ask_version,
    etcd_command,
    find_program,
    parse_version,
    start_etcd,
)


@pytest.mark.parametrize(
    ("printed", "version"),
    [
        ("etcd Version: 3.5.1\nGit SHA: e8732fb5f\n", (3, 5, 1)),
        ("etcd Version: 3.6.0-rc.2\n", (3, 6, 0)),
        ("etcd Version: 3.4.23\n", (3, 4, 23)),
        ("command not found\n", None),
    ],
)
def test_the_version_is_read_from_what_etcd_prints(printed: str, version: Version | None) -> None:
    assert parse_version(printed) == version


@pytest.mark.parametrize(
    ("version", "flag"),
    [
        ((3, 4, 23), "--experimental-initial-corrupt-check"),
        ((3, 5, 1), "--experimental-initial-corrupt-check"),
        ((3, 6, 0), "--feature-gates=InitialCorruptCheck=true"),
        ((3, 7, 0), "--feature-gates=InitialCorruptCheck=true"),
    ],
)
def test_every_version_checks_its_data_first(version: Version, flag: str) -> None:
    command = etcd_command(EtcdProgram(Path("/bin/etcd"), version), Path("/data"), "http://a:1", "http://a:2")
    assert [one for one in command if "corrupt" in one.lower()] == [flag]
    assert "--data-dir=/data" in command
    assert not any("fsync" in one for one in command)


def test_an_etcd_on_the_path_comes_first(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("PATH", str(tmp_path))
    assert find_program().parent.name == "etcdbin"
    (tmp_path / "etcd").write_text("#!/bin/sh\n")
    (tmp_path / "etcd").chmod(0o755)
    assert find_program() == tmp_path / "etcd"


@pytest.mark.parametrize(
    ("script", "why"),
    [
        ("echo hello", "names no version"),
        ("echo etcd Version: 3.3.25", "is older than 3.4"),
    ],
)
async def test_a_program_that_is_no_etcd_is_refused(tmp_path: Path, script: str, why: str) -> None:
    program = tmp_path / "etcd"
    program.write_text(f"#!/bin/sh\n{script}\n")
    program.chmod(0o755)
    with pytest.raises(EtcdUnusable, match=why):
        await ask_version(program)


async def test_it_starts_and_starts_again_on_its_data(tmp_path: Path, children: list[Child]) -> None:
    data_dir = DataDir(tmp_path)

    async def spawn(spec: ChildSpec) -> Child:
        children.append(await Child.start(spec))
        return children[-1]

    with data_dir.locked():
        urls = []
        for _ in range(2):
            etcd = await start_etcd(data_dir, spawn)
            urls.append(etcd.url)
            assert etcd.moved_from is None
            await etcd.child.stop(asyncio.Event())
        # A node that was started by hand finds it again.
        assert urls[0] == urls[1]
        port = int(urls[0].rpartition(":")[2])
        with socket.create_server(("127.0.0.1", port)):
            etcd = await start_etcd(data_dir, spawn)
        assert (etcd.url == urls[0], etcd.moved_from) == (False, port)
        await etcd.child.stop(asyncio.Event())
    assert b"restarting local member" in data_dir.log("etcd").read_bytes()


async def test_one_that_fails_is_told_with_its_log(tmp_path: Path, children: list[Child]) -> None:
    data_dir = DataDir(tmp_path)

    async def spawn(spec: ChildSpec) -> Child:
        children.append(await Child.start(spec))
        return children[-1]

    with data_dir.locked():
        data_dir.etcd.write_text("no directory")
        with pytest.raises(ChildFailed, match=r"etcd \(pid \d+\) exited with status 1") as failed:
            await start_etcd(data_dir, spawn)
    assert failed.value.log_path == data_dir.log("etcd")
    assert failed.value.log_tail


@pytest.mark.parametrize("written", ["", "x y", "1", "99999 99998", "0 0", "1 2 3"])
async def test_ports_that_cannot_be_read_or_had_are_chosen_anew(
    tmp_path: Path, children: list[Child], written: str
) -> None:
    data_dir = DataDir(tmp_path)

    async def spawn(spec: ChildSpec) -> Child:
        children.append(await Child.start(spec))
        return children[-1]

    with data_dir.locked():
        data_dir.etcd_ports.write_text(written)
        etcd = await start_etcd(data_dir, spawn)
        port = int(etcd.url.rpartition(":")[2])
        assert data_dir.etcd_ports.read_text().split()[0] == str(port)
        await etcd.child.stop(asyncio.Event())
