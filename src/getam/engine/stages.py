"""Run a recipe of several stages in one run folder: each stage in a folder of its own, none done twice.

    run/config.yaml, data.jsonl …   what was asked for, and of which data
    run/1-getam/                    a run folder like any other
    run/2-labels/                   masks, classes.txt, and a run folder's config.yaml and data.jsonl
    run/2-labels-beliefs/           grey maps beside the masks, where they are soft labels
    run/3-segmenter/                a run folder
    run/model.safetensors           the last stage's network, once it is done

A stage records what it was made from, the networks and labels of earlier stages among it: an interrupted run continues
in the middle of a stage, a labelling one photo by photo, and no stage goes on from other inputs than it began with.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from contextlib import AbstractContextManager
from dataclasses import replace
from functools import partial
from pathlib import Path
from typing import Any

import numpy as np
import torch
from torch import Tensor

from getam.data.collection import Collection, Sample, names_hash
from getam.data.fingerprint import file_hash, take_fingerprint
from getam.data.grey_maps import read_photo_and_saliency
from getam.data.map_cache import write_grey
from getam.data.masks import read_mask, write_classes, write_mask
from getam.data.overlap import read_ahead, write_behind
from getam.engine.device import AUTO, choose_device
from getam.engine.hardware import Hardware
from getam.engine.loop import fit, in_words
from getam.engine.model import load_model
from getam.engine.model_file import MODEL, read_metadata, save_model
from getam.engine.processes import ANY, barrier, launched
from getam.engine.ranks import rank, world
from getam.engine.runfolder import RunFolder
from getam.engine.tracking.base import OpenTracker
from getam.labels.agreed import agreed
from getam.nets.network import Network
from getam.nets.weights import mean_weights
from getam.recipes.stages import LabelStage, MeanStage, SoftLabelStage, Stage, TrainStage
from getam.whole_files import write_atomically

Progress = Callable[[str, int], AbstractContextManager[Callable[..., None]]]
"""As `outputs.progress.progress`: what is done and how often → a function that takes the number done and a note."""
StageProgress = Callable[[int], AbstractContextManager[Callable[..., None]]]


def run_stages(
    stages: Sequence[Stage],
    collection: Collection,
    run: RunFolder,
    *,
    record: Mapping[str, Any],
    progress: Progress,
    workers: int = 0,
    pace: Callable[[float], None] | None = None,
    check: Callable[[Network], Mapping[str, float]] | None = None,
    given: Mapping[str, Path] | None = None,
    hardware: Hardware = ANY,
) -> Network:
    """Do what is not done yet of the stages, one after the other.

    Args:
        stages: of a `StagedRecipe`.
        collection: photos, tags and, where there are any, saliency maps; its masks are not used.
        run: an opened run folder, whose tracker follows each stage that trains, in a run of its own.
        record: the configuration as written to config.yaml.
        progress: shows how far a stage is.
        workers: loader processes.
        pace, check: as of `fit`, in every stage that trains.
        given: model files of networks that stages may need beside those of earlier stages, by name.
        hardware: what stages run on; labels are made in float32.

    Returns:
        The last stage's network, in eval mode.

    Raises:
        InputError: as `fit`, or a stage was begun with other options or inputs than now.
    """
    folders = stage_folders(stages, run.path)
    models = {name: folder / MODEL for name, folder in folders.items()} | dict(given or {})
    for number, stage in enumerate(stages, 1):
        what = f"{stage.name} ({number} of {len(stages)})"
        its = {**record, "stage": stage.name}
        if isinstance(stage, MeanStage):
            its |= {"recipe": "mean"}
            _average(stage, collection, folders[stage.name], models, its, partial(progress, what))
        elif isinstance(stage, LabelStage | SoftLabelStage):
            its |= {"recipe": "labels", **stage.options}
            _label(stage, collection, folders, models, its, partial(progress, what), hardware)
        else:
            its |= {"recipe": stage.recipe.name, **stage.config.model_dump(mode="json")}
            _train(
                stage,
                collection,
                folders,
                models,
                its,
                partial(progress, what),
                workers,
                pace,
                check,
                run.track,
                hardware,
            )
        barrier()  # of several processes none goes on before the stage is whole
    last = models[stages[-1].name]
    if rank() == 0:
        write_atomically(run.path / MODEL, last.read_bytes())
    return load_model(last)


def stage_folders(stages: Sequence[Stage], run: Path) -> dict[str, Path]:
    """Name of each stage → its folder in the run's."""
    return {stage.name: run / f"{number}-{stage.name}" for number, stage in enumerate(stages, 1)}


def _train(
    stage: TrainStage,
    collection: Collection,
    folders: Mapping[str, Path],
    models: Mapping[str, Path],
    record: dict[str, Any],
    progress: StageProgress,
    workers: int,
    pace: Callable[[float], None] | None,
    check: Callable[[Network], Mapping[str, float]] | None,
    track: OpenTracker | None,
    hardware: Hardware,
) -> None:
    given = _labelled(collection, folders[stage.labels]) if stage.labels else collection
    needs_masks = "mask" in stage.recipe.needs
    data = stage.config.crops(given, masks=needs_masks)
    start = models[stage.start] if stage.start else None
    content = take_fingerprint(
        given,
        masks=needs_masks,
        facts=_beliefs(given),
        files=_models_of((stage.start,) if start else (), models),
    )
    with RunFolder(folders[stage.name], track) as run:
        run.open(record, content)
        initial = load_model(start).state_dict() if start else None
        with progress(stage.config.steps) as advance:
            fit(
                stage.recipe, stage.config, data, given.classes, run, record=record, workers=workers, initial=initial,
                advance=lambda done, losses: advance(done, in_words(losses)), pace=pace,
                check=check, hardware=hardware,
            )  # fmt: skip


def _average(
    stage: MeanStage,
    collection: Collection,
    folder: Path,
    models: Mapping[str, Path],
    record: dict[str, Any],
    progress: StageProgress,
) -> None:
    files = _models_of(stage.needs, models)
    with RunFolder(folder) as run:
        run.open(record, take_fingerprint(replace(collection, samples=()), masks=False, files=files))
        if (folder / MODEL).is_file() or rank():
            return
        with progress(len(files)) as advance:
            nets = [load_model(file) for file in files.values()]
            nets[0].load_state_dict(mean_weights([net.state_dict() for net in nets]))
            first = read_metadata(models[stage.needs[0]])[2]  # its crops, where the run's own are others
            own = {name: record[name] for name in ("recipe", "stage")}
            save_model(folder / MODEL, nets[0], {**record, **first, **own})
            advance(len(files), "")


def _label(
    stage: LabelStage | SoftLabelStage,
    collection: Collection,
    folders: Mapping[str, Path],
    models: Mapping[str, Path],
    record: dict[str, Any],
    progress: StageProgress,
    hardware: Hardware,
) -> None:
    files, folder = _models_of(stage.needs, models), folders[stage.name]
    earlier = folders[stage.agrees_with] if isinstance(stage, LabelStage) and stage.agrees_with else None
    given = collection if earlier is None else _labelled(collection, earlier)
    with RunFolder(folder) as run:
        run.open(record, take_fingerprint(given, masks=earlier is not None, files=files))
        write_classes(folder, collection.classes)
        mine = collection.samples[rank() :: world()]
        todo = [sample for sample in mine if not mask_file(folder, sample).is_file()]
        if not todo:
            return
        # left to itself, Fabric takes MPS, which lacks some of what maps are made with
        device = choose_device() if hardware.accelerator == AUTO else launched(hardware).device
        nets = {name: load_model(models[name], device=device) for name in stage.needs}
        done = len(mine) - len(todo)
        with progress(len(mine)) as advance, write_behind() as write:
            for sample, (photo, saliency) in read_ahead(todo, read_photo_and_saliency):
                present = [collection.classes.index(tag) for tag in sample.tags]
                label: Tensor
                if isinstance(stage, SoftLabelStage):  # the mask comes last: it says that both are there
                    label, belief = stage.label(nets, photo, present, saliency)
                    write(write_grey, belief_file(folder, sample), belief.cpu().numpy())
                else:
                    label = stage.label(nets, photo, present, saliency)
                    if earlier is not None:
                        label = _agreed(label.cpu(), earlier, sample, len(collection.classes))
                write(write_mask, mask_file(folder, sample), label.cpu().numpy())
                done += 1
                advance(done, sample.name)


def _agreed(label: Tensor, folder: Path, sample: Sample, count: int) -> Tensor:
    """A photo's label where the stage of labels in `folder` says the same, undecided elsewhere."""
    other = read_mask(mask_file(folder, sample), (label.shape[-2], label.shape[-1]))
    return agreed(label, torch.from_numpy(other.astype(np.int32)), count)


def _beliefs(collection: Collection) -> dict[str, str]:
    """What the record of a stage says of the beliefs beside the masks that it learns from; nothing of none."""
    files = [sample.belief for sample in collection.samples if sample.belief is not None]
    return {"beliefs": names_hash(f"{file.name} {file_hash(file)}" for file in files)} if files else {}


def _models_of(names: Sequence[str], models: Mapping[str, Path]) -> dict[str, Path]:
    """The models a stage is made from, as its record calls them."""
    return {f"model of stage {name}": models[name] for name in names}


def mask_file(folder: Path, sample: Sample) -> Path:
    """Where a stage of labels keeps the label of a photo."""
    return folder / f"{sample.name}.png"


def belief_file(folder: Path, sample: Sample) -> Path:
    """Where a stage of soft labels, whose masks lie in `folder`, keeps how much of a photo's pixels is an object."""
    return folder.with_name(f"{folder.name}-beliefs") / f"{sample.name}.png"


def _labelled(collection: Collection, folder: Path) -> Collection:
    """The collection with a stage's labels for masks, in its own class list, and its beliefs, where it has any."""
    samples = tuple(
        replace(
            sample,
            mask=mask_file(folder, sample),
            belief=its if (its := belief_file(folder, sample)).is_file() else None,
        )
        for sample in collection.samples
    )
    return replace(collection, samples=samples, mask_classes=collection.classes, background=(), void=False)
