"""Labellers by name: a new one is a file and a line here."""

from __future__ import annotations

import inspect
from collections.abc import Callable, Mapping
from dataclasses import dataclass
from typing import Any

from torch import Tensor

from getam.errors import InputError
from getam.label_numbers import SHALLOW_CLASSES
from getam.labels.completion import complete
from getam.labels.deep import label_among
from getam.labels.double_threshold import afa_label, double_threshold, irn_label
from getam.labels.free import complete_without_saliency
from getam.labels.fusion import object_guided_refinement, saliency_fusion
from getam.labels.single_tag import saliency_label
from getam.registry import find


@dataclass(frozen=True)
class Labeller:
    """A labeller and what it needs besides the classes (B,K) of the photos' tags.

    Attributes:
        function: called by keyword with `classes` and what it needs, gives (B,H,W) uint8.
        needs: of "maps" (B,K,H,W) in [0,1], "images" (B,3,H,W) in 0–255 and "saliency" (B,H,W) in [0,1], of which
            "completion" takes all above 0 for salient; or "prediction" and "initial" (B,H,W), a trained segmenter's
            masks and the labels it learned from.
        source: paper.
    """

    function: Callable[..., Tensor]
    needs: tuple[str, ...]
    source: str

    @property
    def options(self) -> dict[str, Any]:
        """Numbers that can be set by name, with their defaults."""
        parameters = inspect.signature(self.function).parameters.values()
        return {p.name: p.default for p in parameters if isinstance(p.default, (int, float))}


LABELLERS: dict[str, Labeller] = {
    "completion": Labeller(complete, ("maps", "saliency"), "GETAM, arXiv 2112.02841"),
    "free": Labeller(complete_without_saliency, ("maps", "images"), "ours"),
    "threshold": Labeller(double_threshold, ("maps",), "IRN, arXiv 1904.05044, without its CRF"),
    "irn": Labeller(irn_label, ("maps", "images"), "IRN, arXiv 1904.05044"),
    "afa": Labeller(afa_label, ("maps", "images"), "AFA, arXiv 2203.02664"),
    "saliency-fusion": Labeller(saliency_fusion, ("maps", "saliency"), "I2CRC, arXiv 2206.09554"),
    "object-guided": Labeller(object_guided_refinement, ("prediction", "initial"), "I2CRC, arXiv 2206.09554"),
    "single-tag": Labeller(saliency_label, ("saliency",), "MDBA, arXiv 2305.05154"),
}


def find_labeller(name: str) -> Labeller:
    """The labeller of that name.

    Raises:
        InputError: there is none; the message lists what there is.
    """
    return find("labeller", name, LABELLERS)


def check_label_options(name: str, options: Mapping[str, Any]) -> None:
    """Raises `InputError` for an option that the labeller of that name has not, or one that is no number."""
    known = find_labeller(name).options
    for option, value in options.items():
        if option not in known:
            raise InputError(
                f"the labels {name!r} have no option {option!r}: they have {', '.join(known) or 'none'}"
            )
        if isinstance(value, bool) or not isinstance(value, (int, float)):
            raise InputError(f"the labels {name!r}: {option} is {value!r}, but it must be a number")


def label_with(
    name: str,
    classes: Tensor,
    *,
    count: int = SHALLOW_CLASSES,
    maps: Tensor | None = None,
    images: Tensor | None = None,
    saliency: Tensor | None = None,
    prediction: Tensor | None = None,
    initial: Tensor | None = None,
    options: Mapping[str, Any] | None = None,
) -> Tensor:
    """Pseudo labels (B,H,W) by the labeller of that name; what it does not need is not used.

    Its defaults hold where `options` has none. `count` is the length of the class list: labels are uint8, or as
    `label_among` gives them beyond 254 classes.

    Raises:
        InputError: an unknown name, a need that is not met, or values that are not finite.
    """
    labeller = find_labeller(name)
    check_label_options(name, options or {})
    given = {
        "maps": maps,
        "images": images,
        "saliency": saliency,
        "prediction": prediction,
        "initial": initial,
    }
    for need in labeller.needs:
        if given[need] is None:
            having = [other for other, its in LABELLERS.items() if need not in its.needs]
            raise InputError(
                f"the labels {name!r} need {need}: give it, or choose one of {', '.join(having)}"
            )
    needed = {need: given[need] for need in labeller.needs}
    return label_among(
        count, classes, lambda own: labeller.function(classes=own, **needed, **(options or {}))
    )
