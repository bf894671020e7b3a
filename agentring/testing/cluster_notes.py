"""What the nodes of a ClusterTest have noted of a run, as the test sees it."""

import json
from pathlib import Path
from typing import Any

from agentring.testing.ended_turn import Step
from agentring.testing.hosted import NOTES


class RaisedOnNode(Exception):
    """What an agent raised on a node: its type and text; the node's traceback is a note of it."""


class RunNotes:
    """Of one run, read when it has ended."""

    def __init__(self, directory: Path, run: str) -> None:
        """run: its idempotency key."""
        path = directory / NOTES
        lines = path.read_text().splitlines() if path.exists() else []
        self._notes = [note for note in map(json.loads, lines) if note["run"] == run]

    @property
    def state(self) -> dict[str, Any] | None:
        """When its agent ended; None: it did not."""
        found = self._last("state")
        return found["value"] if found is not None else None

    @property
    def error(self) -> BaseException | None:
        """What the agent raised last."""
        if (found := self._last("raised")) is None:
            return None
        type_name, text, trace = found["value"]
        error = RaisedOnNode(f"{type_name}: {text}")
        error.add_note(trace)
        return error

    def steps(self, attempts: int) -> tuple[Step, ...]:
        """In the order in which they began. attempts: how often the run was begun."""
        found: dict[int, tuple[str, int]] = {}
        called: dict[int, list[int]] = {}
        ended: dict[int, tuple[str, Any, int]] = {}
        for note in self._notes:
            if note["what"] not in ("called", "ended"):
                continue
            number, name, depth, *outcome = note["value"]
            found[number] = (name, depth)
            if outcome:
                ended[number] = (*outcome, note["attempt"])
            else:
                called.setdefault(number, []).append(note["attempt"])
        steps = []
        for number, (name, depth) in sorted(found.items()):
            outcome, value, attempt = ended.get(number, ("", None, 0))
            steps.append(
                Step(name, outcome, value, attempt, 0 < attempt < attempts, tuple(called.get(number, ())), depth)
            )
        return tuple(steps)

    def _last(self, what: str) -> dict[str, Any] | None:
        return next((note for note in reversed(self._notes) if note["what"] == what), None)
