"""The verbs as the parser sees them: where each lives, so that only the one asked for is loaded; options in groups.

Loading a verb means loading torch, which takes seconds; `getam --help` needs the summaries below and nothing else.
"""

from __future__ import annotations

import functools
import inspect
import typing
from collections.abc import Callable, Mapping
from dataclasses import dataclass, field, make_dataclass
from importlib import import_module
from typing import Annotated, Any

import tyro


@dataclass(frozen=True)
class Verb:
    """One verb.

    Attributes:
        module, function: where it is.
        summary: the first line of its docstring.
    """

    module: str
    function: str
    summary: str

    def load(self) -> Callable[..., Any]:
        """The function itself."""
        return getattr(import_module(self.module), self.function)


VERBS: dict[str, Verb] = {
    "demo": Verb(
        "getam.verbs.demo.run", "demo",
        "Train on scenes of handwritten digits from tags alone, score everything, write report/index.html.",
    ),
    "data-check": Verb(
        "getam.verbs.data_check", "data_check",
        "Read photos, tags and masks once and list every problem, with its file and what to do.",
    ),
    "data-split": Verb(
        "getam.verbs.data_split", "data_split",
        "Divide tagged photos into splits that have their share of every class each.",
    ),
    "data-voc": Verb(
        "getam.verbs.data_voc", "data_voc",
        "Prepare PASCAL VOC 2012 with SBD's masks: photos, tags, SegmentationClassAug and the split train_aug.",
    ),
    "data-coco": Verb(
        "getam.verbs.data_coco", "data_coco",
        "Prepare COCO: photos, tags and semantic masks painted by a fixed rule, with their hash.",
    ),
    "train": Verb("getam.verbs.train", "train", "Train a network from photos and their tags."),
    "explain": Verb("getam.verbs.explain", "explain_photos", "Draw which pixels of a photo carry each class."),
    "label": Verb(
        "getam.verbs.label", "label",
        "Turn tags into masks: maps of each photo's tags → refiners → pseudo labels.",
    ),
    "predict": Verb(
        "getam.verbs.predict", "predict", "Segment photos with a trained network; no tags are used."
    ),
    "evaluate": Verb(
        "getam.verbs.evaluate", "evaluate",
        "Score predicted masks against true ones: IoU per class, their mean with a 95 % interval, pixel accuracy.",
    ),
    "convert": Verb(
        "getam.verbs.convert", "convert",
        "Bring masks into another tool's import format, or back into palette PNGs.",
    ),
    "saliency": Verb(
        "getam.verbs.saliency", "saliency",
        "Write one saliency map per photo: to look at, to repair, and to pass as `--saliency FOLDER`.",
    ),
    "methods": Verb(
        "getam.verbs.methods", "methods",
        "List map methods, refiners, rules for labels and sources of saliency, and what each needs.",
    ),
    "models": Verb(
        "getam.verbs.models", "models",
        "List the models that have maps, by family: what to type, licence and size, and how each was checked.",
    ),
    "bench": Verb(
        "getam.verbs.bench", "bench",
        "Compare map methods and chains: as masks, as explanations, in seconds and in memory.",
    ),
}  # fmt: skip

GROUPS: dict[str, tuple[str, ...]] = {
    "getam, acr, ad-cam, legrad, last-stage": ("coupling", "start", "rows"),
    "CAM": ("layers",),
    "multi-layer": ("weighting", "aggregate"),
}
"""Options of some map methods only, by the heading they have in the help; all others come first."""


def parsed(verb: Verb) -> Callable[..., Any]:
    """A verb as the parser sees it: called, it only keeps its arguments, so that parsing and running stay apart."""
    return in_groups(verb.load(), GROUPS)


def unloaded(verb: Verb) -> Callable[..., Any]:
    """A verb that was not asked for: its summary."""

    def nothing() -> None: ...

    nothing.__doc__ = verb.summary
    return nothing


def in_groups(verb: Callable[..., Any], groups: Mapping[str, tuple[str, ...]]) -> Callable[..., Any]:
    """A function that takes what `verb` takes and returns the call with it, to be made later.

    Options that a group names are fields of a dataclass, one a group, as tyro wants them for a heading; on the command
    line they are called as before.
    """
    hints = typing.get_type_hints(verb, include_extras=True)
    parameters = inspect.signature(verb).parameters
    described = "Args:" + inspect.cleandoc(verb.__doc__ or "").partition("Args:")[2]
    taken = [
        p.replace(annotation=hints.get(p.name, Any))
        for p in parameters.values()
        if not any(p.name in names for names in groups.values())
    ]
    grouped = []
    for number, (heading, names) in enumerate(groups.items()):
        own = [parameters[name] for name in names if name in parameters]
        if not own:
            continue
        plain = tyro.conf.arg(prefix_name=False)
        kind = make_dataclass(
            f"Group{number}",
            [(p.name, Annotated[hints[p.name], plain], field(default=p.default)) for p in own],
        )
        kind.__doc__ = described
        under = Annotated[kind, tyro.conf.arg(name=heading)]  # type: ignore[valid-type]
        grouped.append(inspect.Parameter(kind.__name__, inspect.Parameter.KEYWORD_ONLY, annotation=under))

    def keep(*args: Any, **options: Any) -> Callable[[], Any]:
        for parameter in grouped:
            options |= vars(options.pop(parameter.name))
        return functools.partial(verb, *args, **options)

    keep.__doc__ = verb.__doc__
    keep.__signature__ = inspect.Signature([*taken, *grouped])  # type: ignore[attr-defined]
    keep.__annotations__ = {p.name: p.annotation for p in (*taken, *grouped)}
    return keep
