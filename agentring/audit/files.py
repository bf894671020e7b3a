"""The files of one chain: `access-<process>-<chain>-<number>.jsonl`, the next one where one is large.

What could not be written whole is written again at the same place, so no half line stays once the disk has room. Files
are their owner's alone and are never removed here: what may go, and when, is for the operator.
"""

import os
import re
from dataclasses import dataclass
from pathlib import Path

from agentring.process import private_files

_NAME = re.compile(r"access-(.+)-([0-9a-f]{32})-([0-9]{6,})\.jsonl")
_STRANGE = re.compile(r"[^A-Za-z0-9._-]")


@dataclass(frozen=True, slots=True, order=True)
class FileName:
    """Which file of which chain."""

    process: str
    chain: str
    number: int

    def __str__(self) -> str:
        """As in the directory."""
        return f"access-{_STRANGE.sub('_', self.process)}-{self.chain}-{self.number:06}.jsonl"


def parse_name(name: str) -> FileName | None:
    """None: it is none of ours."""
    found = _NAME.fullmatch(name)
    return None if found is None else FileName(found[1], found[2], int(found[3]))


class ChainFiles:
    """Where lines are appended. Resource handling: `close()`."""

    def __init__(self, directory: Path, process: str, chain: str) -> None:
        """Makes the directory, and the first file in it. Raises OSError."""
        private_files.make_directory(directory)
        self._directory = directory
        self._process, self._chain = process, chain
        self.number = 0
        self._file = -1
        self.size_bytes = 0
        """Of the newest file, as far as it was written whole."""
        self.begin_next()

    def begin_next(self) -> None:
        """Goes on in another file. Raises OSError, and goes on in the one before."""
        path = self._directory / str(FileName(self._process, self._chain, self.number + 1))
        begun = private_files.open_file(path, os.O_WRONLY | os.O_CREAT | os.O_EXCL)
        self.close()
        self._file, self.size_bytes = begun, 0
        self.number += 1

    def append(self, lines: bytes) -> None:
        """Writes all of it. Raises OSError: then it is as if nothing was written."""
        written = 0
        while written < len(lines):
            written += os.pwrite(self._file, memoryview(lines)[written:], self.size_bytes + written)
        self.size_bytes += len(lines)

    def sync(self) -> None:
        """What was appended survives the machine's end. Raises OSError."""
        os.fdatasync(self._file)

    def close(self) -> None:
        """Lets go of the file."""
        if self._file >= 0:
            os.close(self._file)
            self._file = -1
