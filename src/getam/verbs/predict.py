"""`getam predict`: photos without tags in, masks out."""

from __future__ import annotations

from pathlib import Path, PurePosixPath
from typing import Any

from getam.data.confidences import with_confidences
from getam.data.masks import encode_mask
from getam.data.overlap import AHEAD
from getam.data.photos import find_photos, path_in, photo_root, read_photo_near
from getam.engine.device import AUTO
from getam.errors import InputError
from getam.outputs.folder import Job, OutputFolder
from getam.outputs.photo_by_photo import Encode, OnBadImage, check_on_bad_image, photo_by_photo
from getam.outputs.progress import say
from getam.outputs.shards import over_processes, read_shard
from getam.photo_size import SINGLE_SCALE, WORK_SIDE
from getam.verbs.export_masks import check_export, export
from getam.verbs.first_look import end_with_first_look
from getam.verbs.predictors import open_predictor

LARGE = 5000  # long side of photos in which what is small would be lost; phones' mostly have less


@over_processes
def predict(
    photos: Path,
    /,
    *,
    model: Path | None = None,
    out: Path = Path("masks"),
    scales: tuple[int, ...] = SINGLE_SCALE,
    flip: bool = False,
    crf: bool = True,
    tile: int | None = None,
    to: str | None = None,
    device: str = AUTO,
    on_bad_image: OnBadImage = "fail",
    shard: str | None = None,
    overwrite: bool = False,
) -> Path:
    """Segment photos with a trained network; no tags are used.

    A call that was interrupted goes on when it is repeated.

    Args:
        photos: one photo, a folder of them (`out`, where it lies inside, is not searched), or tars of them:
            photos-000000.tar, or several as "photos-{000000..000009}.tar".
        model: run folder, model file, or an ONNX file that `getam export` wrote, which runs without torch; the embedded
            model when left out.
        out: folder for the masks: palette PNGs at each photo's own size, classes.txt, protocol.jsonl, and
            first-look.html, the masks that are most worth a look.
        scales: long sides in pixels; logits are averaged over them.
        flip: average with the mirrored photo.
        crf: sharpen outlines with a dense CRF (about 0.4 s per photo; docs/results.md says what it gains).
        tile: look at larger photos in overlapping tiles of this many pixels a side, each of them at `scales`: for small
            things in large photos, from the air or under a microscope.
        to: also write the masks for another tool, into a folder beside `out`: voc, coco, cvat, label-studio, labelme or
            yolo, with a confidence for each class where the format has a place for it.
        device: auto, cpu, cuda, cuda:1 or mps; auto is a GPU if there is one.
        on_bad_image: fail: stop at a photo that cannot be read; skip: leave it out, and say so at the end.
        shard: only this process's part of the photos, such as 3/16, the third of 16 (docs/reliability.md); the same
            command without it then does what is left and ends the call.
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
    part = read_shard(shard)
    jobs = photo_jobs(photos, out)
    network = open_predictor(model, scales=scales, flip=flip, crf=crf, device=device, tile=tile)
    options = {"photos": photos, "model": model, "scales": scales, "flip": flip, "crf": crf, "tile": tile}
    call = {"verb": "predict", "weights_sha256": network.weights_sha256, "options": options}
    large: list[str] = []
    ahead = AHEAD if tile is None else 1  # photos that need tiles may have 100 million pixels

    def read(job: Job) -> tuple[Any, tuple[int, int]]:
        photo, size = read_photo_near(job.sources[0], network.seen_side)
        if tile is None and max(size) > LARGE:
            large.append(job.name)
        return network.prepare(photo, size), size

    def make(job: Job, found: tuple[Any, tuple[int, int]]) -> Encode:
        label, sure = network.masks(*found)
        return lambda: {job.results[0]: with_confidences(encode_mask(label), sure)}

    with OutputFolder(out, jobs, call, overwrite=overwrite, shard=part) as folder:
        check_export(folder, network.classes, to, overwrite=overwrite)
        folder.classes(network.classes)
        skipped = photo_by_photo(
            folder, read, make, what="predicting", on_bad_image=on_bad_image, ahead=ahead
        )
        if large:
            say(
                f"{len(large)} of the photos, such as {min(large)}, are larger than {LARGE} pixels and were looked at "
                f"at {max(scales)}: --tile {WORK_SIDE} looks closer, and takes longer"
            )
        if part is not None:
            return folder.leave(skipped)
        end_with_first_look(folder, network.classes, skipped=skipped)
        export(folder, network.classes, to, skipped=skipped)
        folder.finish(skipped, tags_at_test_time=False)
    return folder.path


def photo_jobs(photos: Path | str, out: Path | str, suffix: str = ".png") -> list[Job]:
    """A photo, or those of a folder without `out`, each with one result, called like the photo's path in the folder."""
    files = find_photos(photos, leave_out=out)
    names = photo_names(files, Path(photos))
    return [Job(name, (f"{name}{suffix}",), (file,)) for name, file in zip(names, files, strict=True)]


def photo_names(files: list[Path], photos: Path) -> list[str]:
    """What each photo's results are called: its path in the folder, without the suffix."""
    root = photo_root(photos)
    return [PurePosixPath(path_in(root, file)).with_suffix("").as_posix() for file in files]
