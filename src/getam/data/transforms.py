"""From a `Collection` to tensors: the augmented crops of training and the plain photos of testing.

The augmentation is GETAM's (arXiv 2112.02841): the photo's long side is drawn around the crop, then a random
crop and a horizontal flip; image, mask and saliency map move together as torchvision tv_tensors.
"""

from __future__ import annotations

from dataclasses import dataclass
from pathlib import Path

import numpy as np
import numpy.typing as npt
import torch
import torch.nn.functional as F
from torch.utils.data import Dataset
from torchvision import tv_tensors
from torchvision.transforms import v2
from torchvision.transforms.v2 import functional as v2f

from getam.data.collection import Collection, Sample, load_sample_mask
from getam.data.masks import LabelMap
from getam.data.photos import as_tensor, read_grey, read_photo, read_photo_near
from getam.errors import InputError
from getam.label_numbers import DEEP_IGNORE, IGNORE, ignore_label, label_dtype

ZOOM = (0.9, 1 / 0.875)
"""Shortest and longest long side of a photo, as multiples of the crop (GETAM, training details)."""

PAD_COLOUR = (123.675, 116.28, 103.53)
"""Mean colour of ImageNet in 0–255: zero after the usual normalisation."""

JITTER = 0.2
"""Largest relative change of brightness, contrast and saturation with colour jitter; ours, a mild one."""


@dataclass(frozen=True)
class Augmentation:
    """What was drawn for one crop; (height, width) or (y, x) in pixels of the resized photo."""

    long_side: int
    offset: tuple[float, float]
    """Where the crop lies in the room it has, each 0–1: 0 at the top or left, 1 at the bottom or right."""
    flip: bool
    brightness: float = 1.0
    contrast: float = 1.0
    saturation: float = 1.0


def draw_augmentation(
    size: tuple[int, int],
    generator: torch.Generator,
    *,
    zoom: tuple[float, float] = ZOOM,
    colour_jitter: bool = False,
) -> Augmentation:
    """Draw the augmentation of one crop of `size` (height, width); same generator state, same crop."""
    low, high = (factor * max(size) for factor in zoom)
    drawn = torch.rand(7, generator=generator).tolist()
    gains = [1.0 + JITTER * (2 * value - 1) for value in drawn[4:]] if colour_jitter else [1.0, 1.0, 1.0]
    return Augmentation(round(low + (high - low) * drawn[0]), (drawn[1], drawn[2]), drawn[3] < 0.5, *gains)


def crop_generator(seed: int, epoch: int, index: int) -> torch.Generator:
    """The random numbers of one photo in one epoch, whichever worker asks and wherever a run was resumed."""
    mixed = np.random.SeedSequence([seed, epoch, index]).generate_state(1, np.uint64)[0]
    return torch.Generator().manual_seed(int(mixed) >> 1)


def fit_long_side(size: tuple[int, int], long_side: int) -> tuple[int, int]:
    """(height, width) scaled so that the longer one is `long_side`; none below 1.

    >>> fit_long_side((240, 320), 160)
    (120, 160)
    """
    scale = long_side / max(size)
    return max(1, round(size[0] * scale)), max(1, round(size[1] * scale))


class TagDataset(Dataset[dict[str, torch.Tensor]]):
    """Augmented crops of a collection, for `torch.utils.data.DataLoader`.

    An item is a dict:

    - `image` (3, H, W) float32 in 0–255; padding has the mean colour. Normalising is the network's business.
    - `tags` (C,) float32, 1 for every class the photo is tagged with.
    - `known` (C,) bool, false for classes that nobody looked for; only when a sample of the collection has such.
    - `roi` (H, W) bool, true where the crop shows the photo and not padding.
    - `index` () int64, the position in `collection.samples`.
    - `saliency` (H, W) float32 in [0, 1], 0 in the padding; only when the collection has saliency maps.
    - `mask` (H, W) int64, 0 background, 1..C classes, `ignore_label` undecided and padding; only with `with_masks`.
      Of a photo without a mask every pixel is undecided.
    - `belief` (H, W) float32 in [0, 1], 0 in the padding; only with masks that all have beliefs beside them.

    Crops depend on (seed, epoch, index) alone. `size` is the crop: a number for a square, or (height, width); `zoom` is
    between which multiples of its longer side a photo's is drawn.
    Raises `InputError` when masks are asked for and no sample has one.
    """

    def __init__(
        self,
        collection: Collection,
        size: int | tuple[int, int],
        *,
        seed: int = 0,
        with_masks: bool = False,
        zoom: tuple[float, float] = ZOOM,
        colour_jitter: bool = False,
    ) -> None:
        if not collection.samples:
            raise InputError("the collection has no photos: nothing can be trained on it.")
        if with_masks and all(sample.mask is None for sample in collection.samples):
            sample = collection.samples[0]
            raise InputError(
                f"training on masks needs some, but none of the photos has one, such as {sample.name}.png for"
                f" {sample.photo}: give the folder of masks with --masks."
            )
        self.collection = collection
        self.size = (size, size) if isinstance(size, int) else size
        if min(self.size) < 1:
            raise InputError(
                f"crop size {self.size[1]}×{self.size[0]} is not positive: give pixels, for example 256."
            )
        self.seed = seed
        self.with_masks = with_masks
        self.zoom = zoom
        self.colour_jitter = colour_jitter
        self._with_saliency = collection.has_saliency
        self._with_beliefs = with_masks and all(sample.belief is not None for sample in collection.samples)
        self._partly_known = any(sample.unknown for sample in collection.samples)
        self._numbers = {name: number for number, name in enumerate(collection.classes)}
        # in shared memory, so that workers that live on between epochs see the new number
        self._epoch = torch.zeros((), dtype=torch.int64).share_memory_()

    def __len__(self) -> int:
        return len(self.collection.samples)

    def set_epoch(self, epoch: int) -> None:
        """Draw the crops of this epoch from now on; call it before every pass through the loader."""
        self._epoch.fill_(epoch)

    def name(self, index: int) -> str:
        """Of a photo, as messages call it."""
        return self.collection.samples[index].name

    def __getitem__(self, index: int) -> dict[str, torch.Tensor]:
        sample = self.collection.samples[index]
        generator = crop_generator(self.seed, int(self._epoch), index)
        drawn = draw_augmentation(self.size, generator, zoom=self.zoom, colour_jitter=self.colour_jitter)

        photo, full_size = read_photo_near(sample.photo, drawn.long_side)
        layers: dict[str, torch.Tensor] = {"image": tv_tensors.Image(as_tensor(photo))}
        if self._with_saliency:
            layers["saliency"] = read_saliency(sample, full_size)
        if self.with_masks:
            label = self._label(sample, full_size)
            # torch has no arithmetic of 16 bits without sign
            numbers = label if label.dtype == np.uint8 else label.astype(np.int32)
            layers["mask"] = tv_tensors.Mask(torch.from_numpy(numbers)[None])
        if self._with_beliefs and sample.belief is not None:
            layers["belief"] = read_map(sample.belief, full_size, "belief map")
        moved = augment(layers, full_size, self.size, drawn)

        item = {
            "image": moved["image"].as_subclass(torch.Tensor).contiguous(),
            "tags": self.tags_of(sample),
            "roi": moved["roi"].as_subclass(torch.Tensor)[0].bool(),
            "index": torch.tensor(index),
        }
        if self._partly_known:
            item["known"] = self.known_of(sample)
        for name in ("saliency", "belief"):
            if name in moved:
                item[name] = moved[name].as_subclass(torch.Tensor)[0] / 255
        if "mask" in moved:
            item["mask"] = moved["mask"].as_subclass(torch.Tensor)[0].long()
        return item

    def _label(self, sample: Sample, size: tuple[int, int]) -> LabelMap:
        """(H, W) of `size`: the sample's mask, or where it has none nothing decided."""
        if sample.mask is not None:
            return load_sample_mask(sample, self.collection, size)
        count = len(self.collection.classes)
        return np.full(size, ignore_label(count), label_dtype(count))

    def tags_of(self, sample: Sample) -> torch.Tensor:
        """(C,) float32, 1 for every class the sample is tagged with."""
        tags = torch.zeros(len(self._numbers))
        tags[[self._numbers[name] for name in sample.tags]] = 1
        return tags

    def known_of(self, sample: Sample) -> torch.Tensor:
        """(C,) bool, false for every class that nobody looked for."""
        known = torch.ones(len(self._numbers), dtype=torch.bool)
        known[[self._numbers[name] for name in sample.unknown]] = False
        return known

    def eval_item(
        self, index: int, *, long_side: int | None = None, square: int | None = None
    ) -> dict[str, torch.Tensor]:
        """The photo without augmentation, whole: `image` (3, h, w) float32 in 0–255, `tags`, `index`, `size`.

        `long_side` keeps the shape of the photo, `square` gives h = w = `square`, neither keeps its size.
        `size` (2,) int64 is the (height, width) the photo is displayed at, the size its mask has.
        """
        sample = self.collection.samples[index]
        photo = as_tensor(read_photo(sample.photo))
        return {
            "image": resize_photo(photo, long_side=long_side, square=square),
            "tags": self.tags_of(sample),
            "index": torch.tensor(index),
            "size": torch.tensor(photo.shape[-2:]),
        }


def resize_photo(
    photo: torch.Tensor, *, long_side: int | None = None, square: int | None = None
) -> torch.Tensor:
    """(3, H, W) uint8 to (3, h, w) float32 in 0–255: to a long side, to a square, or as it is.

    Raises `ValueError` when both are given.
    """
    if long_side is not None and square is not None:
        raise ValueError(f"give long_side ({long_side}) or square ({square}), not both")
    size = (photo.shape[-2], photo.shape[-1])
    if square is not None:
        target = (square, square)
    else:
        target = fit_long_side(size, long_side) if long_side is not None else size
    resized: torch.Tensor = v2f.resize_image(photo, list(target), antialias=True)
    return resized.float().contiguous()


def read_saliency(sample: Sample, size: tuple[int, int]) -> torch.Tensor:
    """The saliency map of a sample as a (1, h, w) uint8 tv_tensors.Image; it may be smaller than the photo.

    Raises `InputError` when its shape is not the shape of the photo, whose (height, width) is `size`.
    """
    if sample.saliency is None:
        raise InputError(f"photo {sample.photo} has no saliency map: add one named {sample.name}.png.")
    return read_map(sample.saliency, size, "saliency map")


def read_map(path: Path, size: tuple[int, int], what: str) -> torch.Tensor:
    """A grey map as a (1, h, w) uint8 tv_tensors.Image; it may be smaller than the photo.

    Raises `InputError`, which calls it `what`, when its shape is not the photo's, whose (height, width) is `size`.
    """
    return as_map(np.array(read_grey(path)), path, size, what)


def as_map(values: npt.NDArray[np.uint8], path: Path | str, size: tuple[int, int], what: str) -> torch.Tensor:
    """As `read_map`, of its values (h, w) uint8; `path` is for the message."""
    height, width = values.shape
    # one pixel of rounding when a model's smaller output was saved, two per cent for its own rounding
    if abs(width - height * size[1] / size[0]) > 1 + 0.02 * width:
        raise InputError(
            f"{what} {path} is {width}×{height} but its photo is {size[1]}×{size[0]} (width×height): save it in the"
            " shape of the photo."
        )
    return tv_tensors.Image(torch.from_numpy(values)[None])


def saliency_of(sample: Sample, size: tuple[int, int]) -> torch.Tensor:
    """The saliency map of a sample, brought to the photo's (height, width): (H, W) float32 in [0, 1].

    Raises `InputError` as `read_saliency`.
    """
    return fitted(read_saliency(sample, size), size)


def fitted(small: torch.Tensor, size: tuple[int, int]) -> torch.Tensor:
    """A map (1, h, w) uint8, brought to the photo's (height, width): (H, W) float32 in [0, 1]."""
    return F.interpolate(small.float()[None], size=size, mode="bilinear")[0, 0].clamp(0, 255) / 255


def read_photo_and_saliency(sample: Sample) -> tuple[torch.Tensor, torch.Tensor | None]:
    """The photo (3, H, W) uint8 of a sample, and its saliency, (H, W) float32 in [0, 1] or None."""
    photo = as_tensor(read_photo(sample.photo))
    height, width = photo.shape[-2:]
    return photo, None if sample.saliency is None else saliency_of(sample, (height, width))


def augment(
    layers: dict[str, torch.Tensor], photo_size: tuple[int, int], size: tuple[int, int], drawn: Augmentation
) -> dict[str, torch.Tensor]:
    """Resize, crop or pad, flip and recolour: one geometry for all layers.

    Args:
        layers: `image` (3, h, w) uint8 tv_tensors.Image and, if wanted, `saliency` and `belief` (1, h, w) uint8
            tv_tensors.Image and `mask` (1, h, w) uint8 or int32 tv_tensors.Mask; each shows the whole photo.
        photo_size: (height, width) of the whole photo.
        size: (height, width) of the crop.
        drawn: From `draw_augmentation`.

    Returns the layers as float32 (masks as they are) of `size`, and `roi` (1, H, W) uint8, 0 in the padding.
    """
    target = fit_long_side(photo_size, drawn.long_side)
    resized: dict[str, torch.Tensor] = {"roi": tv_tensors.Mask(torch.ones(1, *target, dtype=torch.uint8))}
    for name, layer in layers.items():
        if isinstance(layer, tv_tensors.Mask):
            # torchvision resizes masks with "nearest", half a pixel off the image's bilinear grid
            exact = v2f.resize_image(
                layer.as_subclass(torch.Tensor),
                list(target),
                interpolation=v2.InterpolationMode.NEAREST_EXACT,
            )
            resized[name] = tv_tensors.Mask(exact)
        else:
            resized[name] = tv_tensors.wrap(
                v2f.resize(layer, list(target), antialias=True).float(), like=layer
            )
    resized["image"] = _recolour(resized["image"], drawn)

    # the room between photo and crop, negative where the photo is larger; offset says how it is shared out
    spare = (size[0] - target[0], size[1] - target[1])
    top, left = (round(room * share) for room, share in zip(spare, drawn.offset, strict=True))
    bottom, right = spare[0] - top, spare[1] - left
    fills: dict[str, list[float] | float] = {
        "image": list(PAD_COLOUR),
        "mask": float(DEEP_IGNORE if "mask" in layers and layers["mask"].dtype == torch.int32 else IGNORE),
        "saliency": 0.0,
        "belief": 0.0,
        "roi": 0.0,
    }
    moved: dict[str, torch.Tensor] = {}
    for name, layer in resized.items():
        height, width = min(size[0], target[0]), min(size[1], target[1])
        part = v2f.crop(layer, max(0, -top), max(0, -left), height, width)
        edges = [max(0, left), max(0, top), max(0, right), max(0, bottom)]
        if any(edges):
            part = v2f.pad(part, edges, fill=fills[name])
        moved[name] = v2f.horizontal_flip(part) if drawn.flip else part
    return moved


def _recolour(image: torch.Tensor, drawn: Augmentation) -> torch.Tensor:
    """Brightness, contrast and saturation of a float32 image in 0–255."""
    if (drawn.brightness, drawn.contrast, drawn.saturation) == (1.0, 1.0, 1.0):
        return image
    image = image / 255  # torchvision takes float images to be in 0–1
    image = v2f.adjust_brightness(image, drawn.brightness)
    image = v2f.adjust_contrast(image, drawn.contrast)
    return v2f.adjust_saturation(image, drawn.saturation) * 255
