"""A mask as `supervision` has detections: one for each class that occurs, with its pixels, box and confidence."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import numpy as np

from getam.data.mask_formats import png
from getam.data.mask_formats.base import UNDECIDED, Reading
from getam.errors import InputError


def detections(mask: Path | str, *, classes: tuple[str, ...] | None = None) -> Any:
    """One mask file, as `label` and `predict` write it → `supervision.Detections`, K of them.

    Their `mask` is (K,H,W) bool, `xyxy` (K,4) the boxes around, right and lower sides outside, `class_id` the label
    minus 1, `data["class_name"]` its name. `confidence` (K,) is the mean probability that `predict` has noted, NaN for
    a class without; None where there is none. Undecided pixels are of no detection.

    Args:
        mask: a PNG with classes.txt in its folder or in one above.
        classes: names of the labels 1, 2, …, where there is no such file.

    Raises:
        InputError: no mask, no class list, or the extra "supervision" is not installed.
    """
    try:
        import supervision
    except ImportError as error:
        raise InputError(
            f"detections need the extra 'supervision' ({error}): pip install 'getam[supervision]'"
        ) from error
    found, names = png.read_one(Path(mask), Reading(classes))
    regions = [(number, flags) for number, flags in found.regions() if number != UNDECIDED]
    boxes = [
        [np.flatnonzero(flags.any(0))[0], np.flatnonzero(flags.any(1))[0],
         np.flatnonzero(flags.any(0))[-1] + 1, np.flatnonzero(flags.any(1))[-1] + 1]
        for _, flags in regions
    ]  # fmt: skip
    own = [names[number - 1] for number, _ in regions]
    sure = np.array([found.confidences.get(name, np.nan) for name in own], np.float32)
    return supervision.Detections(
        xyxy=np.array(boxes, np.float32).reshape(-1, 4),
        mask=np.array([flags for _, flags in regions], bool).reshape(-1, *found.label.shape),
        confidence=sure if found.confidences else None,
        class_id=np.array([number - 1 for number, _ in regions], int),
        data={"class_name": np.array(own, dtype=str)},
    )
