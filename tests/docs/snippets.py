"""What the README and the pages of docs/ tell a reader to type: files, commands and Python.

page = Page("docs/start.md")
page.files()      # {"mails.jsonl": …}: blocks with a title are files
page.commands()   # [["dsa-edge", "doctor"], …], in order
page.python()     # the Python of the page, in one piece
"""

from __future__ import annotations

import re
import shlex
from dataclasses import dataclass
from pathlib import Path

__all__ = ["PAGES", "ROOT", "Fence", "Page"]

ROOT = Path(__file__).parents[2]
# At the margin, for blocks that are indented belong to lists, which we do not use for code.
FENCE = re.compile(r'^```(\w*)(?: title="([^"]+)")?\n(.*?)^```$', re.DOTALL | re.MULTILINE)


@dataclass(frozen=True)
class Fence:
    """A block of code: its language, the name of the file that it is, if any, and its text."""

    language: str
    title: str
    text: str


@dataclass(frozen=True)
class Page:
    """A page by its path in the repository."""

    name: str

    @property
    def text(self) -> str:
        return (ROOT / self.name).read_text("utf-8")

    def fences(self, language: str | None = None) -> list[Fence]:
        """Its blocks of code, of one language or of all."""
        found = [Fence(*parts) for parts in FENCE.findall(self.text)]
        return [fence for fence in found if language in (None, fence.language)]

    def files(self) -> dict[str, str]:
        """The files that the page tells to write, by name."""
        return {fence.title: fence.text for fence in self.fences() if fence.title}

    def commands(self) -> list[list[str]]:
        """Each command in words, without its comment; what `&&` joins are several."""
        text = "".join(fence.text for fence in self.fences("sh")).replace("\\\n", " ")
        lines = [shlex.split(line, comments=True) for line in text.splitlines()]
        return [command for line in lines for command in _parts(line) if command]

    def python(self) -> str:
        """All Python of the page."""
        return "\n".join(fence.text for fence in self.fences("python"))


def _parts(words: list[str]) -> list[list[str]]:
    parts: list[list[str]] = [[]]
    for word in words:
        if word == "&&":
            parts.append([])
        else:
            parts[-1].append(word)
    return parts


PAGES = [
    Page(str(path.relative_to(ROOT)))
    for path in [ROOT / "README.md", *sorted((ROOT / "docs").rglob("*.md"))]
]
