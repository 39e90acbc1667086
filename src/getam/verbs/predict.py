"""`getam predict`: photos in, masks out; tags are not needed, but used where they are given."""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path
from typing import Any

from getam.data.class_map import read_class_map
from getam.data.collection import Sample
from getam.data.confidences import with_confidences
from getam.data.masks import encode_mask
from getam.data.overlap import AHEAD
from getam.data.photos import read_photo_near
from getam.data.tars import names_tars
from getam.engine.device import AUTO
from getam.errors import InputError
from getam.outputs.folder import Job, OutputFolder
from getam.outputs.photo_by_photo import Encode, OnBadImage, check_on_bad_image, photo_by_photo
from getam.outputs.progress import say
from getam.outputs.shards import over_processes, read_shard
from getam.photo_size import WORK_SIDE, require_sides
from getam.verbs.export_masks import check_export, export
from getam.verbs.first_look import end_with_first_look
from getam.verbs.from_python import from_python
from getam.verbs.loading import load_and_say, photo_jobs, require_known, tagged_job
from getam.verbs.open_predictor import open_predictor

LARGE = 5000  # long side of photos in which what is small would be lost; phones' mostly have less


@from_python
@over_processes
def predict(
    photos: Path,
    /,
    *,
    model: Path | None = None,
    out: Path = Path("masks"),
    tags: Path | None = None,
    format: str | None = None,
    classes: tuple[str, ...] | None = None,
    map: Path | None = None,
    scales: tuple[int, ...] | None = None,
    flip: bool = False,
    crf: bool = True,
    tile: int | None = None,
    to: str | None = None,
    device: str = AUTO,
    on_bad_image: OnBadImage = "fail",
    shard: str | None = None,
    overwrite: bool = False,
) -> Path:
    """Segment photos with a trained network; no tags are needed.

    A call that was interrupted goes on when it is repeated.

    Args:
        photos: one photo, a folder of them (`out`, where it lies inside, is not searched), or tars of them:
            photos-000000.tar, or several as "photos-{000000..000009}.tar"; with `tags` also a VOC folder.
        model: run folder, model file, or an ONNX file that `getam export` wrote, which runs without torch; the embedded
            model when left out.
        out: folder for the masks: palette PNGs at each photo's own size, classes.txt, protocol.jsonl, and
            first-look.html, the masks that are most worth a look.
        tags: what says which photo shows what, as of `getam train`: no other class is looked for in that photo, which
            makes better masks; photos that it does not name are left out.
        format: how the tags are written, as of `getam train`; recognised when left out.
        classes: look for these tags only; all tags of the file, which the model must know, when left out.
        map: CSV of from,to lines, or YAML, with new names for tags, such as those that the model knows: two with one
            name are merged, one with an empty name is dropped.
        scales: long sides in pixels; logits are averaged over them. Left out, 1.4 of the crops that the model was
            trained on, 320 at least.
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
    if scales is not None:
        require_sides(scales)
    check_on_bad_image(on_bad_image)
    part = read_shard(shard)
    how = {"format": format, "classes": classes, "map": map}
    if tags is None and (without := [name for name, value in how.items() if value is not None]):
        raise InputError(f"--{without[0]} is of --tags: give those too, or leave it out")
    jobs = photo_jobs(photos, out) if tags is None else []
    network = open_predictor(model, scales=scales, flip=flip, crf=crf, device=device, tile=tile)
    tagged: dict[str, Sample] | None = None
    if tags is not None:
        tagged = tagged_photos(photos, tags, format, classes, map, known=network.classes)
        jobs = [tagged_job(sample) for sample in tagged.values()]
    options = {
        "photos": photos, "tags": tags, "model": model, "scales": network.scales, "flip": flip, "crf": crf,
        "tile": tile,
    }  # fmt: skip
    call = {"verb": "predict", "weights_sha256": network.weights_sha256, "options": options}
    large: list[str] = []
    ahead = AHEAD if tile is None else 1  # photos that need tiles may have 100 million pixels

    def read(job: Job) -> tuple[Any, tuple[int, int]]:
        photo, size = read_photo_near(job.sources[0], network.seen_side)
        if tile is None and max(size) > LARGE:
            large.append(job.name)
        return network.prepare(photo, size), size

    def numbers(names: Sequence[str]) -> list[int]:
        return [network.classes.index(name) for name in names]

    def make(job: Job, found: tuple[Any, tuple[int, int]]) -> Encode:
        may_be = None if tagged is None else numbers((*tagged[job.name].tags, *tagged[job.name].unknown))
        label, sure = network.masks(*found, may_be)
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
                f"at {max(network.scales)}: --tile {WORK_SIDE} looks closer, and takes longer"
            )
        if part is not None:
            return folder.leave(skipped)
        shown = None if tagged is None else {name: numbers(its.tags) for name, its in tagged.items()}
        end_with_first_look(folder, network.classes, skipped=skipped, tags=shown)
        export(folder, network.classes, to, skipped=skipped)
        folder.finish(skipped, tags_at_test_time=tagged is not None)
    return folder.path


def tagged_photos(
    photos: Path,
    tags: Path,
    format: str | None,
    classes: Sequence[str] | None,
    map: Path | None,
    *,
    known: Sequence[str],
) -> dict[str, Sample]:
    """The photos that the tags name, by what their results are called; `known` are the classes of the model.

    Raises:
        InputError: the photos are no folder, the tags cannot be read, or the model does not know one.
    """
    if photos.is_file() and not names_tars(photos):
        raise InputError(f"--tags is for a folder of photos, and {photos} is one: give the folder it lies in")
    class_map = None if map is None else read_class_map(map)
    found = load_and_say(photos, tags, format=format, classes=classes, known=known, class_map=class_map)
    require_known(found.classes, known)
    return {sample.name: sample for sample in found.samples}
