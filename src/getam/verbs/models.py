"""`getam models`: which models have maps, what their weights are licensed as, how large they are, and what to type."""

from __future__ import annotations

import timm

from getam.nets.families import ELSEWHERE, GETAM, NO_ROW, TRANSFORMERS, WITHOUT_ATTENTION, Family
from getam.nets.hugging_face import PREFIX
from getam.nets.openclip import PREFIX as WORDS
from getam.verbs.methods import Row, table

CARD = "see its model card"
NONE = "—"
PYTHON = "from Python"
UNCLEAR = (None, "unknown")  # what timm's configurations say where they do not say
CHECKED = {  # by how the tests hold a family to account
    "matrices": GETAM + TRANSFORMERS,
    "timm's": ELSEWHERE,
    "its error": NO_ROW,
    "a run": WITHOUT_ATTENTION,
}


def models() -> str:
    """List the models that have maps, by family: what to type, licence and size, and how each was checked.

    Returns:
        three tables, a line per family, by a representative: with a GETAM map; without one, and why; without attention.
        `model` is what `--model` of `getam explain` and `--backbone` of `getam train` are given. `explain` is the
        `--method` that reads it ("—": its weights hold no classes, or there are none; "from Python": it has to be
        built there), `train` the recipes that train it. Names after "open_clip:" want --weights and --words. The
        licence is that of the representative's weights as timm records it; others of a family, and other tags, may have
        another. Parameters are in millions. Checked: against its attention matrices, against timm's model of the same
        weights, that its one error comes, or that a map was made once; all with random weights.
    """
    said = ("model", "explain", "train", "licence", "million", "checked")
    tables: list[list[Row]] = [
        [("GETAM map", *said, "rows"), *((*_line(f), f.rows) for f in (*GETAM, *TRANSFORMERS, *ELSEWHERE))],
        [("no GETAM map", *said, "why"), *((*_line(f), f.reason) for f in NO_ROW)],
        [("no attention", *said), *map(_line, WITHOUT_ATTENTION)],
    ]
    return "\n\n".join(table(rows) for rows in tables)


def _line(family: Family) -> Row:
    (checked,) = (how for how, families in CHECKED.items() if family in families)
    return family.name, *_said(family), licence(family), f"{family.parameters:.1f}", checked


def _said(family: Family) -> tuple[str, str, str]:
    """What to type, the method that reads it, and what trains it."""
    if family in TRANSFORMERS:
        return f"{PREFIX}FOLDER ({family.model})", family.method, NONE
    if family.module == "open_clip":  # with --weights and --words
        return f"{WORDS}{family.model}", family.method, NONE
    if family in ELSEWHERE:
        return f"{family.model} ({family.module})", PYTHON, NONE
    if family.options:
        options = ", ".join(f"{name}={value!r}" for name, value in family.options.items())
        return f"{family.model} ({options})", PYTHON, NONE
    explain = family.method if _has_classes(family.model) else NONE
    return family.model, explain, "any recipe" if family.encoder else "--recipe classifier"


def licence(family: Family) -> str:
    """Of the weights that timm would load for the representative."""
    if family in (*TRANSFORMERS, *ELSEWHERE):
        return CARD
    if not timm.is_model_pretrained(family.model):
        return "no weights"
    found = timm.get_pretrained_cfg(family.model).license
    return CARD if found in UNCLEAR else str(found)


def _has_classes(model: str) -> bool:
    return timm.is_model_pretrained(model) and timm.get_pretrained_cfg(model).num_classes > 0
