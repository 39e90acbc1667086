"""A training step under the settings of malloc that `getam train` starts with, against malloc as it is: glibc's.

`python benchmarks/malloc.py STEPS SIZE BATCH THREADS` is one process and prints a step's median seconds and the peak
memory of the process in megabytes.
"""

from __future__ import annotations

import sys
import time
from statistics import median

import torch
from fresh import numbers, resident
from rows import Row
from scene import FULL, Scale
from step import network, step

from getam.engine.malloc import KEEPING, SETTINGS
from getam.recipes.supervised import SupervisedConfig, SupervisedRecipe

BAR = 0.9
STEPS, WARM = 8, 2
CLASSES = 6
SETTINGS_OF = {"kept": {SETTINGS: KEEPING}, "as it is": {SETTINGS: ""}}


def measure(scale: Scale) -> list[Row]:
    """Rows of time and memory, the hybrid learning from masks as `getam train` trains it by default."""
    size, batch = (224, 16) if scale.side == FULL.side else (64, 2)
    found: dict[str, list[list[float]]] = {name: [] for name in SETTINGS_OF}
    for turn in range(scale.repeats):
        for name in (*SETTINGS_OF,)[:: -1 if turn % 2 else 1]:
            found[name].append(numbers(__file__, STEPS, size, batch, settings=SETTINGS_OF[name]))
            print(f"  {turn + 1}/{scale.repeats} {name}: {found[name][-1][0]:.3f} s", flush=True)
    (ours, our_peak), (plain, plain_peak) = (
        [median(values) for values in zip(*found[name])] for name in SETTINGS_OF
    )
    ratios = [a[0] / b[0] for a, b in zip(*found.values())]
    what = f"a training step of the default hybrid, {batch} crops at {size}², with `getam train`'s settings of malloc, "
    return [
        Row("malloc", what + "against malloc as it is", median(ratios), bar=BAR,
            detail=f"{ours:.3g} s / {plain:.3g} s, rounds {min(ratios):.3g}–{max(ratios):.3g}"),
        Row("malloc", "the same: peak memory of the process", our_peak / plain_peak,
            detail=f"{our_peak:.0f} MB / {plain_peak:.0f} MB"),
    ]  # fmt: skip


def main() -> None:
    """One process."""
    steps, size, batch, threads = map(int, sys.argv[1:])
    torch.set_num_threads(threads)
    config = SupervisedConfig(weights="", size=size, batch_size=batch)
    one = step(SupervisedRecipe(), network(config, CLASSES), training_batch(batch, size), config)
    seconds = []
    for _ in range(WARM + steps):
        began = time.perf_counter()
        one()
        seconds.append(time.perf_counter() - began)
    print(median(seconds[WARM:]), resident("VmHWM"))


def training_batch(batch: int, size: int) -> dict[str, torch.Tensor]:
    """Noise with random masks: time does not depend on them."""
    generator = torch.Generator().manual_seed(0)
    return {
        "image": torch.rand(batch, 3, size, size, generator=generator) * 255,
        "tags": torch.ones(batch, CLASSES),
        "mask": torch.randint(0, CLASSES + 1, (batch, size, size), dtype=torch.uint8, generator=generator),
        "roi": torch.ones(batch, size, size, dtype=torch.bool),
    }


if __name__ == "__main__":
    main()
