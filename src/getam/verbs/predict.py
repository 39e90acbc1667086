"""`getam predict`: photos without tags in, masks out."""

from __future__ import annotations

from pathlib import Path

import torch
from torch import Tensor

from getam.data.confidences import confidences, with_confidences
from getam.data.masks import encode_mask
from getam.data.photos import as_tensor, find_photos, read_photo_near
from getam.engine.device import AUTO, choose_device
from getam.engine.model import load_segmenter
from getam.errors import InputError
from getam.nets.embedded import embedded_model
from getam.nets.inference import WORK_SIDE, enlarged_labels, photo_logits, shrunk_photo
from getam.nets.segmenter import Segmenter
from getam.refine.crf import DEEPLAB, dense_crf
from getam.refine.scaled import shrunk
from getam.verbs.export import check_export, export
from getam.verbs.first_look import end_with_first_look
from getam.verbs.outputs import Job, OutputFolder, weights_hash
from getam.verbs.photo_by_photo import Encode, OnBadImage, check_on_bad_image, photo_by_photo

SINGLE_SCALE = (320,)  # long side in pixels; chosen on tune, and on other classes of MSRC (docs/results.md)


def predict(
    photos: Path,
    /,
    *,
    model: Path | None = None,
    out: Path = Path("masks"),
    scales: tuple[int, ...] = SINGLE_SCALE,
    flip: bool = False,
    crf: bool = True,
    to: str | None = None,
    device: str = AUTO,
    on_bad_image: OnBadImage = "fail",
    overwrite: bool = False,
) -> Path:
    """Segment photos with a trained network; no tags are used.

    A call that was interrupted goes on when it is repeated.

    Args:
        photos: one photo, or a folder of them; `out`, where it lies inside, is not searched.
        model: run folder or model file; the embedded model when left out.
        out: folder for the masks: palette PNGs at each photo's own size, classes.txt, protocol.jsonl, and
            first-look.html, the masks that are most worth a look.
        scales: long sides in pixels; logits are averaged over them.
        flip: average with the mirrored photo.
        crf: sharpen outlines with a dense CRF (about 0.4 s per photo; docs/results.md says what it gains).
        to: also write the masks for another tool, into a folder beside `out`: voc, coco, cvat, label-studio, labelme or
            yolo, with a confidence for each class where the format has a place for it.
        device: auto, cpu, cuda, cuda:1 or mps; auto is a GPU if there is one.
        on_bad_image: fail: stop at a photo that cannot be read; skip: leave it out, and say so at the end.
        overwrite: replace masks that exist.

    Returns:
        `out`.

    Raises:
        InputError: no photos, an unreadable photo, masks in the way, or no such device.
        SkippedError: photos were skipped; all others have their masks.
    """
    if not scales or min(scales) < 1:
        raise InputError(f"scales {scales} must be one or more positive long sides in pixels")
    check_on_bad_image(on_bad_image)
    jobs = photo_jobs(photos, out)
    net = load_segmenter(model, device=choose_device(device))
    options = {"photos": photos, "model": model, "scales": scales, "flip": flip, "crf": crf}
    call = {"verb": "predict", "weights_sha256": weights_hash(model or embedded_model()), "options": options}
    folder = OutputFolder(out, jobs, call, overwrite=overwrite)
    check_export(folder, net.classes, to, overwrite=overwrite)
    folder.classes(net.classes)
    largest = max(WORK_SIDE, *scales)

    def read(job: Job) -> tuple[Tensor, tuple[int, int]]:
        photo, size = read_photo_near(job.sources[0], largest)
        return shrunk_photo(as_tensor(photo), largest), size

    def make(job: Job, found: tuple[Tensor, tuple[int, int]]) -> Encode:
        photo, size = found
        beliefs, values = decisive(photo_logits(net, photo, scales, flip=flip), photo, crf=crf)
        label = enlarged_labels(values, size)
        sure = confidences(beliefs, values.argmax(0), net.classes)
        return lambda: {job.results[0]: with_confidences(encode_mask(label.cpu().numpy()), sure)}

    skipped = photo_by_photo(folder, read, make, what="predicting", on_bad_image=on_bad_image)
    end_with_first_look(folder, net.classes, skipped=skipped)
    export(folder, net.classes, to, skipped=skipped)
    folder.finish(skipped, tags_at_test_time=False)
    return folder.path


def segment(
    net: Segmenter,
    photo: Tensor,
    scales: tuple[int, ...] = SINGLE_SCALE,
    *,
    flip: bool = False,
    crf: bool = False,
    size: tuple[int, int] | None = None,
) -> Tensor:
    """One photo (3,H,W) in 0–255 → label uint8, 0 background, class index + 1: (H,W), or of another `size`."""
    small = shrunk_photo(photo, max(WORK_SIDE, *scales))
    logits = photo_logits(net, small, scales, flip=flip)
    return decide(logits, small, crf=crf, size=size or (photo.shape[-2], photo.shape[-1]))


def decide(
    logits: Tensor, photo: Tensor, *, crf: bool = False, size: tuple[int, int] | None = None
) -> Tensor:
    """Logits (C+1,H,W) of a photo (3,H,W) → label uint8, sharpened by a dense CRF on request: (H,W), or of a `size`.

    The CRF's parameters are in pixels of photos of about 500: larger ones are brought to that first.
    """
    values = sharpened(logits.softmax(0), photo) if crf else logits
    return enlarged_labels(values, size or (photo.shape[-2], photo.shape[-1]))


def decisive(logits: Tensor, photo: Tensor, *, crf: bool) -> tuple[Tensor, Tensor]:
    """Logits (C+1,H,W) of a photo (3,H,W) → the network's probabilities, and the values of which the largest wins.

    Both (C+1,h,w): with a CRF of the photo's size or 500 at most, else of the photo's size.
    """
    beliefs = logits.softmax(0)
    if not crf:
        return beliefs, logits
    beliefs = shrunk(beliefs[None])[0]
    return beliefs, sharpened(beliefs, photo)


def sharpened(beliefs: Tensor, photo: Tensor) -> Tensor:
    """Probabilities (C+1,h,w) of a photo (3,H,W) → those after a dense CRF, of the photo's size or 500 at most."""
    image = photo.to(beliefs.device, torch.float32)[None]
    return dense_crf(shrunk(image), shrunk(beliefs[None]), parameters=DEEPLAB)[0]


def photo_jobs(photos: Path | str, out: Path | str, suffix: str = ".png") -> list[Job]:
    """A photo, or those of a folder without `out`, each with one result, called like the photo's path in the folder."""
    files = find_photos(photos, leave_out=out)
    names = photo_names(files, Path(photos))
    return [Job(name, (f"{name}{suffix}",), (file,)) for name, file in zip(names, files, strict=True)]


def photo_names(files: list[Path], photos: Path) -> list[str]:
    """What each photo's results are called: its path in the folder, without the suffix."""
    root = photos if photos.is_dir() else photos.parent
    return [file.relative_to(root).with_suffix("").as_posix() for file in files]
