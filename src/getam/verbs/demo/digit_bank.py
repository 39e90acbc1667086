"""What the digit scenes are made of: pens and papers from inside the scikit-learn and scikit-image wheels.

Pens: scikit-learn's `load_digits`, the 1,797 test images of the UCI optical recognition set (Alpaydin and
Kaynak 1998), 8×8 pixels. Papers: photos. Both are split between train and test; nothing is downloaded.
"""

import math
from dataclasses import dataclass
from functools import lru_cache
from typing import Any, Literal

import numpy as np
import torch
import torch.nn.functional as F
from numpy.typing import NDArray

from getam.errors import InputError

Split = Literal["train", "test"]

FIRST_TEST_DIGIT = 1157
"""The split by writers. All filled in the same form, so the sequence of labels starts anew with each, 14
times (13 writers, says the description). Here it does for the tenth time, the start nearest to two thirds."""

TRAIN_TEXTURE_SHARE = 2 / 3
"""The left two thirds of every photo's columns belong to `train`, the right third to `test`."""

SKLEARN_TEXTURES = ("china.jpg", "flower.jpg")
SKIMAGE_TEXTURES = (
    *("astronaut", "brick", "camera", "coffee", "coins"),
    *("grass", "gravel", "immunohistochemistry", "rocket"),
)
"""Functions of `skimage.data` whose photo is inside the wheel. The cat stays out: the demo explains it."""

DIGIT_SIDE = (24 / 64, 36 / 64)
"""Side of an upsampled digit as a share of the scene's: 24 to 36 px of 64, found learnable in minutes."""

WARPS_PER_DIGIT = 12
MAX_ROTATION = math.radians(12)
MAX_SHEAR = 0.15
MAX_STRETCH = 1.12

INK_LEVEL = (0.35, 0.5)
"""Ink is where the upsampled digit (0 to 1) exceeds a level, drawn per warp: wide and fine pens."""
INK_EDGE = 0.1
"""Opacity rises linearly over this much of digit intensity around the level, and is one half at it."""
INK_OPACITY = 128
"""A pixel belongs to the mask where the opacity (0 to 255) is at least this."""


@dataclass(frozen=True)
class InkBank:
    """Digits upsampled and warped once, so that a scene only has to paste them.

    Args:
        opacity: (N, P, P) uint8, 0 no ink, 255 full ink; the mask is where opacity ≥ INK_OPACITY.
        boxes: (N, 4) int64, rows top:bottom and columns left:right that hold all opacity > 0.
        by_class: 10 arrays of indices into N.
    """

    opacity: NDArray[np.uint8]
    boxes: NDArray[np.int64]
    by_class: tuple[NDArray[np.int64], ...]


@lru_cache(maxsize=4)
def ink_bank(split: Split, size: int) -> InkBank:
    """All digits of `split`, each in 12 warps (size, rotation, shear, stretch, pen), for scenes of `size`.

    8×8 → 24–36 px by bicubic interpolation (`grid_sample`), smooth enough for a level to give clean strokes.
    About 0.4 s and 31 MB for training scenes of 64 pixels.

    Raises:
        InputError: scikit-learn is not installed.
    """
    images, labels = source_digits(split)
    count = len(images) * WARPS_PER_DIGIT
    draws = np.random.Generator(np.random.PCG64([stream_number(split), size])).random((5, count))
    side = size * between(DIGIT_SIDE, draws[0])
    angle, shear = MAX_ROTATION * (2 * draws[1] - 1), MAX_SHEAR * (2 * draws[2] - 1)
    stretch = MAX_STRETCH ** (2 * draws[3] - 1)
    level = between(INK_LEVEL, draws[4])

    canvas = math.ceil(1.3 * DIGIT_SIDE[1] * size)  # room for the widest warp
    rotation = np.array([[np.cos(angle), -np.sin(angle)], [np.sin(angle), np.cos(angle)]])
    slant = np.array([[stretch, shear], [np.zeros(count), 1 / stretch]])
    warps = np.zeros((count, 2, 3), np.float32)
    warps[:, :, :2] = np.einsum("n,ijn,jkn->nik", canvas / side, slant, rotation)

    sources = torch.from_numpy(np.repeat(images, WARPS_PER_DIGIT, axis=0))[:, None]
    levels = torch.from_numpy(level.astype(np.float32))[:, None, None]
    opacity = np.empty((count, canvas, canvas), np.uint8)
    for start in range(0, count, 2048):  # in parts, for memory
        part = slice(start, start + 2048)
        theta = torch.from_numpy(warps[part])
        grid = F.affine_grid(theta, [len(theta), 1, canvas, canvas], align_corners=False)
        digits = F.grid_sample(sources[part], grid, mode="bicubic", padding_mode="zeros", align_corners=False)
        strength = ((digits[:, 0] - levels[part]) / INK_EDGE + 0.5).clamp(0, 1)
        opacity[part] = (strength * 255).round().to(torch.uint8).numpy()

    kinds = np.repeat(labels, WARPS_PER_DIGIT)
    return InkBank(opacity, _boxes(opacity), tuple(np.flatnonzero(kinds == digit) for digit in range(10)))


@lru_cache(maxsize=2)
def textures(split: Split) -> tuple[NDArray[np.uint8], ...]:
    """The part of every texture photo that belongs to `split`: (3, h, w) uint8 each, h and w at least 128.

    Raises:
        InputError: scikit-learn or scikit-image is not installed.
    """
    regions = []
    for photo in _photos():
        cut = round(photo.shape[1] * TRAIN_TEXTURE_SHARE)
        region = photo[:, :cut] if split == "train" else photo[:, cut:]
        if region.ndim == 2:
            region = np.repeat(region[:, :, None], 3, axis=2)
        regions.append(np.ascontiguousarray(region.transpose(2, 0, 1)))
    return tuple(regions)


def source_digits(split: Split) -> tuple[NDArray[np.float32], NDArray[np.int64]]:
    """Scanned digits of the writers of `split`: (N, 8, 8) float32 in 0–1 and (N,) int64, which digit.

    Raises:
        InputError: scikit-learn is not installed.
    """
    try:
        from sklearn.datasets import load_digits
    except ImportError as missing:
        raise InputError("the digit scenes need scikit-learn: pip install 'getam[demo]'") from missing
    bunch = load_digits()
    part = slice(None, FIRST_TEST_DIGIT) if split == "train" else slice(FIRST_TEST_DIGIT, None)
    return (bunch.images[part] / 16).astype(np.float32), bunch.target[part].astype(np.int64)


def stream_number(split: Split) -> int:
    """Which random stream a split draws from."""
    return 0 if split == "train" else 1


def between(span: tuple[float, float], draw: Any) -> Any:
    """Uniform in [0, 1) → uniform in the span; a number or an array."""
    return span[0] + (span[1] - span[0]) * draw


@lru_cache(maxsize=1)
def _photos() -> tuple[NDArray[np.uint8], ...]:
    """Texture photos, (H, W, 3) or (H, W) uint8."""
    try:
        import skimage.data
        from sklearn.datasets import load_sample_image
    except ImportError as missing:
        package = "scikit-image" if "skimage" in str(missing) else "scikit-learn"
        raise InputError(f"the digit scenes need {package}: pip install 'getam[demo]'") from missing
    photos = [load_sample_image(name) for name in SKLEARN_TEXTURES]
    photos += [getattr(skimage.data, name)() for name in SKIMAGE_TEXTURES]
    return tuple(photos)


def _boxes(opacity: NDArray[np.uint8]) -> NDArray[np.int64]:
    """(N, P, P) → (N, 4): first and one past the last row and column with opacity > 0."""
    spans: list[NDArray[np.int64]] = []
    for axis in (2, 1):
        line = opacity.max(axis=axis) > 0
        spans += [line.argmax(axis=1), line.shape[1] - line[:, ::-1].argmax(axis=1)]
    return np.stack(spans, axis=1)
