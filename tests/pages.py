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
MEASURING = ROOT / "benchmarks" / "README.md"
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
    """(line, words) of every `getam …` of the blocks in bash."""
    return ((line, words[1:]) for line, words in shell_lines(page) if words[:1] == ["getam"])


def shell_lines(page: Path) -> Iterator[tuple[int, list[str]]]:
    """(line, words) of the commands of the blocks in bash, comments left out and variables put in."""
    variables: dict[str, str] = {}
    for block in blocks(page, "bash"):
        text = block.text.replace("\\\n", "  ")
        for number, row in enumerate(text.splitlines(), start=block.line + 1):
            row = re.sub(r"\$([A-Z_]+)", lambda found: variables.get(found[1], found[0]), row)
            if given := re.fullmatch(r"([A-Z_]+)=(\"?)([^\"]*)\2( *#.*)?", row):
                variables[given[1]] = given[3]
            elif words := shlex.split(row, comments=True):
                yield number, words


def options_of(words: list[str]) -> dict[str, Any]:
    """What the parser makes of a command line. Raises `SystemExit` for one it does not take."""
    given = cli.joined(cli.split_commas(words))
    call = cli.parse(given, whole=given[:1])
    assert isinstance(call, partial)
    return call.keywords
