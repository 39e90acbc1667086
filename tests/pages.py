"""What the tests of README and docs read out of a page: its blocks of code, and the commands in them."""

from __future__ import annotations

import re
import shlex
from collections.abc import Iterator
from dataclasses import dataclass
from functools import partial
from pathlib import Path
from typing import Any

from getam import cli

ROOT = Path(__file__).parents[1]
README = ROOT / "README.md"
DOCS = ROOT / "docs"
WRITTEN_BY_HAND = sorted(DOCS.glob("*.md"))


@dataclass(frozen=True)
class Block:
    """A fenced block of a page.

    Attributes:
        language: what follows the opening fence.
        text: what is inside.
        line: of the opening fence, from 1.
        named: the last thing that the paragraph before has as `NAME`: the file that is shown; "" where none is.
        heading: of the section of level 2 it stands in.
    """

    language: str
    text: str
    line: int
    named: str
    heading: str


def blocks(page: Path, language: str | None = None) -> list[Block]:
    """The fenced blocks of a page, in order; those of one language."""
    found = []
    text = page.read_text()
    for match in re.finditer(r"^```([^\n`]*)\n(.*?)^```$", text, re.DOTALL | re.MULTILINE):
        before = text[: match.start()]
        headings = re.findall(r"^## (.*)$", before, re.MULTILINE)
        names = re.findall(r"`([^`\n]+)`", before.rstrip().rpartition("\n\n")[2])
        found.append(
            Block(
                match[1].strip(),
                match[2],
                before.count("\n") + 1,
                names[-1] if names else "",
                headings[-1] if headings else "",
            )
        )
    return [block for block in found if language in (None, block.language)]


def commands(page: Path) -> Iterator[tuple[int, list[str]]]:
    """(line, words) of every `getam …` of the blocks in bash, comments left out and variables put in."""
    for block in blocks(page, "bash"):
        variables: dict[str, str] = {}
        text = block.text.replace("\\\n", "  ")
        for number, row in enumerate(text.splitlines(), start=block.line + 1):
            if given := re.fullmatch(r"([A-Z]+)=\"(.*)\".*", row):
                variables[given[1]] = given[2]
            for name, value in variables.items():
                row = row.replace(f"${name}", value)
            words = shlex.split(row, comments=True)
            if words[:1] == ["getam"]:
                yield number, words[1:]


def options_of(words: list[str]) -> dict[str, Any]:
    """What the parser makes of a command line. Raises `SystemExit` for one it does not take."""
    given = cli.joined(cli.split_commas(words))
    call = cli.parse(given, whole=given[:1])
    assert isinstance(call, partial)
    return call.keywords
