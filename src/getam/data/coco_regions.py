"""Regions as COCO writes them, polygons or run lengths, made alike by pycocotools (extra `coco`)."""

from __future__ import annotations

from typing import Any

from getam.errors import InputError


def pycocotools_mask() -> Any:
    """Its module of masks. Raises `InputError` where it is not installed."""
    try:
        from pycocotools import mask
    except ImportError as error:
        raise InputError(
            f"COCO's masks need the extra 'coco' ({error}): pip install 'getam[coco]'"
        ) from error
    return mask


def run_lengths(segmentation: Any, size: tuple[int, ...]) -> Any:
    """A `segmentation` of a photo of `size` (H,W) as pycocotools has it: a few bytes, to decode, measure or compare.

    Raises:
        ValueError: run lengths of a photo of another size.
        InputError: pycocotools is not installed.
    """
    coder = pycocotools_mask()
    if isinstance(segmentation, list):
        return coder.merge(
            coder.frPyObjects([[float(x) for x in polygon] for polygon in segmentation], *size)
        )
    if tuple(segmentation["size"]) != size:
        raise ValueError(f"a mask of {segmentation['size']} on a photo of {list(size)}")
    if isinstance(segmentation["counts"], list):
        return coder.frPyObjects(segmentation, *size)
    return segmentation
