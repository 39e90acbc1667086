"""`getam predict`: photos without tags in, masks out."""

from __future__ import annotations

from pathlib import Path

import torch
import torch.nn.functional as F
from torch import Tensor

from getam.data.photos import as_tensor, find_photos, read_photo
from getam.engine.model import embedded_model, load_segmenter
from getam.errors import InputError
from getam.nets.inference import photo_logits
from getam.nets.segmenter import Segmenter
from getam.refine.crf import DEEPLAB, dense_crf
from getam.verbs.outputs import OutputFolder, weights_hash
from getam.verbs.overlap import read_ahead, write_behind
from getam.verbs.progress import progress

CRF_LONG_SIDE = 500  # VOC's, for which the field's CRF parameters were found
SINGLE_SCALE = (256,)  # long side in pixels; crops of 224 are cut from photos of 201–256


def predict(
    photos: Path,
    /,
    *,
    model: Path | None = None,
    out: Path = Path("masks"),
    scales: tuple[int, ...] = SINGLE_SCALE,
    flip: bool = False,
    crf: bool = True,
    overwrite: bool = False,
) -> Path:
    """Segment photos with a trained network; no tags are used.

    Args:
        photos: one photo, or a folder of them.
        model: run folder or model file; the embedded model when left out.
        out: folder for the masks: palette PNGs at each photo's own size, classes.txt, protocol.jsonl.
        scales: long sides in pixels; logits are averaged over them.
        flip: average with the mirrored photo.
        crf: sharpen outlines with a dense CRF (about 0.4 s per photo; docs/results.md says what it gains).
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
    net = load_segmenter(model)
    folder = OutputFolder(out, [f"{name}.png" for name in names], overwrite=overwrite)
    folder.classes(net.classes)
    with progress("predicting", len(files)) as advance, write_behind() as write:
        coming = read_ahead(zip(files, names, strict=True), lambda named: as_tensor(read_photo(named[0])))
        for done, ((file, name), photo) in enumerate(coming, start=1):
            write(folder.mask, name, segment(net, photo, scales, flip=flip, crf=crf))
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
    """Logits (C+1,H,W) of a photo (3,H,W) → label (H,W) uint8, sharpened by a dense CRF on request.

    The CRF's parameters are in pixels of photos of about 500: larger ones are brought to that first.
    """
    if not crf:
        return logits.argmax(0).to(torch.uint8)
    height, width = photo.shape[-2:]
    image, belief = photo.to(logits.device, torch.float32)[None], logits.softmax(0)[None]
    scale = CRF_LONG_SIDE / max(height, width)
    if scale < 1:
        size = (max(1, round(height * scale)), max(1, round(width * scale)))
        image, belief = (F.interpolate(t, size=size, mode="area") for t in (image, belief))
    belief = dense_crf(image, belief, parameters=DEEPLAB)
    if scale < 1:
        belief = F.interpolate(belief, size=(height, width), mode="bilinear")
    return belief[0].argmax(0).to(torch.uint8)


def photo_names(files: list[Path], photos: Path) -> list[str]:
    """What each photo's results are called: its path in the folder, without the suffix."""
    root = photos if photos.is_dir() else photos.parent
    return [file.relative_to(root).with_suffix("").as_posix() for file in files]
