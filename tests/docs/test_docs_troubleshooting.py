"""Every message of the troubleshooting page is still one of ours, word by word."""

from __future__ import annotations

import ast
import re
from functools import cache

import pytest

from pages import DOCS, ROOT

PAGE = (DOCS / "troubleshooting.md").read_text()
MESSAGES = re.findall(r"^\*\*`(.*)`\*\*$", PAGE, re.MULTILINE)
GAP = "\0"


@cache
def templates() -> tuple[str, ...]:
    """All texts of the source that stand in one piece, with a gap where something is put in."""
    found = []
    for file in sorted((ROOT / "src").rglob("*.py")):
        for node in ast.walk(ast.parse(file.read_text())):
            if isinstance(node, ast.JoinedStr):
                parts = [str(each.value) if isinstance(each, ast.Constant) else GAP for each in node.values]
                found.append("".join(parts))
            elif isinstance(node, ast.Constant) and isinstance(node.value, str):
                found.append(node.value)
    return tuple(found)


def occurs(message: str) -> bool:
    """Whether the fixed parts of a message stand in one text, in order; gaps of both may hold anything."""
    parts = [part.strip() for part in message.split("…")]
    pattern = re.compile(".*?".join(map(re.escape, parts)), re.DOTALL)
    return any(pattern.search(" ".join(text.split())) for text in templates())


def test_there_are_messages() -> None:
    assert len(MESSAGES) > 50
    assert len(set(MESSAGES)) == len(MESSAGES)


@pytest.mark.parametrize("message", MESSAGES)
def test_it_is_said(message: str) -> None:
    assert max(len(part) for part in message.split("…")) > 10, "too little of it is fixed"
    assert occurs(message)


def test_a_message_that_changed_is_noticed() -> None:
    assert occurs("tags file … does not exist: check the path.")
    assert not occurs("tags file … is not there: check the path.")
    assert not occurs("check the path. … tags file … does not exist")
