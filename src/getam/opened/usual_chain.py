"""The map method, refiners and label rule of a trained network where nobody names others: those of its recipe."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

from getam.engine.model_file import MODEL, read_metadata
from getam.opened.lists import without_none
from getam.pipeline import Pipeline
from getam.pipeline_text import parse_labels, parse_pipeline
from getam.recipes import RECIPES


def usual_chain(model: Path | str | None) -> Pipeline:
    """That of the recipe that trained the network; GETAM's own where its file does not say, or there is none."""
    if model is None:
        return Pipeline()
    file = Path(model) / MODEL if Path(model).is_dir() else Path(model)
    if not file.is_file():
        return Pipeline()
    recipe = RECIPES.get(str(read_metadata(file)[2].get("recipe")))
    chain = getattr(recipe, "labelled_by", "")
    return parse_pipeline(chain) if chain else Pipeline()


def usual_method(model: object) -> str:
    """The map method of `usual_chain` for a run folder or a model file; GETAM's for a name or a module."""
    if isinstance(model, (str, Path)) and Path(model).exists():
        return usual_chain(model).method
    return Pipeline().method


def chosen_chain(
    model: Path | str | None,
    *,
    method: str | None,
    refine: Sequence[str] | None,
    labels: str | None,
    options: Mapping[str, Any],
    scales: Sequence[int],
    flip: bool,
) -> Pipeline:
    """The usual chain, each part replaced by what is given.

    Args:
        model: run folder or model file; None for the embedded model.
        method, refine, labels: as `getam label` takes them; None for the usual ones.
        options: of the method.
        scales, flip: as of the pipeline.

    Raises:
        InputError: an unknown rule or option of it, or "none" beside a refiner.
        WeightsError: the file is no model of getam.
    """
    usual = usual_chain(model)
    rule, numbers = (usual.labels, usual.label_options) if labels is None else parse_labels(labels)
    its = usual.options if method in (None, usual.method) else {}
    return Pipeline(
        usual.method if method is None else method,
        usual.refine if refine is None else without_none(refine, "refine"),
        rule, tuple(scales), flip, {**its, **options}, numbers,
    )  # fmt: skip
