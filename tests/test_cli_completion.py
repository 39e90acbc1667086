"""Shell completion: what the script names, and what bash offers with it."""

from __future__ import annotations

import shutil
import subprocess
from functools import cache
from pathlib import Path

import pytest

from getam.cli_completion import completion
from getam.cli_verbs import VERBS


@cache
def script_of_bash() -> str:
    return completion("bash")


@pytest.mark.parametrize("shell", ["bash", "zsh", "fish"])
def test_the_script_names_verbs_and_their_options(shell: str) -> None:
    script = completion(shell)  # type: ignore[arg-type]
    for verb in VERBS:
        assert verb in script
    for option in ("--classes", "--on-bad-image", "--coupling", "--hold-out", "--against"):
        assert option in script
    assert ("complete -o filenames -F _getam getam" in script) == (shell == "bash")


def test_the_verb_prints_it(capsys: pytest.CaptureFixture[str]) -> None:
    from getam import cli

    assert cli.main(["completion", "bash"]) == 0
    assert capsys.readouterr() == (script_of_bash() + "\n", "")


def offered(folder: Path, *words: str) -> list[str]:
    """What bash shows where the last of the words is not complete yet, in a folder."""
    (folder / "script").write_text(script_of_bash())
    code = """
        source ./script
        complete -p getam | grep -q -- '-F _getam getam' || exit 1
        COMP_WORDS=("$@") COMP_CWORD=$(($# - 1))
        _getam
        printf '%s\\n' "${COMPREPLY[@]}"
    """
    done = subprocess.run(
        ["bash", "--norc", "-c", code, "-", "getam", *words],
        cwd=folder,
        capture_output=True,
        text=True,
        timeout=60,
    )
    assert (done.returncode, done.stderr) == (0, "")
    return [line for line in done.stdout.splitlines() if line]


needs_bash = pytest.mark.skipif(
    not (shutil.which("bash") and shutil.which("python3")), reason="the script runs in bash and asks python3"
)


@needs_bash
@pytest.mark.parametrize(
    ("words", "wanted"),
    [
        (["la"], ["label"]),
        (["label", "--c"], ["--calibrate", "--classes", "--coupling"]),
        (["label", "--data", "D", "--cl"], ["--classes"]),
        (["label", "--on-bad-image", "s"], ["skip"]),
        (["data", ""], ["check", "coco", "split", "voc"]),
        (["data", "ch"], ["check"]),
        (["data", "check", "D", "--sp"], ["--splits"]),
        (["data-check", "D", "--sp"], ["--splits"]),
        (["predict", "pho"], ["photo 1.jpg", "photos"]),
        (["label", "--data", "photos"], ["photos"]),
        (["predict", "nothing"], []),
    ],
)
def test_what_bash_offers(tmp_path: Path, words: list[str], wanted: list[str]) -> None:
    (tmp_path / "photos").mkdir()
    (tmp_path / "photo 1.jpg").touch()
    assert sorted(offered(tmp_path, *words)) == wanted
