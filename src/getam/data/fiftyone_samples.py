"""A folder of masks as FiftyOne has them: samples with a segmentation each, to look at, sort and correct."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import numpy as np

from getam.data.mask_formats import png
from getam.data.mask_formats.base import UNDECIDED_NAME, Reading
from getam.data.mask_formats.photo_files import photo_files, with_photos
from getam.data.tags import BACKGROUND
from getam.errors import InputError
from getam.label_numbers import ignore_label, is_deep


def fiftyone_samples(masks: Path | str, photos: Path | str) -> tuple[list[Any], dict[int, str]]:
    """Masks of `label` or `predict`, with their photos → samples of FiftyOne and what each label is called.

    Each sample has `masks`, a `fiftyone.Segmentation` of (H,W) uint8, or uint16 beyond 254 classes, and where `predict`
    has noted how sure it was, `confidence`, the lowest of its classes: sort by it to see first what is worth a look.

        samples, targets = getam.fiftyone_samples("masks", "photos")
        dataset = fiftyone.Dataset("pets")
        dataset.add_samples(samples)
        dataset.mask_targets = {"masks": targets}

    FiftyOne's own reader of folders takes palette PNGs for colours, and classes.txt for a mask.

    Raises:
        InputError: no masks, a photo is missing, or `fiftyone` is not installed.
    """
    try:
        import fiftyone
    except ImportError as error:
        raise InputError(
            f"samples need fiftyone, which is not installed ({error}): pip install fiftyone"
        ) from error
    source = with_photos(png.read(Path(masks), Reading()), photo_files(Path(photos), leave_out=Path(masks)))
    deep = is_deep(len(source.classes))
    targets = dict(enumerate((BACKGROUND, *source.classes)))
    targets[ignore_label(len(source.classes))] = UNDECIDED_NAME
    samples = []
    for mask in source.masks:
        label = np.array(mask.label) if deep else png.narrowed(mask.label)
        sample = fiftyone.Sample(filepath=str(mask.file), masks=fiftyone.Segmentation(mask=label))
        if mask.confidences:
            sample["confidence"] = min(mask.confidences.values())
        samples.append(sample)
    return samples, targets
