"""What a person waits for before anything happens: processor seconds of `import getam` and of the helps.

Each is a fresh process, once warmed up, in turns. Processor time, for it does not depend on who else is busy.
"""

from __future__ import annotations

import os
import resource
import subprocess
import sys
from pathlib import Path
from statistics import median

from rows import Row
from scene import Scale

BAR = 0.5
COMMANDS = {
    "import getam": (["-c", "import getam"], BAR),
    "getam --help": (["-m", "getam", "--help"], BAR),
    "getam explain --help": (["-m", "getam", "explain", "--help"], None),  # loads the verb, and torch with it
    "import torch": (["-c", "import torch"], None),
}


def measure(scale: Scale) -> list[Row]:
    """A row per command."""
    seconds: dict[str, list[float]] = {name: [] for name in COMMANDS}
    for turn in range(scale.repeats + 1):
        for name, (arguments, _) in COMMANDS.items():
            took = processor_seconds(arguments)
            print(f"  {turn or 'warm-up'} {name}: {took:.2f} s", flush=True)
            if turn:
                seconds[name].append(took)
    return [
        Row("startup", f"`{name}`: processor time of a fresh process", median(seconds[name]), "s", bar=bar,
            detail=f"{min(seconds[name]):.2f}–{max(seconds[name]):.2f} s")
        for name, (_, bar) in COMMANDS.items()
    ]  # fmt: skip


def processor_seconds(arguments: list[str]) -> float:
    """User and system time of `python ARGUMENTS`."""
    before = resource.getrusage(resource.RUSAGE_CHILDREN)
    source = str(Path(__file__).resolve().parent.parent / "src")
    subprocess.run(
        [sys.executable, *arguments], stdout=subprocess.DEVNULL, check=True, env={**os.environ, "PYTHONPATH": source}
    )  # fmt: skip
    after = resource.getrusage(resource.RUSAGE_CHILDREN)
    return after.ru_utime + after.ru_stime - before.ru_utime - before.ru_stime
