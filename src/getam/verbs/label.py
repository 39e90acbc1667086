"""`getam label`: pseudo labels for photos whose tags are known."""

from __future__ import annotations

from pathlib import Path

import torch
import torch.nn.functional as F
from torch import Tensor

from getam.data.collection import Sample
from getam.data.photos import as_tensor, read_photo
from getam.data.transforms import read_saliency
from getam.engine.model import embedded_model, load_model
from getam.errors import InputError
from getam.labels.completion import complete
from getam.labels.free import complete_without_saliency
from getam.maps.getam import getam
from getam.maps.multiscale import multiscale
from getam.nets.inference import fit_patches
from getam.nets.segmenter import Segmenter
from getam.refine.scaled import refine_maps
from getam.verbs.outputs import OutputFolder, weights_hash
from getam.verbs.overlap import read_ahead, write_behind
from getam.verbs.progress import progress
from getam.verbs.saliency import load_with_saliency

LABEL_SCALES = (224, 320)  # long sides in pixels
LABEL_COUPLING = "attn_grad"  # flatter than the paper's attn_grad2: less is left undecided (docs/results.md)
PAMR_SCALE = 0.5  # PAMR on photos at half size reaches twice as far (docs/results.md)
SALIENT = 127  # 8-bit saliency above this is salient: half of the range, not tuned


def label(
    *,
    data: Path,
    tags: Path | None = None,
    model: Path | None = None,
    out: Path = Path("labels"),
    saliency: Path | str | None = None,
    classes: tuple[str, ...] | None = None,
    split: str | None = None,
    scales: tuple[int, ...] = LABEL_SCALES,
    flip: bool = True,
    coupling: str = LABEL_COUPLING,
    start: int | None = None,
    overwrite: bool = False,
) -> Path:
    """Turn tags into masks: maps of each photo's tags → PAMR → label completion.

    Args:
        data: folder of photos, or a VOC folder.
        tags: CSV with the columns image,tags; tags.csv in `data` when left out.
        model: run folder or model file; the embedded model when left out.
        out: folder for the masks: palette PNGs at each photo's own size (255 = undecided), classes.txt,
            protocol.jsonl.
        saliency: folder with one saliency map per photo, or a provider that makes and caches them: img-focus or
            attention; without it the maps alone decide what is background.
        classes: label these tags only; all tags of the file, which the model must know, when left out.
        split: only the ids listed in this split file of a VOC folder.
        scales: long sides in pixels; maps are averaged over them.
        flip: average with the mirrored photo.
        coupling: how attention and gradient are combined: grad, grad2, attn_grad or attn_grad2.
        start: first block that counts; the model's own when left out.
        overwrite: replace masks that exist.

    Returns:
        `out`.

    Raises:
        InputError: bad photos, tags or saliency maps, a tag the model does not know, or masks in the way.
    """
    net = load_model(model)
    if not scales or min(scales) < 1:
        raise InputError(f"scales {scales} must be one or more positive long sides in pixels")
    collection = load_with_saliency(data, tags, saliency, classes=classes, split=split, net=net, model=model)
    unknown = [name for name in collection.classes if name not in net.classes]
    if unknown:
        raise InputError(f"the model does not know the tag {unknown[0]!r}: it knows {', '.join(net.classes)}")
    folder = OutputFolder(out, [f"{s.name}.png" for s in collection.samples], overwrite=overwrite)
    folder.classes(net.classes)
    total = len(collection.samples)
    with progress("labelling", total) as advance, write_behind() as write:
        for done, (sample, (photo, salient)) in enumerate(read_ahead(collection.samples, _read), start=1):
            present = [net.classes.index(tag) for tag in sample.tags]
            mask = pseudo_label(
                net, photo, present, salient, scales, flip=flip, coupling=coupling, start=start
            )
            write(folder.mask, sample.name, mask)
            advance(done, sample.name)
    folder.protocol(
        "label",
        {"data": data, "model": model, "saliency": saliency, "scales": scales, "flip": flip, "coupling": coupling,
         "start": start},
        photos=len(collection.samples), split=split, split_sha256=collection.split_hash(),
        weights_sha256=weights_hash(model or embedded_model()), tags_at_test_time=True,
    )  # fmt: skip
    return folder.path


def _read(sample: Sample) -> tuple[Tensor, Tensor | None]:
    """The photo (3,H,W) uint8 of a sample, and where it is salient, (1,H,W) bool or None."""
    photo = as_tensor(read_photo(sample.photo))
    height, width = photo.shape[-2:]
    return photo, None if sample.saliency is None else salient_pixels(sample, (height, width))


def salient_pixels(sample: Sample, size: tuple[int, int]) -> Tensor:
    """Where the saliency map of a sample, brought to the photo's (height, width), is above half: (1,H,W) bool."""
    small = read_saliency(sample, size).float()[None]
    return F.interpolate(small, size=size, mode="bilinear")[0] > SALIENT


def pseudo_label(
    net: Segmenter,
    photo: Tensor,
    present: list[int],
    salient: Tensor | None,
    scales: tuple[int, ...] = LABEL_SCALES,
    *,
    flip: bool = True,
    coupling: str = LABEL_COUPLING,
    start: int | None = None,
) -> Tensor:
    """One photo (3,H,W) and its class indices → pseudo label (H,W) uint8; `salient` (1,H,W) bool or None."""
    image = photo.float()[None]
    if not present:
        return torch.zeros(photo.shape[-2:], dtype=torch.uint8)
    maps = photo_maps(net, photo, present, scales, flip=flip, coupling=coupling, start=start)
    refined = refine_maps(image, maps, scale=PAMR_SCALE)
    slots = torch.tensor([present])
    if salient is not None:
        return complete(refined, slots, salient)[0]
    return complete_without_saliency(refined, slots, image)[0]


def photo_maps(
    net: Segmenter,
    photo: Tensor,
    present: list[int],
    scales: tuple[int, ...],
    *,
    flip: bool,
    coupling: str = LABEL_COUPLING,
    start: int | None = None,
) -> Tensor:
    """Raw maps (1,K,h,w) of one photo's classes, averaged over scales and flips."""
    height, width = photo.shape[-2:]
    sizes = [fit_patches(height, width, side, net.patch) for side in scales]
    return multiscale(
        lambda resized: getam(net, resized, [present], coupling=coupling, start=start),
        photo.float()[None].clamp(0, 255), sizes, flip=flip,
    )  # fmt: skip
