"""What Markdown files say: their fenced blocks, and what commands print apart from what differs from run to run."""

import re
from pathlib import Path

_BLOCK = re.compile(r"^```(\w+)\n(.*?)^```$", re.DOTALL | re.MULTILINE)


def blocks(page: Path) -> list[tuple[str, str]]:
    """The fenced blocks in their order, each with its language."""
    return [(found[1], found[2]) for found in _BLOCK.finditer(page.read_text())]


def as_printed(output: str) -> list[str]:
    """The lines, without what differs from run to run: nodes, epochs, ids, and the order of a tool's arguments."""
    output = re.sub(r"is on n\d+, epoch \d+", "is on N, epoch E", output)
    output = re.sub(r"error_id [0-9a-f]{16}", "error_id ID", output)
    output = re.sub(r"^(\w+)(\(| -> ){.*", r"\1\2{}", output, flags=re.MULTILINE)
    return [line.rstrip() for line in output.splitlines()]
