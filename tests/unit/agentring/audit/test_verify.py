"""What was changed in an access log is found, and said at the line."""

from collections.abc import Callable
from dataclasses import dataclass, replace
from pathlib import Path

import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from agentring.audit.access_log import AccessLog
from agentring.audit.chain import Head
from agentring.audit.verify import ChainReport, verify

KEY = b"k" * 32


@dataclass(frozen=True)
class Caller:
    tenant: str = "acme"
    subject: str = "ann"
    credential_id: str = "k1"


@pytest.fixture(scope="module")
def written(tmp_path_factory: pytest.TempPathFactory) -> tuple[dict[str, bytes], Head]:
    """Three files and more of one chain, and its head."""
    directory = tmp_path_factory.mktemp("written")
    log = AccessLog(directory, KEY, "node/a", max_file_bytes=1, gather_s=0)
    for part in range(3):
        for call in range(5):
            log.record(Caller(), "/s/M", "acme", f"session/{part}-{call}", "10.0.0.1:1")
        _until(lambda: log.waiting == 0)
    log.close()
    return {path.name: path.read_bytes() for path in sorted(directory.iterdir())}, log.head


def test_what_is_as_it_was_written_is_whole(tmp_path: Path, written: tuple[dict[str, bytes], Head]) -> None:
    files, head = written
    assert len(files) >= 3
    (report,) = _verify(tmp_path, files, [head])
    assert (report.findings, report.notes, report.lines) == ([], [], head.lines)
    assert head.ended
    assert head.lines >= 15 + len(files) + 1


@settings(max_examples=60, deadline=None, suppress_health_check=[HealthCheck.function_scoped_fixture])
@given(data=st.data())
def test_every_change_is_found(tmp_path: Path, written: tuple[dict[str, bytes], Head], data: st.DataObject) -> None:
    files, head = written
    lines = [line for content in files.values() for line in content.splitlines(keepends=True)]
    names = [name for name, content in files.items() for _ in content.splitlines()]
    at = data.draw(st.integers(0, len(lines) - 1))
    kind = data.draw(st.sampled_from(["byte", "drop", "swap", "repeat", "cut", "file"]))
    if kind == "byte":
        place = data.draw(st.integers(0, len(lines[at]) - 1))
        byte = data.draw(st.integers(0, 255).filter(lambda byte: byte != lines[at][place]))
        lines[at] = lines[at][:place] + bytes([byte]) + lines[at][place + 1 :]
    elif kind == "drop":
        del lines[at], names[at]
    elif kind == "swap":
        other = data.draw(st.integers(0, len(lines) - 1).filter(lambda other: other != at))
        lines[at], lines[other] = lines[other], lines[at]
    elif kind == "repeat":
        lines.insert(at, lines[at])
        names.insert(at, names[at])
    elif kind == "cut":
        del lines[at:], names[at:]
    else:
        lines, names = map(
            list, zip(*[pair for pair in zip(lines, names, strict=True) if pair[1] != names[at]], strict=True)
        )
    changed = {name: b"".join(line for line, of in zip(lines, names, strict=True) if of == name) for name in files}
    if kind == "file":
        del changed[next(name for name in files if name not in names)]
    (report,) = _verify(tmp_path, changed, [head])
    assert report.findings, kind
    number = at + 1
    said = " ".join(finding.what for finding in report.findings)
    if kind == "drop":
        assert f"line {number} of the chain is" in said
    elif kind == "repeat":
        assert f"line {number} of the chain stands there twice" in said
    elif kind == "cut":
        assert f"{number} to {head.lines}" in said or f"line {head.lines} of the chain is cut off" in said


def test_a_changed_line_is_the_only_one_that_is_named(tmp_path: Path, written: tuple[dict[str, bytes], Head]) -> None:
    files, head = written
    name = min(files)
    changed = files | {name: files[name].replace(b"session/0-3", b"session/0-4", 1)}
    (report,) = _verify(tmp_path, changed, [head])
    (finding,) = report.findings
    place = next(i for i, line in enumerate(files[name].splitlines(), 1) if b"session/0-3" in line)
    assert (finding.file, finding.line) == (name, place)
    assert "was changed" in finding.what


def test_a_missing_chain_another_head_and_another_key(tmp_path: Path, written: tuple[dict[str, bytes], Head]) -> None:
    files, head = written
    (report,) = _verify(tmp_path, {}, [head])
    assert f"all {head.lines} lines" in report.findings[0].what
    (report,) = _verify(tmp_path, files, [replace(head, mac="0" * 64)])
    assert "not the one whose code was kept" in report.findings[0].what
    (report,) = _verify(tmp_path, files, [head], key=b"x" * 32)
    assert len(report.findings) + report.more >= head.lines
    (report,) = _verify(tmp_path, files, [])
    assert report.notes == ["its head was never kept: it is younger than that, or has no store"]


def test_lines_of_another_chain_do_not_pass(tmp_path: Path, written: tuple[dict[str, bytes], Head]) -> None:
    files, head = written
    renamed = {name.replace(head.chain, "0" * 32): content for name, content in files.items()}
    (report, missing) = sorted(_verify(tmp_path, renamed, [head]), key=lambda report: report.chain != "0" * 32)
    assert len(report.findings) + report.more >= head.lines
    assert "are missing" in missing.findings[0].what


def test_a_chain_that_was_killed_has_no_end_and_no_finding(
    tmp_path: Path, written: tuple[dict[str, bytes], Head]
) -> None:
    files, head = written
    name = max(files)
    changed = files | {name: b"".join(files[name].splitlines(keepends=True)[:-1])}
    (report,) = _verify(tmp_path, changed, [replace(head, lines=head.lines - 2, ended=False, mac=_mac(files, 2))])
    assert report.findings == []
    assert len(report.notes) == 1
    (report,) = _verify(tmp_path, changed, None)
    assert report.findings == []


def _mac(files: dict[str, bytes], before_last: int) -> str:
    line = b"".join(files[name] for name in sorted(files)).splitlines()[-1 - before_last]
    return line[-66:-2].decode()


def _verify(
    tmp_path: Path, files: dict[str, bytes], heads: list[Head] | None, *, key: bytes = KEY
) -> list[ChainReport]:
    for old in tmp_path.iterdir():
        old.unlink()
    for name, content in files.items():
        (tmp_path / name).write_bytes(content)
    return verify(tmp_path, key, heads)


def _until(condition: Callable[[], bool]) -> None:
    import threading

    for _ in range(2_000):
        if condition():
            return
        threading.Event().wait(0.002)
    raise AssertionError("the log was not written")
