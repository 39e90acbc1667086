"""Progress on stderr: a bar on a terminal, now and then a line elsewhere; notes are shown as they are."""

from __future__ import annotations

import io
import sys
import time

import pytest

from getam.outputs import progress as room
from getam.outputs.progress import progress


class Terminal(io.StringIO):
    def isatty(self) -> bool:
        return True


def test_on_a_terminal_names_are_no_markup(monkeypatch: pytest.MonkeyPatch) -> None:
    terminal = Terminal()
    monkeypatch.setattr(sys, "stderr", terminal)
    monkeypatch.setenv("COLUMNS", "200")
    with progress("reading [b]", 3) as advance:
        advance(2, "a[/b]")
    shown = terminal.getvalue()
    assert "reading [b]" in shown
    assert "2/3" in shown
    assert "a[/b]" in shown


def test_elsewhere_a_line_at_the_end_and_now_and_then(
    monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    clock = [100.0]
    monkeypatch.setattr(time, "monotonic", lambda: clock[0])
    with progress("reading", 5) as advance:
        for done, seconds in enumerate((10.0, 14.9, 15.0, 29.9, 30.0), start=1):
            clock[0] = 100.0 + seconds
            advance(done, f"photo{done}")
    printed = capsys.readouterr()
    assert printed.out == ""
    assert printed.err.splitlines() == ["reading 3/5 15 s photo3", "reading 5/5 30 s photo5"]


def test_the_last_line_comes_whatever_the_time(capsys: pytest.CaptureFixture[str]) -> None:
    with progress("reading", 2) as advance:
        advance(1)
        advance(2)
    assert capsys.readouterr().err == "reading 2/2 0 s\n"
    assert room.PLAIN_EVERY_SECONDS == 15
