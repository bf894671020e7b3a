"""Reads the files of access logs, and finds what was changed since: lines that were changed, left out, repeated, moved
or cut off, and files that are missing.

Guarantees: without the key no line before the last head that was kept can be changed in a way that is not found. What
falls short: what came after that head, ten seconds and some, may be cut off; who has the key can write what he likes
there, and who can write where heads are kept, too, can write it anywhere.
"""

from collections.abc import Iterable, Iterator
from dataclasses import dataclass, field
from pathlib import Path

from agentring.audit.chain import NOTHING_BEFORE, Head, SealedLine, chain_key, code, parse
from agentring.audit.files import FileName, parse_name

MAX_FINDINGS = 100
"""Of one chain that are named; the others are counted."""
_MAX_LINE_BYTES = 1 << 16


@dataclass(frozen=True, slots=True)
class Finding:
    """Something that is not as it was written."""

    file: str
    line: int
    """Of the file, from 1; 0: of none."""
    what: str

    def __str__(self) -> str:
        """For people."""
        return f"{self.file}:{self.line}: {self.what}" if self.line else f"{self.file}: {self.what}"


@dataclass(slots=True)
class ChainReport:
    """What was found of one chain."""

    chain: str
    process: str
    lines: int = 0
    """Up to the highest number."""
    findings: list[Finding] = field(default_factory=list)
    more: int = 0
    """Findings that are not named."""
    notes: list[str] = field(default_factory=list)
    """What cannot be told, and need be nothing."""

    def add(self, file: str, line: int, what: str) -> None:
        """One more finding."""
        if len(self.findings) < MAX_FINDINGS:
            self.findings.append(Finding(file, line, what))
        else:
            self.more += 1


def verify(directory: Path, key: bytes, heads: Iterable[Head] | None) -> list[ChainReport]:
    """A report for each chain. heads: as they were kept; None: nobody knows them, and what is cut off is not found.
    Raises OSError."""
    files: dict[str, list[FileName]] = {}
    for path in directory.iterdir():
        if (name := parse_name(path.name)) is not None:
            files.setdefault(name.chain, []).append(name)
    kept = {head.chain: head for head in heads} if heads is not None else None
    reports = []
    for chain, names in sorted(files.items()):
        head = kept.pop(chain, None) if kept is not None else None
        reports.append(_ChainCheck(directory, key, sorted(names), head, knows_heads=kept is not None).report())
    for head in (kept or {}).values():
        report = ChainReport(head.chain, head.process)
        report.add(str(FileName(head.process, head.chain, 1)), 0, f"all {head.lines} lines of the chain are missing")
        reports.append(report)
    return reports


class _ChainCheck:
    """The check of one chain."""

    def __init__(
        self, directory: Path, key: bytes, names: list[FileName], head: Head | None, *, knows_heads: bool
    ) -> None:
        self._directory = directory
        self._names = names
        self._head, self._knows_heads = head, knows_heads
        self._key = chain_key(key, names[0].chain)
        self._report = ChainReport(names[0].chain, head.process if head is not None else names[0].process)
        self._before: tuple[bytes, ...] = (NOTHING_BEFORE,)
        """What the code of the line before may be: what it says, and what it should say."""
        self._gaps: list[tuple[int, int]] = []
        self._ended = False

    def report(self) -> ChainReport:
        """Goes through the files."""
        report = self._report
        last_file = ""
        for name in self._names:
            last_file = str(name)
            for number, line, is_whole in _lines(self._directory / last_file):
                if not is_whole:
                    report.add(last_file, number, "the line is not whole")
                elif (sealed := parse(line)) is None:
                    report.add(last_file, number, "it is no line of a chain")
                else:
                    self._check(last_file, number, sealed)
        for first, last in self._gaps:
            report.add(last_file, 0, f"{_numbers(first, last)} missing, so that line {last + 1} cannot be checked")
        self._compare_head(last_file)
        return report

    def _check(self, file: str, number: int, sealed: SealedLine) -> None:
        report = self._report
        if sealed.number <= report.lines:
            self._out_of_place(file, number, sealed.number)
            return
        follows = sealed.number == report.lines + 1
        if not follows:
            self._gaps.append((report.lines + 1, sealed.number - 1))
        right = [code(self._key, before, sealed.body) for before in self._before] if follows else []
        if follows and sealed.mac not in right:
            report.add(file, number, f"line {sealed.number} of the chain was changed, or is of another key")
        report.lines = sealed.number
        self._before = (sealed.mac, *right)
        self._ended = b'"event":"ended"' in sealed.body
        if self._head is not None and sealed.number == self._head.lines and sealed.mac.hex() != self._head.mac:
            report.add(file, number, f"line {sealed.number} of the chain is not the one whose code was kept")

    def _out_of_place(self, file: str, number: int, said: int) -> None:
        for index, (first, last) in enumerate(self._gaps):
            if first <= said <= last:
                parts = [(first, said - 1), (said + 1, last)]
                self._gaps[index : index + 1] = [(low, high) for low, high in parts if low <= high]
                self._report.add(file, number, f"line {said} of the chain stands after line {self._report.lines}")
                return
        self._report.add(file, number, f"line {said} of the chain stands there twice")

    def _compare_head(self, file: str) -> None:
        report, head = self._report, self._head
        if head is None:
            if self._knows_heads:
                report.notes.append("its head was never kept: it is younger than that, or has no store")
        elif head.lines > report.lines:
            report.add(file, 0, f"{_numbers(report.lines + 1, head.lines)} cut off")
        if not self._ended:
            if head is not None and head.ended:
                return  # its last line is missing, which was said
            report.notes.append("it has no end: its process runs, was killed, or the newest lines were cut off")


def _lines(path: Path) -> Iterator[tuple[int, bytes, bool]]:
    """Each line's number, the line, and whether it has its line feed."""
    with path.open("rb") as file:
        number = 0
        while line := file.readline(_MAX_LINE_BYTES):
            number += 1
            yield number, line.removesuffix(b"\n"), line.endswith(b"\n")


def _numbers(first: int, last: int) -> str:
    return f"line {first} of the chain is" if first == last else f"lines {first} to {last} of the chain are"
