"""The embedded data set: handwritten digits on darkened photo textures, composed on the fly, nothing downloaded.

Digits: scikit-learn's `load_digits`, the 1,797 test images of the UCI optical recognition set (Alpaydin & Kaynak 1998).
Textures: photos inside the scikit-learn and scikit-image wheels. Tags say which digits occur; masks are for scoring only.
"""

import math
from dataclasses import dataclass
from functools import lru_cache
from typing import Any, Literal

import numpy as np
import numpy.typing as npt
import torch
import torch.nn.functional as F
from torch.utils.data import Dataset

from getam.errors import InputError

Split = Literal["train", "test"]

DIGIT_CLASSES: tuple[str, ...] = tuple("0123456789")
"""Class names; label k+1 in a mask is digit k."""

FIRST_TEST_DIGIT = 1157
"""Every writer filled in the same form, so the label sequence starts anew with each: here it starts for the tenth
of 14 times, the start closest to two thirds. Nobody's hand is in both splits."""

TRAIN_TEXTURE_SHARE = 2 / 3
"""The left two thirds of every photo's columns belong to `train`, the right third to `test`."""

SKIMAGE_TEXTURES = (
    "astronaut",
    "brick",
    "camera",
    "coffee",
    "coins",
    "grass",
    "gravel",
    "immunohistochemistry",
    "rocket",
)
SKLEARN_TEXTURES = ("china.jpg", "flower.jpg")

DIGIT_SIDE = (24 / 64, 36 / 64)
"""Side of an upsampled digit as a share of the scene's side: 24 to 36 px of 64, the sizes found learnable in minutes."""

WARPS_PER_DIGIT = 12
MAX_ROTATION = math.radians(12)
MAX_SHEAR = 0.15
MAX_STRETCH = 1.12
INK_LEVEL = (0.35, 0.5)
"""Ink is where the upsampled digit (0 to 1) exceeds a level drawn from this range per warp: thick and thin pens."""
INK_EDGE = 0.1
"""Opacity rises linearly from 0 to 1 over this much of digit intensity around the level; half opacity is the mask's edge."""

INK_VALUE = (0.85, 1.0)
INK_MAX_SATURATION = 0.5
TEXTURE_GAIN = (0.15, 0.4)
"""Textures reach at most 0.4 of white, the faintest ink (blue, value 0.85, half saturated) has luminance 0.47."""

PLACEMENTS_TRIED = 16
"""Random placements of a pair of digits; the first whose ink boxes are disjoint wins, else two opposite corners."""

MIN_SIZE, MAX_SIZE = 32, 128
DRAWS_PER_SCENE = 8 + 8 + 4 * PLACEMENTS_TRIED


@dataclass(frozen=True)
class Scene:
    """One composed scene.

    Args:
        image: (3, S, S) uint8 RGB.
        tags: (10,) float32, 1 where the digit occurs.
        mask: (S, S) uint8, 0 background, k+1 on the ink of digit k.
    """

    image: npt.NDArray[np.uint8]
    tags: npt.NDArray[np.float32]
    mask: npt.NDArray[np.uint8]


class DigitScenes(Dataset[dict[str, Any]]):
    """Endless scenes of one or two handwritten digits; every epoch shows scenes never shown before.

    `scene(index)` is a pure function of (split, size, seed, index). Item i of epoch e is scene e·length + i, so
    training never sees a scene twice, and epoch 0 of `split="test"` is a fixed test set: other writers, other
    parts of the photos.

    Args:
        split: "train" or "test".
        size: side S of the scene in pixels, 32 to 128.
        seed: another seed, other scenes from the same digits and textures.
        length: scenes per epoch.
        with_masks: adds `mask` to the items; training from tags never asks for it.

    Raises:
        InputError: the `demo` extra is not installed, or an argument is out of range.
    """

    def __init__(
        self,
        split: Split,
        size: int = 64,
        seed: int = 0,
        *,
        length: int = 8192,
        with_masks: bool = False,
    ) -> None:
        if split not in ("train", "test"):
            raise InputError(f'the digit scenes have the splits "train" and "test", not "{split}"')
        if not MIN_SIZE <= size <= MAX_SIZE:
            raise InputError(
                f"digit scenes are {MIN_SIZE} to {MAX_SIZE} pixels wide, not {size}: choose a size in that range"
            )
        if seed < 0:
            raise InputError(f"the seed of the digit scenes is {seed}: choose 0 or a positive number")
        if length < 1:
            raise InputError(f"an epoch of {length} digit scenes is empty: choose a length of at least 1")
        self.split, self.size, self.seed, self.length, self.with_masks = split, size, seed, length, with_masks
        self.classes = DIGIT_CLASSES
        # In shared memory, because persistent loader workers hold copies of this object: with a plain int they
        # would silently repeat epoch 0 for ever.
        self._epoch = torch.zeros((), dtype=torch.int64).share_memory_()
        self._ink = ink_bank(split, size)
        self._textures = textures(split)

    def __len__(self) -> int:
        return self.length

    def set_epoch(self, epoch: int) -> None:
        """Moves the items to the scenes of `epoch` (from 0), in running loader workers too."""
        self._epoch.fill_(epoch)

    def scene(self, index: int) -> Scene:
        """Scene number `index` (0, 1, 2, … without end)."""
        if index < 0:
            raise IndexError(f"digit scenes are numbered from 0, not {index}")
        return compose(self._ink, self._textures, self.size, _draws(self.split, self.seed, index))

    def __getitem__(self, item: int) -> dict[str, Any]:
        """Item of the current epoch.

        Returns:
            `image` (3, S, S) float32 RGB in 0–255, `tags` (10,) float32, `roi` (S, S) bool, all True (the whole scene
            is photo), `index` int, and `mask` (S, S) int64 only with `with_masks`.
        """
        if not 0 <= item < self.length:
            raise IndexError(f"item {item} of {self.length} digit scenes")
        scene = self.scene(int(self._epoch) * self.length + item)
        result: dict[str, Any] = {
            "image": torch.from_numpy(scene.image).float(),
            "tags": torch.from_numpy(scene.tags),
            "roi": torch.ones(self.size, self.size, dtype=torch.bool),
            "index": item,
        }
        if self.with_masks:
            result["mask"] = torch.from_numpy(scene.mask).long()
        return result


@dataclass(frozen=True)
class InkBank:
    """Digits upsampled and warped once, tightly cropped on use.

    Args:
        opacity: (N, P, P) uint8, 0 no ink, 255 full ink; the mask is opacity ≥ 128.
        boxes: (N, 4) int64, rows top:bottom and columns left:right that hold all opacity > 0.
        by_class: 10 arrays of indices into N.
    """

    opacity: npt.NDArray[np.uint8]
    boxes: npt.NDArray[np.int64]
    by_class: tuple[npt.NDArray[np.int64], ...]


@lru_cache(maxsize=4)
def ink_bank(split: Split, size: int) -> InkBank:
    """All digits of `split`, each in 12 warps (size, rotation, shear, stretch, pen), for scenes of side `size`.

    8×8 → 24–36 px by bicubic interpolation (`grid_sample`), which is smooth enough for a threshold to give strokes.
    """
    images, labels = _digits(split)
    count = len(images) * WARPS_PER_DIGIT
    rng = np.random.default_rng([0 if split == "train" else 1, size])
    draws = rng.random((7, count))

    side = size * _between(DIGIT_SIDE, draws[0])
    angle, shear = MAX_ROTATION * (2 * draws[1] - 1), MAX_SHEAR * (2 * draws[2] - 1)
    stretch = MAX_STRETCH ** (2 * draws[3] - 1)
    level = _between(INK_LEVEL, draws[4])

    canvas = math.ceil(1.3 * DIGIT_SIDE[1] * size)
    cos, sin, scale = np.cos(angle), np.sin(angle), canvas / side
    rotation = np.stack([np.stack([cos, -sin], -1), np.stack([sin, cos], -1)], -2)
    slant = np.stack([np.stack([stretch, shear], -1), np.stack([np.zeros(count), 1 / stretch], -1)], -2)
    theta = np.concatenate([scale[:, None, None] * (slant @ rotation), np.zeros((count, 2, 1))], axis=2)

    sources = torch.from_numpy(np.repeat(images, WARPS_PER_DIGIT, axis=0))[:, None]
    opacity = np.empty((count, canvas, canvas), np.uint8)
    for start in range(0, count, 2048):
        part = slice(start, start + 2048)
        grid = F.affine_grid(
            torch.from_numpy(theta[part]).float(), [len(theta[part]), 1, canvas, canvas], align_corners=False
        )
        digits = F.grid_sample(sources[part], grid, mode="bicubic", padding_mode="zeros", align_corners=False)
        above = digits[:, 0] - torch.from_numpy(level[part]).float()[:, None, None]
        opacity[part] = ((above / INK_EDGE + 0.5).clamp(0, 1) * 255).round().to(torch.uint8).numpy()

    kinds = np.repeat(labels, WARPS_PER_DIGIT)
    return InkBank(opacity, _boxes(opacity), tuple(np.flatnonzero(kinds == digit) for digit in range(10)))


@lru_cache(maxsize=2)
def textures(split: Split) -> tuple[npt.NDArray[np.uint8], ...]:
    """The part of every texture photo that belongs to `split`: (3, h, w) uint8 each, at least 128 pixels either way."""
    regions = []
    for photo in _photos():
        cut = round(photo.shape[1] * TRAIN_TEXTURE_SHARE)
        region = photo[:, :cut] if split == "train" else photo[:, cut:]
        if region.ndim == 2:
            region = np.repeat(region[:, :, None], 3, axis=2)
        regions.append(np.ascontiguousarray(region.transpose(2, 0, 1)))
    return tuple(regions)


def compose(
    ink: InkBank, photos: tuple[npt.NDArray[np.uint8], ...], size: int, draws: npt.NDArray[np.float64]
) -> Scene:
    """Paints one scene.

    Args:
        ink: the digits.
        photos: (3, h, w) uint8 each, h and w at least `size`.
        size: side of the scene.
        draws: (DRAWS_PER_SCENE,) uniform in [0, 1); every random choice is read from here and nowhere else.
    """
    background, first, second, places = draws[:8], draws[8:12], draws[12:16], draws[16:].reshape(-1, 4)

    photo = photos[_pick(background[0], len(photos))]
    top, left = (_pick(background[1 + axis], photo.shape[1 + axis] - size + 1) for axis in (0, 1))
    image = photo[:, top : top + size, left : left + size]
    if background[3] < 0.5:
        image = image[:, :, ::-1]
    gain = _between(TEXTURE_GAIN, background[4])
    image = image * np.float32(gain)

    chosen = [first, second] if background[5] < 0.5 else [first]
    kinds = [_pick(draw[0], 10) for draw in chosen]
    which = [
        int(ink.by_class[kind][_pick(draw[1], len(ink.by_class[kind]))]) for kind, draw in zip(kinds, chosen)
    ]
    boxes = ink.boxes[which]

    mask = np.zeros((size, size), np.uint8)
    tags = np.zeros(10, np.float32)
    for kind, index, draw, box, (y, x) in zip(kinds, which, chosen, boxes, _place(boxes, size, places)):
        bottom, right = y + box[1] - box[0], x + box[3] - box[2]
        opacity = ink.opacity[index, box[0] : box[1], box[2] : box[3]]
        alpha = opacity * np.float32(1 / 255)
        patch = image[:, y:bottom, x:right]
        patch += alpha * (_colour(draw[2], draw[3])[:, None, None] - patch)
        mask[y:bottom, x:right][opacity >= 128] = kind + 1
        tags[kind] = 1
    return Scene((image + np.float32(0.5)).astype(np.uint8), tags, mask)


def _place(boxes: npt.NDArray[np.int64], size: int, places: npt.NDArray[np.float64]) -> list[tuple[int, int]]:
    """Top-left corners of one or two ink boxes; two never share a pixel of their boxes if any corner pair allows it."""
    sides = boxes[:, 1::2] - boxes[:, ::2]  # (digits, 2): height, width
    room = size - sides + 1
    if len(boxes) == 1:
        return [(_pick(places[0, 0], int(room[0, 0])), _pick(places[0, 1], int(room[0, 1])))]
    corners = (places.reshape(-1, 2, 2) * room).astype(np.int64)  # (tries, digits, 2)
    ends = corners + sides
    shared = np.minimum(ends[:, 0], ends[:, 1]) - np.maximum(corners[:, 0], corners[:, 1])
    free = (shared <= 0).any(axis=1)
    if free.any():
        picked = corners[int(free.argmax())]
    else:
        falling = places[0, 0] < 0.5
        picked = np.array(
            [[0, 0 if falling else room[0, 1] - 1], [room[1, 0] - 1, room[1, 1] - 1 if falling else 0]]
        )
    return [(int(y), int(x)) for y, x in picked]


def _colour(hue: float, strength: float) -> npt.NDArray[np.float32]:
    """(3,) float32 in 0–255: any hue, pale to half saturated, always bright."""
    value = _between(
        INK_VALUE, (strength * 16) % 1
    )  # the low bits of the same draw: independent enough for paint
    weights = np.clip(np.abs((hue * 6 + np.array([0, 4, 2])) % 6 - 3) - 1, 0, 1)
    return (255 * value * (1 - INK_MAX_SATURATION * strength * (1 - weights))).astype(np.float32)


def _draws(split: Split, seed: int, index: int) -> npt.NDArray[np.float64]:
    """(DRAWS_PER_SCENE,) uniform numbers of one scene. Plain uniforms only: NumPy keeps that stream stable."""
    return np.random.Generator(np.random.PCG64([0 if split == "train" else 1, seed, index])).random(
        DRAWS_PER_SCENE
    )


def _pick(draw: float, count: int) -> int:
    return int(draw * count)


def _between(span: tuple[float, float], draw: Any) -> Any:
    return span[0] + (span[1] - span[0]) * draw


def _boxes(opacity: npt.NDArray[np.uint8]) -> npt.NDArray[np.int64]:
    """(N, P, P) → (N, 4): first and one past the last row and column with opacity > 0."""
    inked = opacity > 0
    spans = []
    for axis in (2, 1):
        line = inked.any(axis=axis)
        spans += [line.argmax(axis=1), line.shape[1] - line[:, ::-1].argmax(axis=1)]
    return np.stack(spans, axis=1).astype(np.int64)


def _digits(split: Split) -> tuple[npt.NDArray[np.float32], npt.NDArray[np.int64]]:
    """(N, 8, 8) float32 in 0–1 and (N,) int64 of the writers of `split`."""
    try:
        from sklearn.datasets import load_digits
    except ImportError as missing:
        raise InputError("the digit scenes need scikit-learn: pip install 'getam[demo]'") from missing
    bunch = load_digits()
    part = slice(None, FIRST_TEST_DIGIT) if split == "train" else slice(FIRST_TEST_DIGIT, None)
    return (bunch.images[part] / 16).astype(np.float32), bunch.target[part].astype(np.int64)


@lru_cache(maxsize=1)
def _photos() -> tuple[npt.NDArray[np.uint8], ...]:
    """Texture photos, (H, W, 3) or (H, W) uint8, all inside the wheels: nothing is downloaded."""
    try:
        import skimage.data
        from sklearn.datasets import load_sample_image
    except ImportError as missing:
        package = "scikit-image" if "skimage" in str(missing) else "scikit-learn"
        raise InputError(f"the digit scenes need {package}: pip install 'getam[demo]'") from missing
    photos = [load_sample_image(name) for name in SKLEARN_TEXTURES]
    photos += [getattr(skimage.data, name)() for name in SKIMAGE_TEXTURES]
    return tuple(photos)
