"""The nodes' audit logs while they are being written."""

import asyncio
import json
from collections.abc import Callable
from pathlib import Path

from robustness.chaos.validate.evidence import Line

_POLL_S = 0.02


class AuditFiles:
    """One file for each node, read as it grows."""

    def __init__(self, directory: Path) -> None:
        """directory: where they are."""
        self._directory = directory
        self._offsets: dict[Path, int] = {}
        self._lines: list[Line] = []

    def path(self, node: str) -> Path:
        """The node's file."""
        return self._directory / f"audit-{node}.jsonl"

    def lines(self) -> list[Line]:
        """All that is written by now, each node's in its order."""
        for path in self._directory.glob("audit-*.jsonl"):
            with path.open("rb") as file:
                file.seek(self._offsets.get(path, 0))
                whole, newline, _ = file.read().rpartition(b"\n")
            self._offsets[path] = self._offsets.get(path, 0) + len(whole) + len(newline)
            self._lines += [Line.from_json(json.loads(line)) for line in whole.splitlines()]
        return self._lines

    def find(self, event: str, node: str, after_ns: int) -> Line | None:
        """The node's first such line after a moment."""
        found = (line for line in self.lines() if line.node == node and line.t_ns > after_ns and line.event == event)
        return next(found, None)

    async def until(self, event: str, node: str, after_ns: int, within_s: float) -> Line | None:
        """As `find`, once there is one; None: there was none in time."""
        try:
            async with asyncio.timeout(within_s):
                await until(lambda: self.find(event, node, after_ns) is not None)
        except TimeoutError:
            return None
        return self.find(event, node, after_ns)


async def until(condition: Callable[[], bool]) -> None:
    """Returns once it holds, of something that other processes do. Cancellation: changes nothing."""
    while not condition():  # noqa: ASYNC110  what it waits for is in other processes
        await asyncio.sleep(_POLL_S)
