"""What a process writes: every call, refusals counted, bounded and escaped; and what it does where the disk is full."""

import asyncio
import errno
import json
import os
import threading
from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import pytest

from agentring.audit import access_log
from agentring.audit.access_log import AccessLog
from agentring.audit.anchoring import Anchor
from agentring.audit.chain import KEY_BYTES, BadKey, Head, read_key
from agentring.audit.entries import MAX_TEXT, Access
from agentring.audit.files import ChainFiles
from agentring.audit.refusals import WINDOW_NS, Refusals
from agentring.audit.verify import verify
from agentring.errors import StoreUnavailable

KEY = b"k" * 32


@dataclass(frozen=True)
class Caller:
    tenant: str = "acme"
    subject: str = "ann"
    credential_id: str = "k1"


class FullDisk(ChainFiles):
    """Takes nothing, or a part, while `full` is set."""

    full = False

    def append(self, lines: bytes) -> None:
        if self.full:
            os.pwrite(self._file, lines[: len(lines) // 2], self.size_bytes)
            raise OSError(errno.ENOSPC, "No space left on device")
        super().append(lines)


def test_a_call_is_a_line_with_its_fields_alone(tmp_path: Path) -> None:
    log = AccessLog(tmp_path, KEY, "router/127.0.0.1:1", gather_s=0)
    log.record(Caller(), "/agentring.v1.SessionService/RunTurn", "acme", "session/s1", "10.0.0.1:4711")
    log.record(None, "/x/Y", "", "", "10.0.0.2:1", "NO_CREDENTIAL")
    log.close()
    opened, allowed, refused, ended = _lines(tmp_path)
    assert (opened["event"], ended["event"]) == ("opened", "ended")
    fields = {name: value for name, value in allowed.items() if name not in ("n", "at", "mac")}
    assert fields == {
        "event": "access",
        "tenant": "acme",
        "subject": "ann",
        "credential": "k1",
        "method": "/agentring.v1.SessionService/RunTurn",
        "target_tenant": "acme",
        "target": "session/s1",
        "peer": "10.0.0.1:4711",
        "allowed": True,
    }
    assert (refused["allowed"], refused["reason"], refused["tenant"]) == (False, "NO_CREDENTIAL", "")
    assert oct(next(tmp_path.iterdir()).stat().st_mode & 0o777) == "0o600"
    assert verify(tmp_path, KEY, [log.head])[0].findings == []


def test_values_are_bounded_and_make_no_line_of_their_own(tmp_path: Path) -> None:
    log = AccessLog(tmp_path, KEY, "node/a", gather_s=0)
    hostile = 'x"}\n{"n":3,"event":"ended","mac":"' + "0" * 64 + '"}\r\x1b[2J\u2028\ud800'
    log.record(Caller(hostile, "é" * 10_000, hostile), hostile, hostile, hostile, hostile, "")
    log.close()
    content = next(tmp_path.iterdir()).read_bytes()
    assert content.isascii()
    assert content.count(b"\n") == 3
    assert b"\x1b" not in content
    line = _lines(tmp_path)[1]
    assert line["method"] == hostile
    assert len(line["subject"]) == MAX_TEXT
    assert verify(tmp_path, KEY, [log.head])[0].findings == []


def test_refusals_are_counted() -> None:
    refusals = Refusals(max_kinds=3)
    written = [refusals.add(_refusal(tenant=f"t{i % 5}", at_ns=i), 0) for i in range(1_000)]
    assert [access.tenant for access in written if access] == ["t0", "t1", "t2"]
    assert list(refusals.due(WINDOW_NS - 1)) == []
    counted = {access.tenant: access.count for access in refusals.due(WINDOW_NS)}
    assert counted == {"t0": 199, "t1": 199, "t2": 199, "*": 400}
    assert list(refusals.due(2 * WINDOW_NS)) == []
    assert refusals.add(_refusal(tenant="t0"), 0) is not None, "the next window begins with a line again"


def test_a_peers_ports_are_one_kind() -> None:
    refusals = Refusals()
    written = [refusals.add(_refusal(peer=f"10.0.0.1:{port}"), 0) for port in range(100)]
    assert sum(access is not None for access in written) == 1


def test_a_full_disk_holds_nobody_up_and_is_said(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(access_log, "MAX_WAITING", 10)
    files = FullDisk(tmp_path, "node/a", "0" * 32)
    log = AccessLog(tmp_path, KEY, "node/a", files=files, gather_s=0, again_s=0.001)
    _until(lambda: files.size_bytes > 0)
    files.full = True
    log.record(Caller(), "/s/First", "", "", "p:1")
    _until(lambda: log.failing != "")
    for i in range(25):
        log.record(Caller(), f"/s/M{i}", "", "", "p:1")
    assert (log.failing, log.lost) == ("No space left on device", 15)
    files.full = False
    _until(lambda: log.waiting == 0 and log.failing == "")
    log.close()
    lines = _lines(tmp_path)
    assert [line["method"] for line in lines if line["event"] == "access"] == [
        "/s/First",
        *(f"/s/M{i}" for i in range(10)),
    ]
    assert [(line["count"]) for line in lines if line["event"] == "lost"] == [15]


def test_a_disk_that_stays_full_ends_the_log_within_its_time(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(access_log, "_CLOSE_S", 0.01)
    files = FullDisk(tmp_path, "node/a", "0" * 32)
    log = AccessLog(tmp_path, KEY, "node/a", files=files, gather_s=0, again_s=0.001)
    _until(lambda: files.size_bytes > 0)
    files.full = True
    log.record(Caller(), "/s/M", "", "", "p:1")
    log.close()
    assert not log.head.ended
    assert log.failing


def test_the_directory_must_be_there_to_begin(tmp_path: Path) -> None:
    (tmp_path / "file").write_text("")
    with pytest.raises(OSError):
        AccessLog(tmp_path / "file", KEY, "node/a")


async def test_heads_are_kept_once_each_and_after_a_failure_again(tmp_path: Path) -> None:
    kept: list[Head] = []
    fails = [False]

    async def keep(head: Head) -> None:
        if fails[0]:
            raise StoreUnavailable
        kept.append(head)

    log = AccessLog(tmp_path, KEY, "node/a", gather_s=0)
    anchor = Anchor(log, keep, asyncio.sleep)
    await anchor.keep()
    assert kept == [], "the disk has kept nothing yet"
    fails[0] = True
    await anchor.close()
    assert (kept, anchor.failing) == ([], True)
    fails[0] = False
    await anchor.keep()
    await anchor.keep()
    assert [(head.lines, head.ended) for head in kept] == [(2, True)]
    assert not anchor.failing


async def test_certificates_that_cannot_be_read_for_a_while_do_not_end_the_anchoring(tmp_path: Path) -> None:
    async def keep(_head: Head) -> None:
        raise FileNotFoundError(errno.ENOENT, "No such file or directory", "certs/ca.pem")

    anchor = Anchor(AccessLog(tmp_path, KEY, "router/a", gather_s=0), keep, asyncio.sleep)
    await anchor.close()
    assert anchor.failing


def test_a_key_must_be_long_enough(tmp_path: Path) -> None:
    path = tmp_path / "key"
    with pytest.raises(BadKey, match="cannot be read"):
        read_key(path)
    path.write_bytes(b"x" * (KEY_BYTES - 1))
    with pytest.raises(BadKey, match=r"31 bytes.*openssl"):
        read_key(path)
    path.write_bytes(b"\n" * KEY_BYTES)
    assert read_key(path) == b"\n" * KEY_BYTES


def _refusal(tenant: str = "acme", peer: str = "10.0.0.1:1", at_ns: int = 1) -> Access:
    return Access(at_ns, tenant, "ann", "k1", "/s/M", "acme", "session/s", peer, "PERMISSION_DENIED")


def _lines(directory: Path) -> list[dict[str, Any]]:
    return [json.loads(line) for path in sorted(directory.iterdir()) for line in path.read_text().splitlines()]


def _until(condition: Callable[[], bool]) -> None:
    for _ in range(2_000):
        if condition():
            return
        threading.Event().wait(0.002)
    raise AssertionError("it did not come to it")
