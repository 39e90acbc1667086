"""One row of `getam leaderboard`: a system is trained, labels, teaches the common second stage, and is scored."""

from __future__ import annotations

import json
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, replace
from functools import cache
from pathlib import Path
from typing import Any

import numpy as np

from getam.data.collection import Collection, Sample, load_sample_mask
from getam.data.fingerprint import take_fingerprint
from getam.data.masks import read_mask, write_classes, write_mask
from getam.data.overlap import read_ahead, write_behind
from getam.data.photos import as_tensor, read_photo
from getam.data.tags import BACKGROUND
from getam.engine.model_file import MODEL
from getam.engine.runfolder import METRICS, RunFolder
from getam.engine.stages import mask_file, run_stages, stage_folders
from getam.engine.step_cost import step_cost
from getam.errors import InputError
from getam.label_numbers import ignore_label
from getam.metrics.bootstrap import interval
from getam.metrics.confusion import ConfusionMatrix, Counts, Scores, hits_and_unions
from getam.nets.masks import segment
from getam.nets.network import Network, evaluating
from getam.nets.segmenter import Segmenter
from getam.outputs.progress import progress
from getam.photo_size import fit_patches
from getam.recipes.base import CommonConfig
from getam.recipes.stages import Stage, TrainStage
from getam.recipes.supervised import SupervisedConfig
from getam.report.bench_photos import as_lines
from getam.report.leaderboard_table import Curve, SystemRow
from getam.verbs.exam import Exam
from getam.verbs.leaderboard_entry import SECOND, Entry
from getam.verbs.train_config import configure, recorded
from getam.whole_files import write_atomically

PLAN = "plan.json"  # beside a row's folder: its steps and what they cost
RANKED, MIOU = "tags right", "mIoU"  # what is followed while training
TRIAL_STEPS = 1000  # from which a budget is divided among stages
MEGABYTE = 1e6


@dataclass(frozen=True)
class Contest:
    """What all systems share.

    Attributes:
        train: photos, tags and, where there are any, saliency maps; its masks measure labels and teach the ceiling.
        test: photos with tags and masks.
        followed: those of the test photos that are scored while training.
        given: options of all recipes: backbone, weights, size, batch_size, seed.
        steps: of every training; None: as many as suit the photos.
        budget: instead of steps, seconds that a system's own trainings take together.
        second: the common second stage.
        side: long side in pixels at which the test photos are seen.
    """

    train: Collection
    test: Collection
    followed: Collection
    given: Mapping[str, Any]
    steps: int | None
    budget: float | None
    second: SupervisedConfig
    side: int


@dataclass(frozen=True)
class Folders:
    """Where a row's parts are.

    Attributes:
        network: run folder of what a system without labels of its own trains; rows of one training share it.
        row: run folder of all other stages, and the masks of the test photos.
    """

    network: Path
    row: Path

    @property
    def masks(self) -> Path:
        """Of the test photos."""
        return self.row / "masks"


def measure_system(contest: Contest, entry: Entry, folders: Folders) -> SystemRow:
    """Train one system, or go on with it, and score it.

    Args:
        contest: what all systems share.
        entry: the system.
        folders: of this row.

    Raises:
        InputError, CaptureError: the system does not go with the photos; losses that are no longer finite.
    """
    if entry.pipeline is not None:
        saliency = contest.train.has_saliency
        several = any(len(sample.tags) > 1 for sample in contest.train.samples)
        entry.pipeline.check(saliency=saliency, several_tags=several)
        really = replace(entry.pipeline, labels=entry.pipeline.labeller(saliency=saliency))
        entry = replace(entry, pipeline=really)
    config, costs = _planned(contest, entry, folders.row)
    stages = entry.stages(config, contest.train)
    second = entry.second_stage(stages, contest.second)
    steps = {stage.name: stage.config.steps for stage in _training(stages)}
    record = {"recipe": entry.training, **recorded(config)}
    networks: dict[str, Path] = {}
    trained = stage_folders((*stages, second), folders.row)
    if entry.pipeline is not None:
        first, *rest = stages
        _run(contest, (first,), folders.network, record)
        networks = {first.name: folders.network / MODEL}
        trained = stage_folders((first,), folders.network) | stage_folders((*rest, second), folders.row)
        stages = tuple(rest)
    record |= {"labelled_by": entry.labelled_by, "second_stage": recorded(second.config)}
    net = _run(contest, (*stages, second), folders.row, record, networks)
    segmented = _scored(contest.test, _segment(contest, net, folders.masks))
    labels = None
    if second.labels and contest.train.has_masks:
        labels = _scored(contest.train, lambda sample: mask_file(trained[second.labels], sample))
    begun = next(iter(steps), SECOND)
    return SystemRow(
        name=entry.name,
        options=recorded(config),
        labelled_by=entry.labelled_by,
        steps={**steps, SECOND: second.config.steps},
        miou=segmented.scores.miou,
        interval=interval(segmented.counts),
        iou=segmented.iou(contest.test.classes),
        photos=as_lines(segmented.counts),
        labels_miou=None if labels is None else labels.scores.miou,
        labels_interval=None if labels is None else interval(labels.counts),
        labels_iou=None if labels is None else labels.iou(contest.train.classes),
        undecided=None if labels is None else labels.undecided,
        cpu_seconds=costs["cpu_seconds"],
        megabytes=costs["megabytes"],
        parameters=costs["parameters"],
        tags_curve=_curve(trained[begun], RANKED),
        miou_curve=_curve(trained[SECOND], MIOU),
    )


def _planned(contest: Contest, entry: Entry, folder: Path) -> tuple[CommonConfig, dict[str, Any]]:
    """The configuration, and what its steps cost, as found when the row was begun: a budget is divided only once."""
    file = folder.parent / f"{folder.name}.{PLAN}"
    asked = contest.steps if contest.budget is None else TRIAL_STEPS
    given = {**contest.given, **({} if asked is None else {"steps": asked}), **entry.options}
    config = configure(entry.system, "light", given, None, len(contest.train.samples))
    if file.is_file():
        plan = json.loads(file.read_text(encoding="utf-8"))
        return config.model_copy(update={"steps": plan["steps"]}), plan
    stages = _training(entry.stages(config, contest.train)) or (entry.second_stage((), contest.second),)
    costs = [step_cost(stage.recipe, stage.config, contest.train) for stage in stages]
    shares = [stage.config.steps for stage in stages]
    steps = config.steps
    if contest.budget is not None and "steps" not in entry.options:
        seconds = sum(share * cost.seconds for share, cost in zip(shares, costs))
        steps = max(1, int(steps * contest.budget / seconds))
    plan = {
        "steps": steps,
        "cpu_seconds": sum(share * cost.cpu_seconds for share, cost in zip(shares, costs)) / sum(shares),
        "megabytes": max(cost.bytes for cost in costs) / MEGABYTE,
        "parameters": max(cost.parameters for cost in costs),
    }
    file.parent.mkdir(parents=True, exist_ok=True)
    write_atomically(file, json.dumps(plan, indent=1).encode())
    return config.model_copy(update={"steps": steps}), plan


def _training(stages: Sequence[Stage]) -> tuple[TrainStage, ...]:
    return tuple(stage for stage in stages if isinstance(stage, TrainStage))


def _run(
    contest: Contest,
    stages: Sequence[Stage],
    folder: Path,
    record: Mapping[str, Any],
    networks: Mapping[str, Path] | None = None,
) -> Network:
    """The stages in a run folder; the last one's network."""
    second = stages[-1]
    from_masks = isinstance(second, TrainStage) and not second.labels and "mask" in second.recipe.needs
    if from_masks and not contest.train.has_masks:
        bare = next(sample for sample in contest.train.samples if sample.mask is None)
        raise InputError(
            f"a ceiling learns from the true masks of all photos, and {bare.photo} has none: add {bare.name}.png to the"
            " folder of --truth, or leave that recipe out"
        )
    with RunFolder(folder) as run:
        run.open(record, take_fingerprint(contest.train, masks=from_masks))
        return run_stages(
            stages,
            contest.train,
            run,
            record=record,
            progress=progress,
            check=_followed(contest),
            given=networks,
        )


def _followed(contest: Contest) -> Callable[[Network], Mapping[str, float]]:
    """What is scored now and then while a network trains; nothing is chosen by it."""

    @cache
    def exam(side: int) -> Exam:
        seen = contest.second.model_copy(update={"size": side})
        return Exam(seen.whole_photos(contest.followed), seen.batch_size)

    def check(net: Network) -> Mapping[str, float]:
        size = contest.second.size
        side, _ = fit_patches(size, size, size, net.patch)  # of the second network's crops, or nearly
        found = dict(exam(side).mean_ranked(net))
        if isinstance(net, Segmenter):
            matrix = ConfusionMatrix(len(contest.followed.classes))
            with evaluating(net):
                for sample in contest.followed.samples:
                    label = segment(net, as_tensor(read_photo(sample.photo)), (contest.side,))
                    matrix.update(label, load_sample_mask(sample, contest.followed, label.shape))
            found[MIOU] = matrix.compute().miou
        return found

    return check


def _segment(contest: Contest, net: Network, folder: Path) -> Callable[[Sample], Path]:
    """Masks of the test photos in a folder, those that are there as they are."""
    assert isinstance(net, Segmenter)
    folder.mkdir(parents=True, exist_ok=True)
    write_classes(folder, contest.test.classes)
    todo = [sample for sample in contest.test.samples if not mask_file(folder, sample).is_file()]
    done = len(contest.test.samples) - len(todo)
    with progress("segmenting", len(contest.test.samples)) as advance, write_behind() as write:
        for sample, photo in read_ahead(todo, lambda sample: as_tensor(read_photo(sample.photo))):
            write(write_mask, mask_file(folder, sample), segment(net, photo, (contest.side,)))
            done += 1
            advance(done, sample.name)
    return lambda sample: mask_file(folder, sample)


@dataclass(frozen=True)
class _Scored:
    scores: Scores
    counts: Counts
    undecided: float

    def iou(self, classes: Sequence[str]) -> dict[str, float]:
        return dict(zip((BACKGROUND, *classes), self.scores.iou, strict=True))


def _scored(collection: Collection, file: Callable[[Sample], Path]) -> _Scored:
    """Masks in the collection's numbers against its own."""
    matrix = ConfusionMatrix(len(collection.classes))
    counts, undecided = [], []
    for sample in collection.samples:
        label = read_mask(file(sample))
        counts.append(
            hits_and_unions(matrix.update(label, load_sample_mask(sample, collection, label.shape)))
        )
        undecided.append(float((label == ignore_label(matrix.classes)).mean()))
    return _Scored(matrix.compute(), np.stack(counts), float(np.mean(undecided)))


def _curve(folder: Path, what: str) -> Curve:
    """What was followed of a stage's training: (share of the steps, value)."""
    lines = [json.loads(line) for line in (folder / METRICS).read_text(encoding="utf-8").splitlines()]
    last = max(line["step"] for line in lines)
    return tuple((line["step"] / last, line[what]) for line in lines if what in line)
