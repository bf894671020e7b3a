"""How a line of a log is shown to people: time, process, what happened, in which run, and a traceback below it.

Guarantees that a line shows no control characters, whatever an agent has printed. Called by `logs` and `dev`.
"""

import json
from typing import Any

from rich.console import Console
from rich.text import Text

from agentring.cli.terminal.printing import without_control

_HEAD = ("timestamp", "level", "event")
_OF_THE_RUN = ("agent", "session", "task", "turn", "attempt", "trace", "tenant")
_USUAL: dict[str, tuple[Any, ...]] = {"attempt": (None, 1), "tenant": (None, "", "default")}
"""What need not be shown."""
_TRACEBACK = ("exception", "stack")
_STYLES = {"error": "red", "critical": "red", "warning": "yellow", "debug": "dim"}


def show_line(console: Console, source: str, text: str, fields: dict[str, Any]) -> None:
    """Prints it. fields: of the line; empty: it is printed as it stands."""
    for part, style in shown(source, text, fields):
        console.print(Text(part, style=style), soft_wrap=True)


def shown(source: str, text: str, fields: dict[str, Any]) -> list[tuple[str, str]]:
    """The lines of a line, each with its style."""
    if not fields:
        return [(f"{source} {without_control(text)}", "dim")]
    time = str(fields.get("timestamp", ""))[11:23]
    level = str(fields.get("level", ""))
    run = [name for name in _OF_THE_RUN if fields.get(name) not in _USUAL.get(name, (None, ""))]
    said = [name for name in fields if name not in (*_HEAD, *_OF_THE_RUN, *_TRACEBACK)]
    event = str(fields.get("event", ""))
    if event in ("printed", "logged") and "text" in fields:
        said = [name for name in said if name not in ("text", "logger")]
        logger = f"{fields['logger']}: " if "logger" in fields else ""
        event = logger + without_control(str(fields["text"]))
    pairs = " ".join(f"{name}={_value(fields[name])}" for name in (*said, *run))
    head = f"{time} {source} {level} {event}" + (f"  {pairs}" if pairs else "")
    style = _STYLES.get(level, "")
    lines = [(without_control(head), style)]
    for name in _TRACEBACK:
        traced = str(fields.get(name, "")).rstrip().splitlines()
        lines += [(f"    {without_control(line)}", style) for line in traced]
    return lines


def _value(value: Any) -> str:
    if isinstance(value, str) and value and not any(each.isspace() or each in "\"'=" for each in value):
        return value
    return json.dumps(value, ensure_ascii=False, default=str)
