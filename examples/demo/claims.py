"""What the demo says of the system, each sentence checked as it is printed."""

from rich.console import Console
from rich.table import Table
from rich.text import Text


class Claims:
    """Prints claims, marks each by whether it holds, and counts them."""

    def __init__(self, console: Console) -> None:
        """Nothing is claimed yet."""
        self._console = console
        self._held = 0
        self._failed = 0

    def scene(self, title: str, what: str) -> None:
        """Begins a scene."""
        self._console.print()
        self._console.rule(Text(title, style="bold"), align="left")
        self._console.print(Text(what, style="dim"))

    def show(self, line: str | Table) -> None:
        """Prints something that claims nothing."""
        self._console.print(line if isinstance(line, Table) else Text(f"  {line}"), soft_wrap=True)

    def claim(self, text: str, holds: bool, but: object = None) -> None:
        """Says something of the system; `but` is what was seen instead, where it does not hold."""
        if holds:
            self._held += 1
            self._console.print(Text.assemble(("  ✔ ", "green"), text), soft_wrap=True)
        else:
            self._failed += 1
            seen = "" if but is None else f" -- but: {but}"
            self._console.print(Text.assemble(("  ✘ ", "bold red"), text, (seen, "red")), soft_wrap=True)

    def close(self) -> bool:
        """Says how many held; whether all did, and there were any."""
        self._console.print()
        total = self._held + self._failed
        self._console.print(Text(f"{self._held} of {total} claims held", style="red" if self._failed else "green"))
        return total > 0 and not self._failed
