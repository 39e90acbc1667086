"""Photos of two domains: tagged ones of the source, and of the target a few tagged ones and many without tags."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any

import torch
from torchvision import tv_tensors
from torchvision.transforms import v2

from getam.data.augmentation import PAD_COLOUR, crop_generator
from getam.data.collection import Collection, Sample, load_collection
from getam.data.photo_folder import find_photos
from getam.data.tag_dataset import TagDataset
from getam.errors import InputError

OPERATIONS, MAGNITUDE = 2, 10
"""RandAugment's n and m (ECACL, reference); the largest m is 30."""


@dataclass(frozen=True)
class Target:
    """Photos of the target domain, in the classes of the source."""

    shots: Collection
    """With one or more of the classes as tags."""
    unlabelled: Collection


def load_target(folder: Path, classes: Sequence[str]) -> Target:
    """The target domain from a folder of photos and their tags, found as those of `--data` are.

    A photo whose tags are empty, or that lies beside those of the tags and is not among them, is unlabelled. One that
    has tags, but none of the classes, is left out.

    Raises:
        InputError: no such folder, tags or photos; no photo with a tag of the classes, or none without tags.
    """
    found = load_collection(folder)
    samples = [
        replace(
            s, tags=tuple(c for c in classes if c in s.tags), others=tuple(sorted({*s.tags} - {*classes}))
        )
        for s in found.samples
    ]
    listed = {sample.photo.resolve() for sample in samples}
    beside = [
        photo
        for place in sorted({sample.photo.parent for sample in samples})
        for photo in find_photos(place)
        if photo.parent == place and photo.resolve() not in listed
    ]
    bare = [sample for sample in samples if not sample.tags and not sample.others]
    bare += [Sample(photo.relative_to(folder).with_suffix("").as_posix(), photo, ()) for photo in beside]
    shots = [replace(sample, unknown=()) for sample in samples if sample.tags]
    if not shots:
        raise InputError(
            f"target {folder}: no photo has one of the tags {', '.join(classes)}: recipe ecacl needs a few tagged"
            " photos of the target, one a class or more"
        )
    if not bare:
        raise InputError(
            f"target {folder}: every photo has tags: recipe ecacl learns from photos without tags; put some beside the"
            " tagged ones, or leave their tags empty"
        )
    return Target(Collection(tuple(classes), tuple(shots)), Collection(tuple(classes), tuple(bare)))


class TwoDomainDataset(TagDataset):
    """Crops of source photos, each with a tagged photo of the target and two views of one without tags.

    An item is that of `TagDataset` for the source photo, and:

    - `shot_image`, `shot_tags`: of a tagged target photo; its class is drawn first, so that all come up alike.
    - `weak_image`: a crop of a target photo without tags, as `image` is.
    - `strong_image`: another crop of it, drawn between `strong_zoom`, after RandAugment.

    Which photos are drawn depends on (seed, epoch, index) alone, as crops do. `options` are those of `TagDataset`.
    """

    def __init__(
        self,
        source: Collection,
        target: Target,
        size: int,
        *,
        strong_zoom: tuple[float, float],
        **options: Any,
    ) -> None:
        super().__init__(source, size, **options)
        self.shots = TagDataset(target.shots, size, **options)
        self.weak = TagDataset(target.unlabelled, size, **options)
        self.strong = TagDataset(target.unlabelled, size, **{**options, "zoom": strong_zoom})
        self._of_class = [
            [place for place, sample in enumerate(target.shots.samples) if name in sample.tags]
            for name in source.classes
        ]
        self._augment = v2.RandAugment(OPERATIONS, MAGNITUDE, fill=list(PAD_COLOUR))

    def set_epoch(self, epoch: int) -> None:
        """As of `TagDataset`, for all photos."""
        super().set_epoch(epoch)
        for data in (self.shots, self.weak, self.strong):
            data.set_epoch(epoch)

    def __getitem__(self, index: int) -> dict[str, torch.Tensor]:
        item = super().__getitem__(index)
        generator = crop_generator(self.seed, int(self._epoch), len(self) + index)  # not that of the crop
        drawn = torch.rand(3, generator=generator).tolist()
        classes = [places for places in self._of_class if places]
        places = classes[int(drawn[0] * len(classes))]
        shot = self.shots[places[int(drawn[1] * len(places))]]
        other = int(drawn[2] * len(self.weak))
        with torch.random.fork_rng(devices=[]):  # RandAugment draws from torch's own
            torch.manual_seed(int(torch.randint(2**62, (), generator=generator)))
            strong = strongly(self._augment, self.strong[other]["image"])
        return {
            **item,
            "shot_image": shot["image"],
            "shot_tags": shot["tags"],
            "weak_image": self.weak[other]["image"],
            "strong_image": strong,
        }


def strongly(augment: v2.Transform, image: torch.Tensor) -> torch.Tensor:
    """A transform of 8-bit pictures on (3,H,W) float in 0–255."""
    found = augment(tv_tensors.Image(image.round().clamp(0, 255).to(torch.uint8)))
    return found.as_subclass(torch.Tensor).float()
