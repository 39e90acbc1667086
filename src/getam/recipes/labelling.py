"""A stage that labels as a pipeline says: METHOD+REFINER:LABELLER, with the networks of earlier stages."""

from __future__ import annotations

from functools import partial

from torch import Tensor

from getam.pipeline import Pipeline
from getam.recipes.stages import LabelStage, Networks


def label_stage(name: str, pipeline: Pipeline, network: str, *, boundaries: str = "") -> LabelStage:
    """The stage.

    Args:
        name: of the stage.
        pipeline: how photos are labelled.
        network: name of the stage whose network the maps are read from.
        boundaries: name of the stage whose network has learned the class boundaries that walk-irn follows; "" for none.
    """
    needs = (network, boundaries) if boundaries else (network,)
    options = {"labelled_by": str(pipeline), "scales": list(pipeline.scales)}
    return LabelStage(name, needs, partial(labelled, pipeline, needs), options)


def labelled(
    pipeline: Pipeline,
    names: tuple[str, ...],
    nets: Networks,
    photo: Tensor,
    present: list[int],
    saliency: Tensor | None,
) -> Tensor:
    """The label rule, after its first two arguments; `names` are of the network and of that with boundaries, if any."""
    others = [nets[name] for name in names[1:]]
    return pipeline.label(nets[names[0]], photo, present, saliency, boundaries=others[0] if others else None)
