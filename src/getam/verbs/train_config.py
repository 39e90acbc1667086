"""What `getam train` is asked for → a recipe's configuration, and what config.yaml says of it."""

from __future__ import annotations

import logging
from collections.abc import Container, Sequence
from pathlib import Path
from typing import Any

import timm
from pydantic import ValidationError

from getam.data.collection import Collection
from getam.engine.runfolder import RunFolder
from getam.errors import InputError, WeightsError
from getam.named import read_named
from getam.nets.embedded import embedded_model
from getam.nets.hub import from_hub
from getam.recipes.base import EMBEDDED, CommonConfig, Config
from getam.recipes.schedule import start_of, suitable_rate, suitable_steps

logger = logging.getLogger(__name__)


def named(options: Sequence[str], flags: Container[str]) -> dict[str, Any]:
    """`--options` by name.

    Raises:
        InputError: as `read_named`, or one has a flag of its own.
    """
    found = read_named(options)
    for name, value in found.items():
        if name in flags:
            raise InputError(f"option {name}={value}: say --{name.replace('_', '-')} {value} instead")
    return found


def configure(system: Any, preset: str, given: dict[str, Any], epochs: float | None, photos: int) -> Any:
    """The recipe's configuration: its defaults, then the preset, then what was given.

    Steps that nobody gives are those that suit the number of photos, a rate of the backbone that which suits it.

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
    elif "steps" not in values:
        config = config.model_copy(update={"steps": suitable_steps(photos, start_of(config))})
    if "pretrained_lr" not in values:
        config = config.model_copy(update={"pretrained_lr": suitable_rate(config)})
    return config


def with_weights(config: CommonConfig, classes: Sequence[str], out: Path) -> CommonConfig:
    """The configuration with what it starts from: where no weights are given and none can be had, the embedded model.

    That is said in one line. A run that began so goes on so.

    Raises:
        WeightsError: the hub has to be asked and does not answer, and the network is not of the embedded model's shape.
    """
    if config.weights is not None or not config.pretrained or not isinstance(config, Config):
        return config
    embedded = config.model_copy(update={"weights": EMBEDDED})
    run = RunFolder(out)
    began = run.recorded()
    if began is not None and began.get("weights") == EMBEDDED:
        return embedded
    if began is not None and run.has_begun():
        return config  # with weights from the hub, which `fit` does not ask for again
    try:
        from_hub(lambda: timm.create_model(config.backbone, pretrained=True), config.backbone)
    except WeightsError:
        try:
            embedded.build(classes)
        except WeightsError:
            return config  # of another shape: building it will say what is missing
        logger.warning(
            "the weights of %s are not here and the hub cannot be reached: training starts from the model that comes "
            "with the package (--weights embedded), which has learned from photos of animals",
            config.backbone,
        )
        return embedded
    return config


def weights_file(weights: str | None) -> Path | None:
    """The file that training starts from; None where it comes from the hub, or from nothing."""
    if weights == EMBEDDED:
        return embedded_model()
    return Path(weights) if weights else None


def recorded(config: CommonConfig) -> dict[str, Any]:
    """The options as a record has them: of the weights' file the name, wherever it lies."""
    options = config.model_dump(mode="json")
    return {**options, "weights": Path(options["weights"]).name} if options.get("weights") else options


def run_record(recipe: str, collection: Collection, config: Any, precision: str) -> dict[str, Any]:
    """What config.yaml says: the recipe, its options, the precision, and the protocol of the data.

    On how many devices, and on which, may change while a run goes on.
    """
    return {
        "recipe": recipe,
        **recorded(config),
        "precision": precision,
        "data": {
            "photos": len(collection.samples),
            "split": collection.split,
            "split_hash": collection.split_hash(),
            "classes": list(collection.classes),
            "saliency": collection.has_saliency,
        },
    }
