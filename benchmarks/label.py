"""Labelling a folder: the cost of a photo, and memory, must not depend on how many photos there are.

`python benchmarks/label.py COUNT HEIGHT WIDTH THREADS` labels a folder of so many photos in a fresh process.
"""

from __future__ import annotations

import sys
import tempfile
import time
from pathlib import Path
from statistics import median

import numpy as np
import torch
from fresh import numbers, resident
from PIL import Image
from rows import Row
from scene import PHOTOS, Scale, photo

import getam
from getam.engine.model import load_model

TIMES = 5  # so many more photos has the larger folder
COST_BAR, MEMORY_BAR = 1.1, 1.05


def measure(scale: Scale) -> list[Row]:
    """Rows: cost per photo and peak memory of the larger folder against the smaller."""
    few, many = scale.folder, TIMES * scale.folder
    costs, peaks, found = [], [], dict[int, list[tuple[float, float]]]({few: [], many: []})
    for turn in range(scale.repeats):
        for count in (few, many) if turn % 2 else (many, few):
            cost, peak = numbers(__file__, count, *scale.photo)
            found[count].append((cost, peak))
            print(
                f"  {turn + 1}/{scale.repeats} {count} photos: {cost:.3f} s each, peak {peak:.0f} MB",
                flush=True,
            )
        costs.append(found[many][-1][0] / found[few][-1][0])
        peaks.append(found[many][-1][1] / found[few][-1][1])
    size = f"{scale.photo[0]}×{scale.photo[1]}"
    each = {count: median(cost for cost, _ in runs) for count, runs in found.items()}
    highest = {count: median(high for _, high in runs) for count, runs in found.items()}
    return [
        Row("label", f"label: cost of a photo of {size} among {many}, against among {few}", median(costs), bar=COST_BAR,
            detail=f"{each[many]:.3g} s / {each[few]:.3g} s a photo"),
        Row("label", f"label: peak memory with {many} photos, against {few}", median(peaks), bar=MEMORY_BAR,
            detail=f"{highest[many]:.0f} MB / {highest[few]:.0f} MB"),
    ]  # fmt: skip


def write_folder(folder: Path, count: int, size: tuple[int, int], classes: tuple[str, ...]) -> None:
    """`count` JPEGs and a tags.csv with one or two tags each."""
    lines = ["image,tags"]
    pictures = [photo(name, *size).permute(1, 2, 0).numpy().astype(np.uint8) for name in PHOTOS]
    for index in range(count):
        Image.fromarray(np.roll(pictures[index % 4], 7 * index, axis=1)).save(
            folder / f"{index:05}.jpg", quality=90
        )
        tags = {classes[index % len(classes)], classes[(index // 2) % len(classes)]}
        lines.append(f"{index:05}.jpg,{';'.join(sorted(tags))}")
    (folder / "tags.csv").write_text("\n".join(lines) + "\n")


def main(count: int, size: tuple[int, int]) -> None:
    """Print seconds per photo and the peak; what torch does once happens before, on two photos."""
    net = load_model()
    with tempfile.TemporaryDirectory() as temporary:
        folders = [Path(temporary) / name for name in ("warm", "measured")]
        for folder, photos in zip(folders, (2, count)):
            folder.mkdir()
            write_folder(folder, photos, size, net.classes)
        getam.label(data=folders[0], out=folders[0] / "out")
        began = time.perf_counter()
        getam.label(data=folders[1], out=folders[1] / "out")
        print((time.perf_counter() - began) / count, resident("VmHWM"))


if __name__ == "__main__":
    torch.set_num_threads(int(sys.argv[4]))
    main(int(sys.argv[1]), (int(sys.argv[2]), int(sys.argv[3])))
