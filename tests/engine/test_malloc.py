"""Commands that train start again with settings of malloc, once, as the same process; all others do not."""

from __future__ import annotations

import os
import subprocess
import sys
from pathlib import Path

import pytest

from getam.engine import malloc
from getam.engine.malloc import KEEPING, SETTINGS, keeping

CALL = """
import os, sys, types
print(os.getpid(), os.environ.get("GLIBC_TUNABLES", "none"), flush=True)
{before}
from getam import cli
cli.main = lambda: print("done", *sys.argv[1:]) or 3
cli.run()
"""
GLIBC = pytest.mark.skipif(not malloc._is_glibc(), reason="malloc is not glibc's")


def ended(arguments: list[str], before: str = "", **settings: str) -> tuple[list[str], int]:
    """What the lines of a command were, and its status; `before` is done in its process first."""
    environment = {name: value for name, value in os.environ.items() if name != SETTINGS}
    done = subprocess.run(
        [sys.executable, "-c", CALL.format(before=before), *arguments],
        capture_output=True,
        text=True,
        env={**environment, **settings},
    )
    assert done.stderr == ""
    return done.stdout.splitlines(), done.returncode


@GLIBC
def test_a_command_that_trains_starts_again_once_as_the_same_process() -> None:
    (first, second, third), status = ended(["train", "--out", "a folder", "--classes", ""])
    before, after = first.split(" ", 1), second.split(" ", 1)
    assert before[0] == after[0]  # a signal sent to it still reaches it
    assert (before[1], after[1]) == ("none", KEEPING)
    assert third == "done train --out a folder --classes "
    assert status == 3


@pytest.mark.parametrize("arguments", [[], ["predict", "train"], ["evaluate", "demo"]])
def test_other_commands_do_not(arguments: list[str]) -> None:
    (first, second), status = ended(arguments)
    assert first.endswith(" none")
    assert second.split(" ")[1:] == arguments
    assert status == 3


def test_settings_of_somebody_stay() -> None:
    (first, second), _ = ended(["demo"], GLIBC_TUNABLES="glibc.malloc.check=1")
    assert first.endswith(" glibc.malloc.check=1")
    assert second == "done demo"


@pytest.mark.parametrize(
    "before",
    [
        "sys.settrace(lambda *_: None)", "sys.setprofile(lambda *_: None)",
        "sys.modules['pydevd'] = types.ModuleType('pydevd')", "sys.executable = ''",
    ],
)  # fmt: skip
def test_a_process_that_is_followed_goes_on(before: str) -> None:
    (_, second), status = ended(["train"], before)
    assert (second, status) == ("done train", 3)


@GLIBC
def test_nothing_else_of_the_environment_changes() -> None:
    assert keeping({"PATH": "a", "RANK": "1"}) == {"PATH": "a", "RANK": "1", SETTINGS: KEEPING}
    assert keeping({SETTINGS: ""}) is None  # how to have malloc as it is


@pytest.mark.parametrize("confstr", [lambda name: None, lambda name: 1 / 0])
def test_another_malloc_is_left(confstr: object, monkeypatch: pytest.MonkeyPatch) -> None:
    def missing(name: str) -> str | None:
        try:
            return confstr(name)  # type: ignore[operator,no-any-return]
        except ZeroDivisionError:
            raise ValueError("unrecognized configuration name") from None

    monkeypatch.setattr(os, "confstr", missing)
    assert keeping({}) is None
    monkeypatch.delattr(os, "confstr")
    assert keeping({}) is None


@GLIBC
def test_glibc_takes_the_settings(tmp_path: Path) -> None:
    (tmp_path / "held.py").write_text(
        "import ctypes, re\n"
        "libc = ctypes.CDLL(None)\n"
        "libc.malloc.restype = ctypes.c_void_p\n"
        "libc.free.argtypes = [ctypes.c_void_p]\n"
        "block = libc.malloc(100_000_000)\n"
        "ctypes.memset(block, 1, 100_000_000)\n"
        "libc.free(block)\n"
        "print(int(re.search(r'VmRSS:\\s+(\\d+)', open('/proc/self/status').read())[1]))\n"
    )
    kept, gone = (
        int(
            subprocess.run(
                [sys.executable, str(tmp_path / "held.py")], capture_output=True, env=env, check=True
            ).stdout
        )
        for env in ({SETTINGS: KEEPING}, {})
    )
    assert kept > gone + 90_000
