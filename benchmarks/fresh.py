"""Run a measurement in a process of its own, and read how much memory a process holds; Linux."""

from __future__ import annotations

import os
import re
import subprocess
import sys
from collections.abc import Mapping
from pathlib import Path

import torch

MEGABYTE = 1e6


def numbers(script: str, *arguments: object, settings: Mapping[str, str] | None = None) -> list[float]:
    """What `python script arguments… THREADS` prints, with as many threads as this process has.

    `settings` are of its environment.
    """
    command = [sys.executable, script, *map(str, arguments), str(torch.get_num_threads())]
    paths = os.pathsep.join(path for path in sys.path if path)
    environment = {**os.environ, "PYTHONPATH": paths, **(settings or {})}
    done = subprocess.run(command, capture_output=True, text=True, env=environment, check=False)
    if done.returncode != 0:
        raise SystemExit(f"{' '.join(command)} failed:\n{done.stderr}")
    return [float(number) for number in done.stdout.split()]


def resident(field: str) -> float:
    """VmRSS (now) or VmHWM (peak) of this process, in megabytes."""
    status = Path("/proc/self/status").read_text()
    found = re.search(rf"^{field}:\s+(\d+) kB", status, re.MULTILINE)
    if found is None:
        raise SystemExit(f"/proc/self/status has no {field}: this measurement needs Linux")
    return int(found[1]) * 1024 / MEGABYTE


def forget_peak() -> None:
    """Let VmHWM start anew from what is resident now."""
    Path("/proc/self/clear_refs").write_text("5")
