"""The repository's pages, and the fenced blocks in them. See CONTRIBUTING.md for how a block is marked."""

import re
import subprocess
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path

ROOT = Path(__file__).parents[2]
_FENCE = re.compile(r"^( *)```(.*)$")


def pages() -> list[Path]:
    """Every Markdown file of the repository."""
    return sorted(path for path in files() if path.suffix == ".md")


def files() -> set[Path]:
    """Every file of the repository, whether it is committed yet or not."""
    listed = subprocess.run(
        ["git", "ls-files", "--cached", "--others", "--exclude-standard"],
        cwd=ROOT,
        capture_output=True,
        text=True,
        check=True,
    )
    return {path for name in listed.stdout.splitlines() if (path := ROOT / name).is_file()}


@dataclass(frozen=True, slots=True)
class Block:
    """A fenced block."""

    page: str
    line: int
    language: str
    marks: tuple[str, ...]
    """The other words after the language: `run`, `background`, `output`."""
    text: str

    @property
    def file_name(self) -> str | None:
        """Where the first line is a comment with nothing but a file's name: that name."""
        first = re.match(r"(?:#|//) ([\w-]+\.\w+)\n", self.text)
        return first[1] if first else None

    def __str__(self) -> str:
        """Where it is."""
        return f"{self.page}:{self.line}"


def blocks(page: Path) -> Iterator[Block]:
    """The page's fenced blocks, in their order."""
    inside: tuple[int, list[str], list[str]] | None = None
    for number, line in enumerate(page.read_text(encoding="utf-8").splitlines(), 1):
        fence = _FENCE.match(line)
        if inside is not None and fence and not fence[2]:
            began, words, lines = inside
            text = "".join(f"{each}\n" for each in lines)
            yield Block(page.name, began, words[0] if words else "", tuple(words[1:]), text)
            inside = None
        elif inside is not None:
            inside[2].append(line)
        elif fence:
            inside = number, fence[2].split(), []
    assert inside is None, f"{page}: a fenced block has no end"


def prose(page: Path) -> str:
    """The page without its fenced blocks; lines keep their numbers."""
    lines, fenced = [], False
    for line in page.read_text(encoding="utf-8").splitlines():
        if _FENCE.match(line):
            fenced = not fenced
            lines.append("")
        else:
            lines.append("" if fenced else line)
    return "\n".join(lines)


def headings(page: Path) -> set[str]:
    """The anchors of the page's headings, as GitHub makes them."""
    anchors: set[str] = set()
    for title in re.findall(r"^#+ +(.*)$", prose(page), re.MULTILINE):
        plain = re.sub(r"\[([^]]*)\]\([^)]*\)", r"\1", title).lower()
        anchor = base = re.sub(r"[^\w\- ]", "", plain).replace(" ", "-")
        number = 0
        while anchor in anchors:
            number += 1
            anchor = f"{base}-{number}"
        anchors.add(anchor)
    return anchors
