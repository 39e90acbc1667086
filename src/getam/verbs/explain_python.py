"""`getam.explain`, Python's: photos as people hold them, classes by name or number → maps that draw themselves."""

from __future__ import annotations

from collections import Counter
from collections.abc import Sequence
from dataclasses import replace
from numbers import Integral
from pathlib import Path
from typing import Any, overload

import numpy as np
import numpy.typing as npt
from torch import Tensor, nn

from getam.errors import InputError
from getam.maps.base import check_photos, tags_as_tensor
from getam.maps.registry import check_options, find_method
from getam.nets.preprocess import check_batch
from getam.opened.subject import Subject, open_model
from getam.opened.usual_chain import usual_method
from getam.report.photo_maps import PhotoMaps, PhotoMapsList
from getam.verbs.given_photos import OnePhoto, are_several, read_given

OneClass = str | int
Classes = OneClass | Sequence[OneClass] | Sequence[Sequence[OneClass]] | Tensor | npt.NDArray[Any] | None


@overload
def explain(
    model: nn.Module | str | Path | None, photos: OnePhoto | Tensor, classes: Classes = None, *,
    k: int | None = None, size: int | None = None, method: str | None = None, **options: Any,
) -> PhotoMaps: ...  # fmt: skip


@overload
def explain(
    model: nn.Module | str | Path | None, photos: Sequence[OnePhoto], classes: Classes = None, *,
    k: int | None = None, size: int | None = None, method: str | None = None, **options: Any,
) -> PhotoMapsList: ...  # fmt: skip


def explain(
    model: nn.Module | str | Path | None,
    photos: OnePhoto | Tensor | Sequence[OnePhoto],
    classes: Classes = None,
    *,
    k: int | None = None,
    size: int | None = None,
    method: str | None = None,
    **options: Any,
) -> PhotoMaps | PhotoMapsList:
    """Which pixels carry each class: maps of photos, one forward, one partial backward per class slot.

    Args:
        model: a timm, torchvision or `transformers` classifier, a module around one, a network of ours, or what names
            one: a run folder, a model file, the name of a timm model, hf:FOLDER or hf:OWNER/NAME, None for the embedded
            model. It is left exactly as it was.
        photos: a PIL photo, a path, an array (H,W,3) uint8, or several of them, of any size; they are prepared as the
            model expects. Or a batch of tensors (B,3,H,W) that is: normalised for other models, 0–255 for ours.
        classes: names or indices. One photo: one or several. Several photos or a batch: one for all ("cat"), one each
            (["cat", "dog"]), or a list each ([["cat"], ["cat", "dog"]]); or tags (B,C), a tensor or array. None: those
            the model finds.
        k: with no classes: the k best ones; when left out, those more likely there than not (ours) or the best one.
        size: long side of prepared photos in pixels, for models that take any; the model's own when left out.
        method: a name that `getam.methods()` lists: "getam", "gradcam", "zoom-cam", …; None: "getam", or what a run's
            recipe is best read with.
        options: of the method: for "getam" coupling, start and rows.

    Returns:
        of one photo or a batch `PhotoMaps`: values (B,K,h,w) float32 ≥ 0 on the grid of the method, valid, classes,
        scores; of several photos a `PhotoMapsList` of them. Both show, save, to_masks and top; each photo's overlay.

    Raises:
        InputError: unknown method, bad classes or options, unreadable photos, a model that does not say how its photos
            are prepared, images of another shape, or with numbers that normalised photos do not have.
        CaptureError: the model's attention or features cannot be read; the message says why.
    """
    chosen = find_method(usual_method(model) if method is None else method)
    check_options(chosen, options)
    if k is not None and (k < 1 or classes is not None):
        raise InputError(f"k={k}: give a positive number of classes to find, and then no classes")
    wanted = _listed(classes)
    if isinstance(photos, Tensor):
        check_photos(photos)
        if size is not None:
            raise InputError(
                f"size={size} is for photos, which are prepared: a batch of tensors has its size"
            )
        subject = Subject(model if isinstance(model, nn.Module) else open_model(model))
        check_batch(subject.net, photos)
        found = _of_batch(wanted, subject, photos, k)
        return PhotoMaps.of(chosen.make(subject.net, photos, found, **options), subject.names())
    several = are_several(photos)
    asked = _each(wanted, len(photos)) if several and len(photos) else [wanted]  # type: ignore[arg-type]
    read = read_given(photos, several=several)
    subject = Subject(
        model if isinstance(model, nn.Module) else open_model(model, any_size=size is not None), size
    )
    results = []
    for (pixels, title), its in zip(read, asked, strict=True):
        image = subject.prepare(pixels)
        maps = chosen.make(subject.net, image, _of_photo(its, subject, image, k), **options)
        results.append(PhotoMaps.of(maps, subject.names(image), pixels, title))
    return PhotoMapsList(_with_own_titles(results)) if several else results[0]


def _is_one(c: object) -> bool:
    return isinstance(c, (str, Integral))


def _listed(classes: Any) -> Any:
    """Classes as None, one, a list of them or of lists, or tags of more than one dimension."""
    classes = tags_as_tensor(classes)
    if isinstance(classes, (Tensor, np.ndarray)):
        return classes if isinstance(classes, Tensor) and classes.ndim > 1 else classes.tolist()
    if classes is None or _is_one(classes):
        return classes
    if not isinstance(classes, Sequence):
        raise InputError(f"classes are {classes!r}: give a name, an index, a list of them, or tags")
    return list(classes)


def _each(classes: Any, count: int) -> list[Any]:
    """What each of `count` photos is asked for: None, one class, a list, or tags (1,C)."""
    if classes is None or _is_one(classes):
        return [classes] * count
    if isinstance(classes, Tensor):
        if len(classes) != count:
            raise InputError(
                f"tags are {tuple(classes.shape)} but {count} photos were given: give (photos, classes)"
            )
        return list(classes.split(1))
    if len(classes) != count:
        what = "classes" if all(map(_is_one, classes)) else "class lists"
        raise InputError(
            f"{len(classes)} {what} were given for {count} photos: give one class for all, one each or a list each"
        )
    return list(classes)


def _of_photo(classes: Any, subject: Subject, image: Tensor, k: int | None) -> list[Any] | Tensor:
    """What one prepared photo (1,3,h,w) is asked for, as map methods take it."""
    if classes is None:
        return subject.present(image, k)
    if isinstance(classes, Tensor):
        return classes
    row = [classes] if _is_one(classes) else classes
    if len(row) == 1 and not _is_one(row[0]):
        row = row[0]
    return [_numbers(row, subject, image)]


def _of_batch(classes: Any, subject: Subject, images: Tensor, k: int | None) -> list[Any] | Tensor:
    """What a batch (B,3,h,w) is asked for, as map methods take it."""
    if classes is None:
        return subject.present(images, k)
    if isinstance(classes, Tensor):
        return classes
    return [_numbers([c] if _is_one(c) else c, subject, images[:1]) for c in _each(classes, len(images))]


def _numbers(row: Any, subject: Subject, image: Tensor) -> Any:
    """Names as indices; all else as it is, for `class_slots` to judge."""
    if not isinstance(row, (Sequence, Tensor, np.ndarray)) or not any(isinstance(c, str) for c in row):
        return row
    names = subject.names(image)
    return [names.index(c) if isinstance(c, str) else c for c in row]


def _with_own_titles(results: list[PhotoMaps]) -> list[PhotoMaps]:
    """Photos of the same name get their place beside it."""
    count = Counter(maps.title.casefold() for maps in results)
    return [
        replace(maps, title=f"{maps.title} {number}") if count[maps.title.casefold()] > 1 else maps
        for number, maps in enumerate(results)
    ]
