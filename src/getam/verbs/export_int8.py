"""`getam export --int8`: both ways of quantising tried, the one that loses less kept, and its loss measured."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import replace
from pathlib import Path
from tempfile import TemporaryDirectory

from getam.data.mask_folder import ClassList, classes_of, masks_in, remapped
from getam.data.masks import read_mask
from getam.data.photo_folder import photo_names
from getam.data.photos import read_photo_near
from getam.errors import InputError
from getam.exported.about import About
from getam.exported.arrays import Floats
from getam.exported.int8 import KINDS, quantised, share_changed
from getam.exported.write import with_about
from getam.metrics.confusion import ConfusionMatrix
from getam.photo_size import WORK_SIDE
from getam.verbs.open_predictor import open_predictor

Pairs = Sequence[tuple[Path, Path]]


def smaller(
    content: bytes, about: About, images: Sequence[Floats], where: str, pairs: Pairs, truth: Path | None
) -> tuple[bytes, str]:
    """The int8 file whose labels change less, with its metadata, and what it loses, in words.

    Labels decide and not the mIoU: on a few dozen photos that moves by more than quantising takes.

    Args:
        content, about: of the file in float32.
        images: prepared photos (1,3,H,W) that ranges of activations come from.
        where: what they are, in words.
        pairs: photos and their true masks; where there are none, no mIoU is measured.
        truth: folder of the masks.
    """
    with TemporaryDirectory() as folder:
        exact = Path(folder) / "exact.onnx"
        exact.write_bytes(content)
        changed: dict[str, float] = {}
        for kind in KINDS:
            said = f"int8, {kind}" + (f", calibrated on {where}" if kind == "static" else "")
            file = Path(folder) / f"{kind}.onnx"
            file.write_bytes(with_about(quantised(content, kind, images), replace(about, quantised=said)))
            changed[kind] = share_changed(exact, file, images)
        best, other = sorted(KINDS, key=lambda kind: changed[kind])
        words = (
            f"int8, {best}: {changed[best]:.2%} of the pixels of {where} change their label "
            f"({other}: {changed[other]:.2%})"
        )
        if truth is not None and pairs:
            before, after = (
                miou(file, pairs, classes_of(truth)) for file in (exact, Path(folder) / f"{best}.onnx")
            )
            words += (
                f"; mIoU {after:.3f} where float32 has {before:.3f}, on {len(pairs)} photos with truth "
                f"(long side {about.side}, no CRF)"
            )
        return (Path(folder) / f"{best}.onnx").read_bytes(), words


def with_truth(
    files: Sequence[Path], photos: Path, truth: Path, used: Sequence[Path]
) -> list[tuple[Path, Path]]:
    """Photos and their true masks, by name; those that were `used` for ranges stay out where there are others.

    Raises:
        InputError: no photo has a mask.
    """
    masks = masks_in(truth)
    pairs = [
        (file, masks[name]) for file, name in zip(files, photo_names(list(files), photos)) if name in masks
    ]
    if not pairs:
        raise InputError(f"no photo of {photos} has a mask in {truth}: masks are PNGs called as their photos")
    return [pair for pair in pairs if pair[0] not in used] or pairs


def miou(model: Path, pairs: Pairs, truth: ClassList) -> float:
    """Of the masks an ONNX file gives photos, without a CRF, against true ones."""
    predictor = open_predictor(model, scales=None, flip=False, crf=False, device="cpu")
    matrix = ConfusionMatrix(len(predictor.classes))
    for photo, mask in pairs:
        image, size = read_photo_near(photo, WORK_SIDE)
        label, _ = predictor.masks(predictor.prepare(image, size), size)
        matrix.update(
            label, remapped(mask, read_mask(mask, size), truth.names, predictor.classes, truth.void)
        )
    return float(matrix.compute().miou)
