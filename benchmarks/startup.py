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
from tempfile import TemporaryDirectory

import skimage.data
from PIL import Image
from rows import Row
from scene import Scale

BAR, PREDICT_BAR = 0.5, 1.0
COMMANDS = {
    "import getam": (["-c", "import getam"], BAR),
    "getam --help": (["-m", "getam", "--help"], BAR),
    "getam explain --help": (["-m", "getam", "explain", "--help"], None),  # loads the verb, and torch with it
    "import torch": (["-c", "import torch"], None),
}


def measure(scale: Scale) -> list[Row]:
    """A row per command."""
    with TemporaryDirectory() as folder:
        return measured({**COMMANDS, **predictions(Path(folder))}, scale.repeats)


def predictions(folder: Path) -> dict[str, tuple[list[str], float | None]]:
    """`getam predict` of one photo, whole: with the embedded model as an ONNX file, and in torch."""
    Image.fromarray(skimage.data.chelsea()).save(folder / "cat.jpg")
    file = str(folder / "animals.onnx")
    subprocess.run(
        [sys.executable, "-m", "getam", "export", "embedded", "--out", file], check=True, env=environment()
    )
    call = ["-m", "getam", "predict", str(folder / "cat.jpg"), "--out", str(folder / "masks"), "--overwrite"]
    return {
        "getam predict photo.jpg --model animals.onnx --no-crf": (
            [*call, "--model", file, "--no-crf"],
            PREDICT_BAR,
        ),
        "getam predict photo.jpg --model animals.onnx": ([*call, "--model", file], None),
        "getam predict photo.jpg --no-crf": ([*call, "--no-crf"], None),
    }


def measured(commands: dict[str, tuple[list[str], float | None]], repeats: int) -> list[Row]:
    """Each command `repeats` times, in turns, after once to warm up."""
    seconds: dict[str, list[float]] = {name: [] for name in commands}
    for turn in range(repeats + 1):
        for name, (arguments, _) in commands.items():
            took = processor_seconds(arguments)
            print(f"  {turn or 'warm-up'} {name}: {took:.2f} s", flush=True)
            if turn:
                seconds[name].append(took)
    return [
        Row("startup", f"`{name}`: processor time of a fresh process", median(seconds[name]), "s", bar=bar,
            detail=f"{min(seconds[name]):.2f}–{max(seconds[name]):.2f} s")
        for name, (_, bar) in commands.items()
    ]  # fmt: skip


def processor_seconds(arguments: list[str]) -> float:
    """User and system time of `python ARGUMENTS`."""
    before = resource.getrusage(resource.RUSAGE_CHILDREN)
    quiet = subprocess.DEVNULL
    subprocess.run([sys.executable, *arguments], stdout=quiet, stderr=quiet, check=True, env=environment())
    after = resource.getrusage(resource.RUSAGE_CHILDREN)
    return after.ru_utime + after.ru_stime - before.ru_utime - before.ru_stime


def environment() -> dict[str, str]:
    """In which the package is found."""
    return {**os.environ, "PYTHONPATH": str(Path(__file__).resolve().parent.parent / "src")}
