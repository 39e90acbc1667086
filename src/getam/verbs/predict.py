"""`getam predict`: photos without tags in, masks out."""

from __future__ import annotations

from pathlib import Path

import torch
from torch import Tensor

from getam.data.photos import as_tensor, find_photos, read_photo
from getam.engine.model import embedded_model, load_model
from getam.errors import InputError
from getam.nets.inference import photo_logits
from getam.nets.segmenter import Segmenter
from getam.refine.crf import DEEPLAB, dense_crf
from getam.verbs.outputs import OutputFolder, weights_hash
from getam.verbs.progress import progress

SINGLE_SCALE = (256,)  # long side in pixels; crops of 224 are cut from photos of 201–256


def predict(
    photos: Path,
    /,
    *,
    model: Path | None = None,
    out: Path = Path("masks"),
    scales: tuple[int, ...] = SINGLE_SCALE,
    flip: bool = False,
    crf: bool = False,
    overwrite: bool = False,
) -> Path:
    """Segment photos with a trained network; no tags are used.

    Args:
        photos: one photo, or a folder of them.
        model: run folder or model file; the embedded model when left out.
        out: folder for the masks: palette PNGs at each photo's own size, classes.txt, protocol.jsonl.
        scales: long sides in pixels; logits are averaged over them.
        flip: average with the mirrored photo.
        crf: sharpen with a dense CRF.
        overwrite: replace masks that exist.

    Returns:
        `out`.

    Raises:
        InputError: no photos, an unreadable photo, or masks in the way.
    """
    if not scales or min(scales) < 1:
        raise InputError(f"scales {scales} must be one or more positive long sides in pixels")
    files = find_photos(photos)
    names = photo_names(files, Path(photos))
    net = load_model(model)
    folder = OutputFolder(out, [f"{name}.png" for name in names], overwrite=overwrite)
    folder.classes(net.classes)
    with progress("predicting", len(files)) as advance:
        for done, (file, name) in enumerate(zip(files, names), start=1):
            photo = as_tensor(read_photo(file))
            folder.mask(name, segment(net, photo, scales, flip=flip, crf=crf))
            advance(done, file.name)
    folder.protocol(
        "predict",
        {"photos": photos, "model": model, "scales": scales, "flip": flip, "crf": crf},
        photos=len(files), weights_sha256=weights_hash(model or embedded_model()), tags_at_test_time=False,
    )  # fmt: skip
    return folder.path


def segment(
    net: Segmenter,
    photo: Tensor,
    scales: tuple[int, ...] = SINGLE_SCALE,
    *,
    flip: bool = False,
    crf: bool = False,
) -> Tensor:
    """One photo (3,H,W) in 0–255 → label (H,W) uint8, 0 background, class index + 1."""
    return decide(photo_logits(net, photo, scales, flip=flip), photo, crf=crf)


def decide(logits: Tensor, photo: Tensor, *, crf: bool = False) -> Tensor:
    """Logits (C+1,H,W) of a photo (3,H,W) → label (H,W) uint8, sharpened by a dense CRF on request."""
    if not crf:
        return logits.argmax(0).to(torch.uint8)
    image = photo.to(logits.device, torch.float32)[None]
    return dense_crf(image, logits.softmax(0)[None], parameters=DEEPLAB)[0].argmax(0).to(torch.uint8)


def photo_names(files: list[Path], photos: Path) -> list[str]:
    """What each photo's results are called: its path in the folder, without the suffix."""
    root = photos if photos.is_dir() else photos.parent
    return [file.relative_to(root).with_suffix("").as_posix() for file in files]
