"""What is known of one photo: maps made once, masks made of them as often as a threshold moves.

Everything here is a function of what it is given; `page` only draws it.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field, replace
from pathlib import Path
from typing import Any

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor

from getam.data.masks import LabelMap, remap
from getam.data.photos import as_tensor
from getam.data.tags import BACKGROUND
from getam.errors import InputError
from getam.maps.base import check_threshold
from getam.maps.registry import find_method
from getam.nets.inference import enlarged_labels, shrunk_photo
from getam.nets.masks import segment
from getam.nets.segmenter import Segmenter
from getam.opened.saliency import open_provider
from getam.photo_size import WORK_SIDE
from getam.report.photo_maps import PhotoMaps
from getam.web.models import Opened

LABEL, TOLD, PREDICT = "pseudo label", "segmenter, told the tags", "segmenter"
"""Sources of a mask beside the map methods: as `getam label`, `getam predict --tags` and `getam predict` make it."""
UNDECIDED = "undecided"
MOST = 20  # classes of one photo: so many have colours that can be told apart


@dataclass(frozen=True)
class Photo:
    """A photo as it was opened.

    Attributes:
        name: what it is kept as, without suffix.
        file: where it lies.
        pixels: (3,H,W) uint8, upright.
    """

    name: str
    file: Path
    pixels: Tensor

    @property
    def size(self) -> tuple[int, int]:
        """(H, W)."""
        return self.pixels.shape[-2], self.pixels.shape[-1]

    def shown(self, long_side: int) -> NDArray[np.uint8]:
        """(h,w,3) with at most this long side."""
        return shrunk_photo(self.pixels, long_side).permute(1, 2, 0).contiguous().numpy()


@dataclass(frozen=True)
class Found:
    """What one source says of a photo.

    Attributes:
        source: a map method, `LABEL`, `TOLD` or `PREDICT`.
        classes: class i is label i + 1 of its masks.
        maps: of a map method.
        heat: (K,h,w) float32 in [0,1] of `mapped`, each over its own peak; of a map method.
        mapped: positions in `classes` that have a map.
        label: (H,W), of the other sources, which decide by themselves.
        unknown: tags that the network does not know: they can only be painted.
    """

    source: str
    classes: tuple[str, ...]
    maps: PhotoMaps | None = None
    heat: Tensor | None = None
    mapped: tuple[int, ...] = ()
    label: LabelMap | None = None
    unknown: tuple[str, ...] = ()

    def mask(self, threshold: float, size: tuple[int, int]) -> LabelMap:
        """The mask at a size: the class whose map is highest, where it is above the threshold; no map is made anew.

        Args:
            threshold: in [0,1), the share of each map's peak; sources that decide by themselves do not heed it.
            size: (height, width).

        Returns:
            uint8, 0 background, class i as i + 1, 255 undecided.
        """
        check_threshold(threshold)
        if self.label is not None:
            return resized(self.label, size)
        if self.heat is None or not len(self.heat):
            return np.zeros(size, np.uint8)
        least = torch.full_like(self.heat[:1], threshold)
        slots = enlarged_labels(torch.cat([least, self.heat]), size).numpy()
        return np.array([0, *(place + 1 for place in self.mapped)], np.uint8)[slots]


@dataclass(frozen=True)
class Look:
    """A photo, its tags and what sources have said of it so far; `with_` functions give another."""

    photo: Photo
    tags: tuple[str, ...] = ()
    found: Mapping[tuple[str, str, tuple[str, ...]], Found] = field(default_factory=dict)
    fixed: LabelMap | None = None
    fixed_classes: tuple[str, ...] = ()
    touched: bool = False
    saliency: Tensor | None = None

    def with_tags(self, tags: Sequence[str]) -> Look:
        """Other tags: what was found for the ones before stays at hand."""
        chosen = tuple(dict.fromkeys(tag.strip() for tag in tags if tag.strip()))
        if reserved := {BACKGROUND, UNDECIDED} & set(chosen):
            raise InputError(
                f"{min(reserved)!r} is what pixels without a class are called: leave that tag out"
            )
        if len(chosen) > MOST:
            raise InputError(f"{len(chosen)} tags are too many for one photo: choose {MOST} at most")
        return replace(self, tags=chosen)

    def ask(self, opened: Opened, source: str) -> tuple[Look, Found]:
        """What a source says, made once for each network, source and tags.

        Raises:
            InputError, CaptureError: the network cannot be read so; the message says why.
        """
        if (known := self.known(opened.name, source)) is not None:
            return self, known
        look = self
        if source == LABEL and self.saliency is None and opened.usual.uses_saliency:
            look = replace(self, saliency=open_provider("embedded").saliency(self.photo.pixels).cpu())
        made = find_out(opened, look.photo.pixels, look.tags, source, look.saliency)
        found = {**look.found, self._key(opened.name, source): made}
        return replace(look, found=found), _with_tags(made, self.tags)

    def known(self, model: str, source: str) -> Found | None:
        """What a source has said of the photo with these tags; None where it was not asked yet."""
        found = self.found.get(self._key(model, source))
        return None if found is None else _with_tags(found, self.tags)

    def _key(self, model: str, source: str) -> tuple[str, str, tuple[str, ...]]:
        return model, source, () if source == PREDICT else self.tags

    def with_fixed(
        self, label: LabelMap | None, classes: tuple[str, ...] = (), *, touched: bool = False
    ) -> Look:
        """A mask that a person works on, in numbers of `classes`; None for none. `touched`: it has strokes on it."""
        return replace(self, fixed=label, fixed_classes=classes, touched=touched)


def find_out(
    opened: Opened, photo: Tensor, tags: tuple[str, ...], source: str, saliency: Tensor | None = None
) -> Found:
    """Run a network on a photo (3,H,W) uint8 for one source; `saliency` (H,W) is of `LABEL`.

    Raises:
        InputError, CaptureError: no such source, or the network cannot be read so.
    """
    if source == PREDICT:
        segmenter = _segmenter(opened)
        label = segment(segmenter, photo, crf=True)
        there = [int(number) for number in np.unique(label) if number]
        classes = tuple(segmenter.classes[number - 1] for number in there)
        return Found(
            source, classes, label=remap(label, segmenter.classes, classes) if classes else label * 0
        )
    names = opened.class_names()
    known = [place for place, tag in enumerate(tags) if tag in names]
    unknown = tuple(tag for tag in tags if tag not in names)
    indices = [opened.names.index(tags[place]) for place in known]
    if source == TOLD:
        segmenter = _segmenter(opened)
        told = segment(segmenter, photo, crf=True, present=indices)
        return Found(source, tags, label=remap(told, segmenter.classes, tags), unknown=unknown)
    if source == LABEL:
        if not opened.labels:
            raise InputError(
                f"{opened.name} is no network of getam, whose maps `getam label` reads: choose a map method"
            )
        net: Any = opened.net
        made = opened.usual.label(net, photo, indices, saliency).cpu().numpy()
        return Found(source, tags, label=remap(made, net.classes, tags), unknown=unknown)
    method = find_method(source)
    if not indices:
        return Found(source, tags, unknown=unknown)
    image = opened.subject.prepare(photo)
    maps = PhotoMaps.of(method.make(opened.net, image, [indices]), opened.names, photo)
    return Found(source, tags, maps, maps.heat(), tuple(known), unknown=unknown)


def _segmenter(opened: Opened) -> Segmenter:
    if not isinstance(opened.net, Segmenter):
        raise InputError(f"{opened.name} has no decoder, which the segmenter needs: choose a map method")
    return opened.net


def open_photo(name: str, file: Path, image: Any) -> Look:
    """A photo that was read and found small enough, nothing known of it yet."""
    return Look(Photo(name, file, as_tensor(image)))


def found_tags(opened: Opened, photo: Tensor) -> tuple[str, ...]:
    """The classes that a network finds in a photo (3,H,W), for photos that nobody has tagged."""
    return tuple(
        opened.names.shown(index) for index in opened.subject.present(opened.subject.prepare(photo))[0]
    )


def agreement(one: LabelMap, other: LabelMap) -> float:
    """Share of the pixels on which two masks in the same numbers agree; undecided in either counts as no."""
    return float(((one == other) & (one != 255)).mean())


def in_numbers_of(label: LabelMap, classes: tuple[str, ...], to: tuple[str, ...]) -> LabelMap:
    """A mask in the numbers of another list, which has all classes that occur."""
    return remap(label, classes, to) if classes else np.zeros_like(label)


def resized(label: LabelMap, size: tuple[int, int]) -> LabelMap:
    """(H,W) at another size, each pixel the one that lies at its centre."""
    if label.shape == size:
        return label
    places = [((np.arange(n) + 0.5) * m / n).astype(np.intp) for n, m in zip(size, label.shape, strict=True)]
    return label[np.ix_(*places)]


def shown_size(size: tuple[int, int], long_side: int = WORK_SIDE) -> tuple[int, int]:
    """(H, W) brought to a long side, as `Photo.shown` brings it."""
    scale = min(1.0, long_side / max(size))
    return max(1, round(size[0] * scale)), max(1, round(size[1] * scale))


def _with_tags(found: Found, tags: tuple[str, ...]) -> Found:
    """A segmenter's mask, in numbers that begin with the tags: colours of classes stay theirs beside a map's."""
    if found.source != PREDICT or found.label is None:
        return found
    classes = (*tags, *(name for name in found.classes if name not in tags))
    return replace(found, classes=classes, label=in_numbers_of(found.label, found.classes, classes))
