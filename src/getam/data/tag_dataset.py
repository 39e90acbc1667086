"""The augmented crops that networks are trained on: photos, tags and, where there are any, masks and grey maps."""

from __future__ import annotations

import numpy as np
import torch
from torch.utils.data import Dataset
from torchvision import tv_tensors

from getam.data.augmentation import ZOOM, augment, crop_generator, draw_augmentation
from getam.data.collection import Collection, Sample, load_sample_mask
from getam.data.grey_maps import read_map, read_saliency
from getam.data.masks import LabelMap
from getam.data.photos import as_tensor, read_photo_near
from getam.errors import InputError
from getam.label_numbers import ignore_label, label_dtype


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
