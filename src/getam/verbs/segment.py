"""`getam.segment`: masks of photos that are at hand in Python, without a folder of them."""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path
from typing import Any, overload

from torch import nn

from getam.data.tags import suggest
from getam.engine.device import AUTO, choose_device
from getam.engine.model import load_segmenter
from getam.errors import InputError
from getam.frozen import frozen
from getam.nets.inference import shrunk_photo
from getam.nets.masks import mask_of
from getam.nets.segmenter import Segmenter
from getam.photo_size import WORK_SIDE, require_sides
from getam.report.segmentation import Segmentation
from getam.verbs.given_photos import OnePhoto, are_several, read_given

Tags = str | Sequence[str] | Sequence[Sequence[str]] | None


@overload
def segment(  # type: ignore[overload-overlap]  # text is a sequence of text: the first is meant
    model: nn.Module | str | Path | None, photos: OnePhoto, tags: Tags = None, *,
    crf: bool = True, scales: Sequence[int] | None = None, flip: bool = False, device: str = AUTO,
) -> Segmentation: ...  # fmt: skip


@overload
def segment(
    model: nn.Module | str | Path | None, photos: Sequence[OnePhoto], tags: Tags = None, *,
    crf: bool = True, scales: Sequence[int] | None = None, flip: bool = False, device: str = AUTO,
) -> list[Segmentation]: ...  # fmt: skip


def segment(
    model: nn.Module | str | Path | None,
    photos: OnePhoto | Sequence[OnePhoto],
    tags: Tags = None,
    *,
    crf: bool = True,
    scales: Sequence[int] | None = None,
    flip: bool = False,
    device: str = AUTO,
) -> Segmentation | list[Segmentation]:
    """Which pixels of photos are whose, as `getam predict` makes masks, for photos that are at hand.

    Args:
        model: a network with a decoder: what `getam.train` and `getam.load_model` return, a run folder or model file;
            None: the embedded model. A network stays on its device and is left as it was.
        photos: a PIL photo, a path, an array (H,W,3) uint8, or several of them, of any size.
        tags: the classes that are there, where that is known: no other is looked for, which makes better masks. One
            photo: one or several. Several photos: one for all ("cat"), or one or a list for each. None: any.
        crf: sharpen outlines with a dense CRF.
        scales: long sides in pixels; logits are averaged over them. Left out, as of `getam predict`.
        flip: average with the mirrored photo.
        device: of a model that is opened here: auto, cpu, cuda, cuda:1 or mps.

    Returns:
        of one photo a `Segmentation`: label (H,W), shares, mask(name), overlay and save; of several a list of them.

    Raises:
        InputError: no such model or one without masks, photos that cannot be read, tags that the model does not know.
    """
    if scales is not None:
        require_sides(scales)
    several = are_several(photos)
    read = read_given(photos, several=several)
    told = _each(tags, len(read)) if several else [tags]
    net = _opened(model, device)
    made = []
    for (photo, title), its in zip(read, told, strict=True):
        present = None if its is None else _numbers([its] if isinstance(its, str) else its, net.classes)
        sides = tuple(scales or (net.side,))
        small = shrunk_photo(photo, max(WORK_SIDE, *sides))
        with frozen(net):
            label, sure = mask_of(
                net, small, sides, (photo.shape[-2], photo.shape[-1]), flip=flip, crf=crf, present=present
            )
        made.append(Segmentation(label, tuple(net.classes), sure, photo, title))
    return made if several else made[0]


def _opened(model: nn.Module | str | Path | None, device: str) -> Segmenter:
    if not isinstance(model, nn.Module):
        return load_segmenter(model, device=choose_device(device))
    net = getattr(model, "_orig_mod", model)  # not torch.compile's wrapper
    if not isinstance(net, Segmenter):
        raise InputError(
            f"{type(net).__name__} has no decoder that makes masks: give a network of getam that has, or make masks of "
            "its maps with getam.explain(…).to_masks(0.4)"
        )
    return net


def _each(tags: Any, count: int) -> list[Any]:
    """What each of `count` photos is told: None, a tag or a list of them."""
    if tags is None or isinstance(tags, str):
        return [tags] * count
    if len(tags) != count:
        raise InputError(
            f"tags of {len(tags)} photos were given for {count}: give one for all, or one or a list for each"
        )
    return list(tags)


def _numbers(tags: Sequence[str], classes: Sequence[str]) -> list[int]:
    for tag in tags:
        if tag not in classes:
            raise InputError(f"the model does not know the tag {tag!r}: {suggest(str(tag), classes)}")
    return [classes.index(tag) for tag in tags]
