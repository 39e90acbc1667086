"""`--devices N` starts the command again N times, hands signals on, and says in a sentence which process was killed."""

from __future__ import annotations

import json
import os
import signal
import subprocess
import sys
import time
from pathlib import Path
from typing import Any

import pytest
import torch.distributed.launcher.api as api
from torch.distributed.elastic.multiprocessing.api import SignalException
from torch.distributed.elastic.multiprocessing.errors import ChildFailedError, ProcessFailure

from getam import cli
from getam.engine.hardware import NotLaunchedError
from getam.engine.launch import launch
from getam.engine.runfolder import RunFolder


def failed(code: int) -> ChildFailedError:
    return ChildFailedError(
        "getam", {1: ProcessFailure(local_rank=1, pid=7, exitcode=code, error_file="none")}
    )


@pytest.mark.parametrize(
    ("end", "status", "said"),
    [
        (None, 0, ""),
        (failed(2), 2, ""),
        (failed(-9), 137, "process 2 of 3 was ended by SIGKILL, and the others with it: the same command goes on"),
        (SignalException("asked", signal.SIGTERM), 143, ""),
        (SignalException("asked", signal.SIGINT), 130, ""),
    ],
)  # fmt: skip
def test_the_status_says_how_it_ended(
    end: Exception | None, status: int, said: str, monkeypatch: pytest.MonkeyPatch,
    capsys: pytest.CaptureFixture[str],
) -> None:  # fmt: skip
    seen: dict[str, Any] = {}

    def elastic(config: Any, entry: str) -> Any:
        def run(*arguments: str) -> None:
            seen.update(config=config, command=[entry, *arguments], threads=os.environ["OMP_NUM_THREADS"])
            if end is not None:
                raise end

        return run

    monkeypatch.setattr(api, "elastic_launch", elastic)
    monkeypatch.setattr(os, "cpu_count", lambda: 8)
    monkeypatch.delenv("OMP_NUM_THREADS", raising=False)
    assert launch(["train", "--devices", "3"], 3) == status
    assert seen["command"] == [sys.executable, "-m", "getam", "train", "--devices", "3"]
    config = seen["config"]
    assert (config.nproc_per_node, config.min_nodes, config.max_nodes, config.max_restarts) == (3, 1, 1, 0)
    assert seen["threads"] == "2"
    error = capsys.readouterr().err
    assert said in error
    assert bool(said) == bool(error)


def test_threads_that_are_set_stay(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(api, "elastic_launch", lambda *_: lambda *_: None)
    monkeypatch.setenv("OMP_NUM_THREADS", "5")
    launch(["train"], 2)
    assert os.environ["OMP_NUM_THREADS"] == "5"


def test_the_command_line_launches_what_asks_for_it(monkeypatch: pytest.MonkeyPatch) -> None:
    def call() -> None:
        raise NotLaunchedError("several", 4)

    launched: list[Any] = []
    monkeypatch.setattr(cli, "parse", lambda *_, **__: call)
    monkeypatch.setattr(cli, "launch", lambda *given: launched.append(given) or 7)
    typed = ["train", "--classes", r"red\, blue,green"]
    assert cli.main(typed) == 7
    assert launched == [(typed, 4)]  # as they were typed: they are split once more


def started(scenes: Path, out: Path, *options: str) -> subprocess.Popen[str]:
    """A training that would take hours, with a line of its log written."""
    command = [
        sys.executable, "-m", "getam", "train", "--data", str(scenes / "photos"), "--tags", str(scenes / "tags.csv"),
        "--out", str(out), "--backbone", "small-hybrid", "--size", "32", "--batch-size", "4", "--steps", "1000000",
        "--saliency", "none", "--accelerator", "cpu", *options,
    ]  # fmt: skip
    places = os.pathsep.join(path for path in sys.path if path)
    log = out / "metrics.jsonl"
    before = log.stat().st_size if log.is_file() else 0
    running = subprocess.Popen(
        command, env={**os.environ, "PYTHONPATH": places}, stderr=subprocess.PIPE, text=True
    )
    while running.poll() is None and (not log.is_file() or log.stat().st_size <= before):
        time.sleep(0.1)
    return running


def step_of(out: Path) -> int:
    return int((RunFolder(out).state() or {"step": 0})["step"])


@pytest.mark.slow
@pytest.mark.timeout(1800)
def test_two_then_four_one_of_which_is_killed_then_one(scenes: Path, tmp_path: Path) -> None:
    out = tmp_path / "run"
    two = started(scenes, out, "--devices", "2")
    two.send_signal(signal.SIGTERM)
    said = two.communicate(timeout=300)[1]
    assert two.returncode == 143, said
    assert "was stopped after step" in said
    first = step_of(out)
    assert first > 0
    four = started(scenes, out, "--devices", "4")
    children = Path(f"/proc/{four.pid}/task/{four.pid}/children").read_text().split()
    os.kill(int(children[-1]), signal.SIGKILL)
    said = four.communicate(timeout=300)[1]
    assert four.returncode == 137, said
    assert "of 4 was ended by SIGKILL, and the others with it: the same command goes on" in said
    assert step_of(out) >= first
    one = started(scenes, out)
    one.send_signal(signal.SIGTERM)
    said = one.communicate(timeout=300)[1]
    assert one.returncode == 143, said
    assert step_of(out) > first
    logged = [json.loads(line)["step"] for line in (out / "metrics.jsonl").read_text().splitlines()]
    assert logged == sorted(set(logged))
