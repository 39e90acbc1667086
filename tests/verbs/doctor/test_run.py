"""The whole of `getam doctor`: on this machine, without a socket, and with parts that fail."""

from __future__ import annotations

import os
import socket
import subprocess
import sys
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import pytest

import getam
from getam import cli
from getam.engine import model
from getam.nets import masks
from getam.verbs.doctor import run, trial
from getam.verbs.doctor.finding import Finding, looked
from getam.verbs.doctor.run import Diagnosis

SECTIONS = ["versions", "extras", "devices", "threads", "photos", "caches", "network", "trial"]


def test_here_it_works_and_opens_no_socket(
    monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    opened: list[object] = []

    def opening(*args: object, **options: object) -> Any:
        opened.append(args)
        raise OSError("no network in this test")

    for name in ("socket", "create_connection", "getaddrinfo"):
        monkeypatch.setattr(socket, name, opening)
    found = getam.doctor()
    assert opened == []
    assert found.exit_code == 0
    assert list(dict.fromkeys(each.about for each in found.findings)) == SECTIONS
    text = capsys.readouterr().out
    assert "getam works" in text
    assert "torchvision" in text
    (tried,) = [each for each in found.findings if each.about == "trial"]
    assert tried.value.startswith("loaded in ")


def only(monkeypatch: pytest.MonkeyPatch, *found: Finding) -> None:
    """A doctor that finds this and nothing else."""
    for name in ("versions", "extras", "devices", "threads", "decoders", "folders", "trial"):
        monkeypatch.setattr(run, name, lambda: iter(()))
    monkeypatch.setattr(run, "hub", lambda *, network: iter(found))


@pytest.mark.parametrize(
    ("found", "code", "end"),
    [
        ([Finding("a", "b", "c")], 0, "getam works"),
        ([Finding("a", "b", "c", "do it", problem=True)], 0, "getam works; 1 problems (!) are worth a look"),
        ([Finding("a", "b", "c", "do it", problem=True), Finding("a", "d", "e", "so", problem=True, stops=True)], 1,
         "1 of 2 problems (!) keep getam from working"),
    ],
)  # fmt: skip
def test_exit_code_and_last_line(
    monkeypatch: pytest.MonkeyPatch,
    capsys: pytest.CaptureFixture[str],
    found: list[Finding],
    code: int,
    end: str,
) -> None:
    only(monkeypatch, *found)
    assert cli.main(["doctor"]) == code
    lines = capsys.readouterr().out.splitlines()
    assert lines[-1] == end
    for each in found:
        (row,) = [line for line in lines if f" {each.name} " in line]
        assert each.remedy in row
        assert (f"! {each.value}" in row) == each.problem


@pytest.mark.parametrize("network", [True, False])
def test_the_network_is_asked_on_request(monkeypatch: pytest.MonkeyPatch, network: bool) -> None:
    asked: list[bool] = []

    def ask(*, network: bool) -> Iterator[Finding]:
        asked.append(network)
        yield Finding("network", "hub", "")

    only(monkeypatch)
    monkeypatch.setattr(run, "hub", ask)
    assert cli.main(["doctor", *(["--network"] if network else [])]) == 0
    assert asked == [network]


def test_what_cannot_be_told_stops() -> None:
    def broken() -> Iterator[Finding]:
        yield Finding("devices", "cpu", "2")
        raise ImportError("libcudart.so\n  is missing")

    first, second = looked("devices", broken)
    assert first == Finding("devices", "cpu", "2")
    assert (second.about, second.value) == ("devices", "ImportError: libcudart.so is missing")
    assert second.problem
    assert second.stops
    assert Diagnosis((first,)).exit_code == 0
    assert Diagnosis((first, second)).exit_code == 1
    assert Diagnosis((first, second)).problems == (second,)


@pytest.mark.parametrize("wrong", [lambda label: label[1:], lambda label: label * 0 + 200])
def test_a_trial_that_fails_is_no_success(
    monkeypatch: pytest.MonkeyPatch, wrong: Callable[[Any], Any]
) -> None:
    segment = masks.segment
    monkeypatch.setattr(masks, "segment", lambda net, photo: wrong(segment(net, photo)))
    (found,) = looked("trial", trial.trial)
    assert found.stops
    assert "192×192" in found.value


def test_a_model_that_is_not_there_stops(monkeypatch: pytest.MonkeyPatch) -> None:
    def missing() -> None:
        raise getam.InputError("this build of getam carries no embedded model")

    monkeypatch.setattr(model, "embedded_model", missing)
    (found,) = looked("trial", trial.trial)
    assert found.stops
    assert "no embedded model" in found.value


def test_where_packages_are_broken_the_doctor_still_speaks(tmp_path: Path) -> None:
    """Pillow, torch and numpy, in a process of its own."""
    for package in ("PIL", "torch", "numpy"):
        (tmp_path / f"{package}.py").write_text("raise ImportError('no such library')")
    paths = os.pathsep.join([str(tmp_path), str(Path(cli.__file__).parents[1])])
    done = subprocess.run(
        [sys.executable, "-m", "getam", "doctor"], capture_output=True, text=True, timeout=280,
        env={"PYTHONPATH": paths, "PATH": "", "COLUMNS": "300", "PYTHONIOENCODING": "utf-8"},
    )  # fmt: skip
    assert done.returncode == 1, done.stderr
    assert "Traceback" not in done.stderr
    assert "keep getam from working" in done.stdout
    for package in ("torch", "pillow", "numpy"):
        (row,) = [line for line in done.stdout.splitlines() if f"│ {package} " in line]
        assert "cannot be loaded, ImportError: no such library" in row
