"""What commands print, apart from what differs from run to run."""

import re


def as_printed(output: str) -> list[str]:
    """The lines, without nodes, epochs, ids, and the arguments and results of tools, whose keys are in no order."""
    output = re.sub(r"is on n\d+, epoch \d+", "is on N, epoch E", output)
    output = re.sub(r"(error_id|--error) [0-9a-f]{16}", r"\1 ID", output)
    output = re.sub(r"agentring logs --data-dir \S+", "agentring logs", output)
    output = re.sub(r"^(\w+)(\(| -> ){.*", r"\1\2{}", output, flags=re.MULTILINE)
    return [line.rstrip() for line in output.splitlines()]
