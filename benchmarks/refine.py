"""PAMR, permutohedral lattice, dense energy and dense CRF: seconds, memory, correlation, growth with size.

`python benchmarks/refine.py HEIGHT WIDTH THREADS` refines one photo in a fresh process and prints what memory it took.
"""

from __future__ import annotations

import math
import sys
from collections.abc import Callable, Sequence
from functools import partial
from statistics import median

import torch
from clock import rounds
from fresh import forget_peak, numbers, resident
from rows import Row
from scene import PHOTOS, Scale, crops, photo
from torch import Tensor

from getam.losses.dense_energy import dense_energy
from getam.refine.crf import dense_crf
from getam.refine.crf_parameters import IRN
from getam.refine.lattice import PermutohedralLattice
from getam.refine.pamr import pamr

PAMR_SECONDS, PAMR_MEGABYTES, DENSE_SECONDS = 1.0, 200.0, 0.5
CRF_SECONDS = {3: 1.0, 21: 3.0}
CORRELATION = 0.99
EXPONENT = 1.1  # time ∝ size^exponent, fitted in log-log: what still counts as linear
FIT_CHANNELS = 3  # of the fit over pixels
FIT_PHOTO = 1  # of the fit over channels: the second of the photos


def measure(scale: Scale) -> list[Row]:
    """Rows of all refiners."""
    return [*seconds(scale), pamr_memory(scale), *correlation(scale), *growth(scale)]


def belief(classes: int, height: int, width: int) -> Tensor:
    """(1,classes,height,width) random probabilities."""
    generator = torch.Generator().manual_seed(0)
    return torch.rand(1, classes, height, width, generator=generator).softmax(1)


def seconds(scale: Scale) -> list[Row]:
    """Wall-clock rows with their bars."""
    height, width = scale.photo
    large = photo("astronaut", height, width)[None]
    side = scale.dense_side
    small, labels, roi = (
        crops(side),
        torch.full((4, side, side), 255, dtype=torch.uint8),
        torch.ones(4, side, side),
    )
    probabilities = belief(21, 4 * side, side).view(1, 21, 4, side, side)[0].transpose(0, 1).requires_grad_()
    calls: dict[str, tuple[Callable[[], object], float]] = {
        f"PAMR, {height}×{width}, 3 tags": (
            lambda: pamr(large, belief(3, height // 16, width // 16)), PAMR_SECONDS),
        f"dense energy, forward and gradient, 4×21×{side // 2}×{side // 2}": (
            lambda: torch.autograd.grad(dense_energy(probabilities, small, labels, roi), probabilities),
            DENSE_SECONDS),
    }  # fmt: skip
    for count, bar in CRF_SECONDS.items():
        start = belief(count, height, width)
        calls[f"dense CRF, {height}×{width}, {count} channels"] = (partial(dense_crf, large, start), bar)
    took = rounds({name: call for name, (call, _) in calls.items()}, scale.repeats)
    return [
        Row(
            "refine",
            name,
            median(took[name]),
            "s",
            bar,
            detail=f"{min(took[name]):.3g}–{max(took[name]):.3g} s",
        )
        for name, (_, bar) in calls.items()
    ]


def pamr_memory(scale: Scale) -> Row:
    """What the peak of a fresh process rises by while PAMR runs."""
    height, width = scale.photo
    (took,) = numbers(__file__, height, width)
    return Row("refine", f"PAMR, {height}×{width}, 3 tags: memory it takes", took, "MB", PAMR_MEGABYTES)


def correlation(scale: Scale) -> list[Row]:
    """Correlation of the lattice with the sums over all pairs: of the whole batch of photos, and the worst photo's."""
    side, pairs = scale.dense_side // 2, {}
    for name in PHOTOS:
        image = photo(name, side, side)
        values = torch.rand(side * side, 4, generator=torch.Generator().manual_seed(0))
        approximate = PermutohedralLattice.bilateral(image, sigma_xy=50, sigma_rgb=15).filter(values)
        pairs[name] = torch.stack([approximate.flatten(), all_pairs(image, values, 50, 15).flatten()])
    found = {name: float(torch.corrcoef(pair)[0, 1]) for name, pair in pairs.items()}
    whole = float(torch.corrcoef(torch.cat(list(pairs.values()), 1))[0, 1])
    what = f"lattice against exact sums over all pairs, {side}×{side}: correlation "
    detail = ", ".join(f"{name} {one:.3f}" for name, one in found.items())
    return [
        Row("refine", what + "over 4 photos", whole, "", CORRELATION, at_least=True, detail=detail),
        Row("refine", what + "of the worst photo", min(found.values()), ""),
    ]


def growth(scale: Scale) -> list[Row]:
    """Exponents of time over pixels and over channels, for PAMR and the dense CRF."""
    sizes, channels = scale.fit_photos, scale.fit_channels
    pixels = [h * w for h, w in sizes]
    height, width = sizes[FIT_PHOTO]
    images = {size: photo("astronaut", *size)[None] for size in {*sizes}}
    rows = []
    for name, refine in (("PAMR", pamr), ("dense CRF", partial(dense_crf, parameters=IRN))):
        over_pixels = {
            str(n): partial(refine, images[s], belief(FIT_CHANNELS, *s)) for n, s in zip(pixels, sizes)
        }
        over_channels = {
            str(n): partial(refine, images[sizes[FIT_PHOTO]], belief(n, height, width)) for n in channels
        }
        for over, counts, calls, fixed in (
            ("pixels", pixels, over_pixels, f"{FIT_CHANNELS} channels"),
            ("channels", channels, over_channels, f"{height}×{width}"),
        ):
            took = rounds(calls, scale.repeats)
            times = [median(took[str(count)]) for count in counts]
            exponent, determined = fit(counts, times)
            detail = f"straight line: R² {determined:.4f}; " + ", ".join(
                f"{count}: {time:.3g} s" for count, time in zip(counts, times)
            )
            rows.append(Row("refine", f"{name}, {fixed}: exponent of time over {over}", exponent, "", EXPONENT,
                            detail=detail))  # fmt: skip
    return rows


def fit(sizes: Sequence[int], times: Sequence[float]) -> tuple[float, float]:
    """Exponent of time = a·size^b by least squares in log-log, and R² of the straight line time = a + b·size."""
    exponent, _, _ = line([math.log(s) for s in sizes], [math.log(t) for t in times])
    _, _, determined = line([float(s) for s in sizes], list(times))
    return exponent, determined


def line(x: list[float], y: list[float]) -> tuple[float, float, float]:
    """Least squares y ≈ slope·x + offset: slope, offset, R²."""
    mean_x, mean_y = sum(x) / len(x), sum(y) / len(y)
    spread = sum((a - mean_x) ** 2 for a in x)
    slope = sum((a - mean_x) * (b - mean_y) for a, b in zip(x, y)) / spread
    offset = mean_y - slope * mean_x
    missed = sum((b - slope * a - offset) ** 2 for a, b in zip(x, y))
    return slope, offset, 1 - missed / sum((b - mean_y) ** 2 for b in y)


def all_pairs(image: Tensor, values: Tensor, sigma_xy: float, sigma_rgb: float) -> Tensor:
    """Exact bilateral sums, a block of rows of the N×N matrix at a time."""
    height, width = image.shape[-2:]
    y, x = torch.meshgrid(torch.arange(height), torch.arange(width), indexing="ij")
    features = torch.cat([torch.stack([x, y]) / sigma_xy, image / sigma_rgb]).flatten(1).T
    return torch.cat(
        [torch.exp(-(torch.cdist(block, features) ** 2) / 2) @ values for block in features.split(1024)]
    )


if __name__ == "__main__":
    size = int(sys.argv[1]), int(sys.argv[2])
    torch.set_num_threads(int(sys.argv[3]))
    image, maps = photo("astronaut", *size)[None], belief(3, size[0] // 16, size[1] // 16)
    pamr(image[..., :32, :32], maps)  # what torch allocates once is not PAMR's
    forget_peak()
    before = resident("VmRSS")
    refined = pamr(image, maps)
    print(resident("VmHWM") - before)
