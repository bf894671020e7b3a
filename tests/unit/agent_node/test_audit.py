"""The audit log's lines."""

import json
import os
import stat
import threading
import time
from pathlib import Path

import pytest
import structlog

from agent_node.audit import FileAuditLog, NoAuditLog
from agentring.ids import Incarnation, NodeId, parse_session, parse_task

NODE = NodeId("n1")


def lines(path: Path) -> list[dict[str, object]]:
    return [json.loads(line) for line in path.read_text().splitlines()]


def test_a_line_says_what_happened_to_whom(tmp_path: Path) -> None:
    path = tmp_path / "audit.jsonl"
    audit = FileAuditLog(path, NODE)
    before_ns = time.clock_gettime_ns(time.CLOCK_BOOTTIME)
    audit.write("joined")
    audit.incarnation = Incarnation(7)
    audit.write("turn_accepted", parse_session("acme", "s"), epoch=9, turn="t")
    audit.write("task_started", parse_task("", 'key"\\'), epoch=10, attempt=1)
    audit.close()
    joined, turn, task = lines(path)
    assert before_ns <= int(str(joined.pop("t_ns"))) <= int(str(turn.pop("t_ns"))) <= int(str(task.pop("t_ns")))
    assert joined == {"node": "n1", "incarnation": 0, "event": "joined"}
    assert turn == {
        "node": "n1",
        "incarnation": 7,
        "event": "turn_accepted",
        "tenant": "acme",
        "session": "s",
        "epoch": 9,
        "turn": "t",
    }
    assert (task["tenant"], task["task"], task["attempt"]) == ("default", 'key"\\', 1)
    assert stat.S_IMODE(path.stat().st_mode) & 0o022 == 0


def test_an_existing_file_is_continued_and_may_be_shared(tmp_path: Path) -> None:
    path = tmp_path / "audit.jsonl"
    audits = [FileAuditLog(path, NodeId(f"n{i}")) for i in range(4)]
    threads = [
        threading.Thread(target=lambda audit=audit: [audit.write("claimed", epoch=i) for i in range(200)])
        for audit in audits
    ]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    for audit in audits:
        audit.close()
    written = lines(path)
    assert len(written) == 800
    for i in range(4):
        assert [line["epoch"] for line in written if line["node"] == f"n{i}"] == list(range(200))


def test_a_line_that_cannot_be_written_harms_nobody(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    audit = FileAuditLog(tmp_path / "audit.jsonl", NODE)

    def full(*_: object) -> int:
        raise OSError(28, "No space left on device")

    with monkeypatch.context() as patched, structlog.testing.capture_logs() as logged:
        patched.setattr(os, "write", full)
        audit.write("joined")
    audit.write("fenced")
    audit.close()
    assert [(line["event"], line["transition"]) for line in logged] == [("audit_line_lost", "joined")]
    assert [line["event"] for line in lines(tmp_path / "audit.jsonl")] == ["fenced"]


def test_a_path_that_cannot_be_opened_is_told(tmp_path: Path) -> None:
    with pytest.raises(OSError, match="missing"):
        FileAuditLog(tmp_path / "missing" / "audit.jsonl", NODE)


def test_none_is_kept_where_none_is_wanted(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capfd: pytest.CaptureFixture[str]
) -> None:
    monkeypatch.chdir(tmp_path)
    audit = NoAuditLog()
    audit.incarnation = Incarnation(1)
    audit.write("joined", parse_session("", "s"), epoch=1)
    assert list(tmp_path.iterdir()) == []
    assert capfd.readouterr() == ("", "")
