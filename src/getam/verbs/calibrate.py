"""`getam label --calibrate`: the thresholds of a label rule, chosen on a handful of true masks and cross-validated."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any

import numpy as np

from getam.data.collection import Sample
from getam.data.grey_maps import read_photo_and_saliency
from getam.data.mask_folder import ClassList, classes_of, masks_in, remapped
from getam.data.masks import read_mask, remap
from getam.errors import InputError
from getam.labels.candidates import Options, candidates
from getam.labels.enlarge import enlarged
from getam.metrics.confusion import Counts, confusion_matrix, hits_and_unions
from getam.metrics.cross_validation import CrossValidated, cross_validated
from getam.named import write_named
from getam.nets.network import Network
from getam.outputs.progress import progress, say
from getam.pipeline import Pipeline

LEAST = 2
ENOUGH = 6  # below, chance does everything in 1 of 2⁵ cases: 10 are better, and 20 find most gains of 0.06


@dataclass(frozen=True)
class Calibration:
    """What was chosen, and what it is worth.

    Attributes:
        rule: the label rule.
        chosen: its options that are best on all masks; {} is its default.
        photos: number of true masks.
        found: the cross-validation.
    """

    rule: str
    chosen: Options
    photos: int
    found: CrossValidated

    @property
    def used(self) -> Options:
        """The options to label with: the default, unless the choice is surely better and made on enough photos."""
        return self.chosen if self.found.better and self.photos >= ENOUGH else {}

    def sentences(self, default: Mapping[str, Any]) -> list[str]:
        """What the command says; `default` are the rule's options where nothing is chosen."""
        found, best = self.found, {**default, **self.chosen}
        near = "unknown" if found.interval is None else "{:+.3f} to {:+.3f}".format(*found.interval)
        said = [
            f"{self.photos} true masks; best on all of them: {self.rule}{write_named(best)}",
            f"mIoU {found.miou:.3f} cross-validated (each photo with thresholds chosen without it), "
            f"{found.default_miou:.3f} with the defaults; difference {found.miou - found.default_miou:+.3f} "
            f"(95 % interval {near}; chance alone gives as much in {found.chance:.1%} of cases)",
        ]
        if self.used:
            said.append("the chosen thresholds are better: they are used")
        elif self.photos < ENOUGH:
            said.append(
                f"fewer than {ENOUGH} masks cannot show that other thresholds are better: the defaults are kept"
            )
        else:
            said.append("that the chosen ones are better is not sure: the defaults are kept")
        return [*said, f'the same again without masks: --labels "{self.rule}{write_named(self.used)}"']

    def record(self) -> dict[str, Any]:
        """For the protocol."""
        return {
            "masks": self.photos, "best_on_all": self.chosen, "miou_cross_validated": self.found.miou,
            "miou_default": self.found.default_miou, "difference_interval": self.found.interval,
            "chance": self.found.chance,
        }  # fmt: skip


def calibrated(
    pipeline: Pipeline, net: Network, samples: Mapping[str, Sample], scored: Sequence[str], folder: Path
) -> tuple[Pipeline, Calibration]:
    """The pipeline with the thresholds that are used, and how they were chosen; said on stderr.

    Args:
        pipeline: without options of its label rule.
        net: makes the maps.
        samples: name → photo with tags, and saliency if labels use it.
        scored: the classes that masks are compared by; others in the true masks are not scored.
        folder: true masks.

    Raises:
        InputError: fewer than two masks, a mask without a photo, of another size or class list, a rule without
            thresholds, or one whose options are given.
    """
    saliency = any(sample.saliency is not None for sample in samples.values())
    rule = pipeline.labeller(saliency=saliency)
    tried = check_calibration(pipeline, saliency=saliency)
    files, true_classes = true_masks(folder, samples, scored)
    counts = np.stack(
        [
            _photo_counts(pipeline, net, samples[name], file, tried, true_classes, scored)
            for name, file in _said(files)
        ],
        axis=1,
    )
    found = cross_validated(counts)
    made = Calibration(rule, tried[found.chosen], len(files), found)
    for sentence in made.sentences(pipeline.all_label_options(saliency=saliency)):
        say(sentence)
    return replace(pipeline, label_options=made.used), made


def check_calibration(pipeline: Pipeline, *, saliency: bool) -> list[Options]:
    """What is tried for the pipeline's rule; raises `InputError` where it has no thresholds, or they are given."""
    rule = pipeline.labeller(saliency=saliency)
    if pipeline.label_options:
        raise InputError(
            f"--calibrate chooses the thresholds that --labels {rule}{write_named(pipeline.label_options)} gives: "
            "leave one of them out"
        )
    return candidates(rule)


def true_masks(
    folder: Path, names: Mapping[str, Any], scored: Sequence[str]
) -> tuple[dict[str, Path], ClassList]:
    """Photo's name → its true mask, and the masks' class list.

    Raises:
        InputError: as `calibrated`.
    """
    true_classes, files = classes_of(folder), masks_in(folder)
    if len(files) < LEAST:
        raise InputError(
            f"{folder} holds {len(files)} masks, and cross-validation needs {LEAST} at least: paint some more "
            f"({ENOUGH} or more can change the defaults), or leave --calibrate out"
        )
    if lost := sorted(files.keys() - names.keys()):
        raise InputError(
            f"{len(lost)} of {len(files)} masks in {folder} belong to no tagged photo, the first is {lost[0]}.png: "
            "call masks like their photos, tag those photos, or take the masks away"
        )
    if missing := [name for name in scored if name not in true_classes.classes]:
        raise InputError(
            f"masks in {folder} know {', '.join(true_classes.classes)} but not {missing[0]!r}, with which photos are "
            "tagged: complete its classes.txt, or name the classes to label with --classes"
        )
    return dict(sorted(files.items())), true_classes


def _said(files: Mapping[str, Path]) -> Any:
    with progress("calibrating", len(files)) as advance:
        for number, (name, file) in enumerate(files.items(), start=1):
            yield name, file
            advance(number, name)


def _photo_counts(
    pipeline: Pipeline,
    net: Network,
    sample: Sample,
    file: Path,
    tried: Sequence[Options],
    true_classes: ClassList,
    scored: Sequence[str],
) -> Counts:
    """(T,2,C+1) hits and unions of one photo under each candidate; its maps are made once."""
    photo, saliency = read_photo_and_saliency(sample)
    size = (photo.shape[-2], photo.shape[-1])
    truth = remapped(file, read_mask(file, size), true_classes.names, scored, true_classes.void)
    present = [net.classes.index(tag) for tag in sample.tags]
    if not present:
        blank = hits_and_unions(confusion_matrix(np.zeros(size, np.uint8), truth, len(scored)))
        return np.stack([blank] * len(tried))
    evidence = pipeline.evidence(net, photo, present, saliency)
    found = []
    for options in tried:
        label = enlarged(replace(pipeline, label_options=options).decide(evidence), size).cpu().numpy()
        predicted = remap(label, net.classes, scored)
        found.append(hits_and_unions(confusion_matrix(predicted, truth, len(scored))))
    return np.stack(found)
