"""A training that is killed, wherever it is, and continued by the same command, ends as one that was never stopped."""

from __future__ import annotations

import json
import os
import subprocess
import sys
from pathlib import Path

import pytest


@pytest.mark.parametrize(
    ("mode", "kills", "recipe"),
    [
        ("random", 50, "getam"),
        pytest.param("files", 0, "getam", marks=pytest.mark.slow),
        pytest.param("random", 50, "self-training", marks=pytest.mark.slow),
        pytest.param("files", 0, "self-training", marks=pytest.mark.slow),
    ],
)
@pytest.mark.timeout(3000)
def test_a_killed_run_ends_as_one_never_stopped(
    scenes: Path, tmp_path: Path, mode: str, kills: int, recipe: str
) -> None:
    places = os.pathsep.join(path for path in sys.path if path)
    script = Path(__file__).with_name("kill_points.py")
    call = [sys.executable, str(script), str(scenes), str(tmp_path), mode, "7", str(kills), recipe]
    done = subprocess.run(
        call, env={**os.environ, "PYTHONPATH": places, "OMP_NUM_THREADS": "1"}, capture_output=True, text=True,
        timeout=3000,
    )  # fmt: skip
    log = tmp_path / "log.txt"
    assert done.returncode == 0, done.stderr[-2000:] + (log.read_text()[-2000:] if log.is_file() else "")
    found = json.loads((tmp_path / "kills.json").read_text())
    assert found["differ"] == []
    assert found["kills"] >= (kills or 20)
