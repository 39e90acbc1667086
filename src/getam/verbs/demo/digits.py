"""The embedded data set: handwritten digits on darkened photo textures, composed on the fly (ours, no paper).

Tags say which digits occur; masks are known but for scoring only. Digits and photos come from `digit_bank`.
"""

from dataclasses import dataclass

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor
from torch.utils.data import Dataset

from getam.errors import InputError
from getam.verbs.demo.digit_bank import (
    INK_OPACITY,
    InkBank,
    Split,
    between,
    ink_bank,
    stream_number,
    textures,
)

DIGIT_CLASSES: tuple[str, ...] = tuple("0123456789")
"""Class names; label k+1 in a mask is digit k."""

INK_VALUE = (0.85, 1.0)
INK_SATURATION = (0.0, 0.5)
TEXTURE_GAIN = (0.15, 0.4)
"""Textures reach at most 0.4 of white's luminance; the faintest ink (blue, half saturated) has 0.47."""

PLACEMENTS_TRIED = 16
"""Random placements of two digits; the first with disjoint ink boxes wins, else opposite corners."""

MIN_SIZE, MAX_SIZE = 32, 128
"""Side of a scene. Below, digits are too small to read; above, the coins' test region is too narrow (128)."""

DRAWS = {"background": 6, "digits": 2 * 5, "places": PLACEMENTS_TRIED * 4}
"""Uniform random numbers a scene is made from, in this order."""


@dataclass(frozen=True)
class Scene:
    """One composed scene.

    Args:
        image: (3, S, S) uint8 RGB.
        tags: (10,) float32, 1 where the digit occurs.
        mask: (S, S) uint8, 0 background, k+1 on the ink of digit k.
    """

    image: NDArray[np.uint8]
    tags: NDArray[np.float32]
    mask: NDArray[np.uint8]


class DigitScenes(Dataset[dict[str, Tensor]]):
    """Endless scenes of one or two handwritten digits; every epoch shows scenes never shown before.

    `scene(index)` is a pure function of (split, size, seed, index). Item i of epoch e is scene e·length + i:
    training never sees a scene twice, and epoch 0 of `split="test"` is a fixed test set, with digits of other
    writers on other parts of the photos.

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
        self, split: Split, size: int = 64, seed: int = 0, *, length: int = 8192, with_masks: bool = False
    ) -> None:
        if split not in ("train", "test"):
            raise InputError(f'digit scenes have the splits "train" and "test", not "{split}": choose one')
        if not MIN_SIZE <= size <= MAX_SIZE:
            raise InputError(f"digit scenes are {MIN_SIZE} to {MAX_SIZE} pixels wide, not {size}")
        if seed < 0:
            raise InputError(f"the seed of the digit scenes is {seed}: choose 0 or a positive number")
        if length < 1:
            raise InputError(f"an epoch of {length} digit scenes is empty: choose a length of at least 1")
        self.split, self.size, self.seed, self.length, self.with_masks = split, size, seed, length, with_masks
        self.classes = DIGIT_CLASSES
        # In shared memory: persistent loader workers hold copies of this object, and with a plain int they
        # would silently repeat epoch 0 for ever.
        self._epoch = torch.zeros((), dtype=torch.int64).share_memory_()
        self._ink = ink_bank(split, size)
        self._textures = textures(split)

    def __len__(self) -> int:
        return self.length

    def set_epoch(self, epoch: int) -> None:
        """Moves the items to the scenes of `epoch` (from 0), in running loader workers too."""
        self._epoch.fill_(epoch)

    def name(self, index: int) -> str:
        """Of a scene of this epoch, as messages call it."""
        return f"scene {index}"

    def scene(self, index: int) -> Scene:
        """Scene number `index` (0, 1, 2, … without end)."""
        if index < 0:
            raise IndexError(f"digit scenes are numbered from 0, not {index}")
        stream = np.random.PCG64([stream_number(self.split), self.seed, index])
        draws = np.random.Generator(stream).random(sum(DRAWS.values()))
        return compose(self._ink, self._textures, self.size, draws)

    def __getitem__(self, item: int) -> dict[str, Tensor]:
        """Item of the current epoch.

        Returns:
            `image` (3, S, S) float32 RGB in 0–255, `tags` (10,) float32, `roi` (S, S) bool, all True as no
            scene is padded, `index` () int64, and `mask` (S, S) int64 only with `with_masks`.
        """
        if not 0 <= item < self.length:
            raise IndexError(f"item {item} of {self.length} digit scenes")
        scene = self.scene(int(self._epoch) * self.length + item)
        result = {
            "image": torch.from_numpy(scene.image).float(),
            "tags": torch.from_numpy(scene.tags),
            "roi": torch.ones(self.size, self.size, dtype=torch.bool),
            "index": torch.tensor(item),
        }
        if self.with_masks:
            result["mask"] = torch.from_numpy(scene.mask).long()
        return result


def compose(
    ink: InkBank, photos: tuple[NDArray[np.uint8], ...], size: int, draws: NDArray[np.float64]
) -> Scene:
    """Paints one scene.

    Args:
        ink: the digits.
        photos: (3, h, w) uint8 each, h and w at least `size`.
        size: side S of the scene.
        draws: (80,) uniform in [0, 1), see `DRAWS`; every random choice is read from here and nowhere else.
    """
    background, digits, places = np.split(draws, np.cumsum(list(DRAWS.values()))[:-1])
    image = _background(photos, size, background)

    chosen = digits.reshape(2, 5)[: 2 if background[5] < 0.5 else 1]
    kinds = [_pick(draw[0], 10) for draw in chosen]
    which = [int(ink.by_class[k][_pick(draw[1], len(ink.by_class[k]))]) for k, draw in zip(kinds, chosen)]
    boxes = ink.boxes[which]

    mask = np.zeros((size, size), np.uint8)
    tags = np.zeros(10, np.float32)
    for kind, index, draw, box, (y, x) in zip(kinds, which, chosen, boxes, _place(boxes, size, places)):
        rows, columns = slice(y, y + box[1] - box[0]), slice(x, x + box[3] - box[2])
        opacity = ink.opacity[index, box[0] : box[1], box[2] : box[3]]
        patch = image[:, rows, columns]  # a view: `+=` paints on the image
        patch += opacity * np.float32(1 / 255) * (_colour(*draw[2:])[:, None, None] - patch)
        mask[rows, columns][opacity >= INK_OPACITY] = kind + 1
        tags[kind] = 1
    return Scene((image + np.float32(0.5)).astype(np.uint8), tags, mask)


def _background(
    photos: tuple[NDArray[np.uint8], ...], size: int, draws: NDArray[np.float64]
) -> NDArray[np.float32]:
    """(3, size, size) float32: a crop of one photo, mirrored or not, darkened."""
    photo = photos[_pick(draws[0], len(photos))]
    top, left = (_pick(draws[axis], photo.shape[axis] - size + 1) for axis in (1, 2))
    crop = photo[:, top : top + size, left : left + size]
    if draws[3] < 0.5:
        crop = crop[:, :, ::-1]
    return crop * np.float32(between(TEXTURE_GAIN, draws[4]))


def _place(boxes: NDArray[np.int64], size: int, places: NDArray[np.float64]) -> list[tuple[int, int]]:
    """Top-left corners for one or two ink boxes; two are disjoint where a random try or the corners allow."""
    sides = boxes[:, 1::2] - boxes[:, ::2]  # (digits, 2): height, width
    room = size - sides + 1
    corners = (places.reshape(-1, 2, 2)[:, : len(boxes)] * room).astype(np.int64)  # (tries, digits, 2)
    picked = corners[0]
    if len(boxes) == 2:
        ends = corners + sides
        shared = np.minimum(ends[:, 0], ends[:, 1]) - np.maximum(corners[:, 0], corners[:, 1])
        free = (shared <= 0).any(axis=1)
        falling = np.array([[0, 0], room[1] - 1])
        rising = np.array([[0, room[0, 1] - 1], [room[1, 0] - 1, 0]])
        picked = corners[int(free.argmax())] if free.any() else falling if places[0] < 0.5 else rising
    return [(int(y), int(x)) for y, x in picked]


def _colour(hue: float, saturation: float, value: float) -> NDArray[np.float32]:
    """(3,) float32 in 0–255 from three draws: any hue, at most half saturated, always bright."""
    pure = np.clip(np.abs((hue * 6 + np.array([0, 4, 2])) % 6 - 3) - 1, 0, 1)
    paint = 255 * between(INK_VALUE, value) * (1 - between(INK_SATURATION, saturation) * (1 - pure))
    return np.asarray(paint, dtype=np.float32)


def _pick(draw: float, count: int) -> int:
    return int(draw * count)
