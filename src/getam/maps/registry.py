"""Map methods by name, with what each needs: a new one is a file and a line here."""

from __future__ import annotations

import inspect
from collections.abc import Callable
from dataclasses import dataclass
from typing import Any

from getam.errors import InputError
from getam.maps.methods.acr import acr
from getam.maps.methods.ad_cam import ad_cam
from getam.maps.methods.bas import bas
from getam.maps.methods.cam import cam
from getam.maps.methods.getam import getam
from getam.maps.methods.gradcam import gradcam
from getam.maps.methods.gradient_rollout import gradient_rollout
from getam.maps.methods.is_cam import is_cam
from getam.maps.methods.last_stage import last_stage
from getam.maps.methods.layercam import layercam
from getam.maps.methods.legrad import legrad
from getam.maps.methods.multi_layer import multi_layer_cam
from getam.maps.methods.rollout import rollout
from getam.maps.methods.um_cam import um_cam
from getam.maps.methods.zoom_cam import zoom_cam
from getam.registry import find

ATTENTION = "transformer with global attention"
STAGED = "transformer whose grid shrinks"
BLOCKS = "timm vision transformer"
POOLED = "classifier that averages its features"
FEATURES = "CNN or transformer"
LEARNED = "network of the recipe bas"


@dataclass(frozen=True)
class Method:
    """One map method and what it needs.

    Attributes:
        name: on the command line.
        make: `(model, images (B,3,H,W), classes, **options) -> Maps`.
        model: kind of model it reads.
        gradients: whether it needs a backward pass per class.
        per_class: whether the classes of a photo get different maps.
        source: where it comes from.
        from_zero: whether its paper subtracts a map's minimum before use: attention lifts all patches.
    """

    name: str
    make: Callable[..., Any]
    model: str
    gradients: bool
    per_class: bool
    source: str
    from_zero: bool = False

    @property
    def attention(self) -> bool:
        """Whether it reads attention, which a plain CNN has not."""
        return self.model in (ATTENTION, STAGED, BLOCKS)

    @property
    def options(self) -> list[str]:
        """Names of the method's own options."""
        parameters = inspect.signature(self.make).parameters.values()
        return [p.name for p in parameters if p.kind is inspect.Parameter.KEYWORD_ONLY]


REGISTRY: dict[str, Method] = {
    m.name: m
    for m in (
        Method("getam", getam, ATTENTION, True, True, "arXiv 2112.02841"),
        Method("acr", acr, ATTENTION, True, True, "arXiv 2308.04321", True),
        Method("ad-cam", ad_cam, ATTENTION, True, True, "arXiv 2211.10931, from its abstract", True),
        Method("legrad", legrad, BLOCKS, True, True, "arXiv 2404.03214", True),
        Method("rollout", rollout, ATTENTION, False, False, "arXiv 2005.00928"),
        Method("gradient-rollout", gradient_rollout, ATTENTION, True, True, "arXiv 2103.15679"),
        Method("last-stage", last_stage, STAGED, True, True, "this project: GETAM's coupling"),
        Method("cam", cam, POOLED, True, True, "arXiv 1512.04150"),
        Method("gradcam", gradcam, FEATURES, True, True, "arXiv 1610.02391"),
        Method("layercam", layercam, FEATURES, True, True, "Jiang et al., IEEE TIP 2021"),
        Method("zoom-cam", zoom_cam, FEATURES, True, True, "arXiv 2010.08644"),
        Method("um-cam", um_cam, FEATURES, True, True, "arXiv 2306.11490"),
        Method("multi-layer", multi_layer_cam, FEATURES, True, True, "the CAMs above, by their two choices"),
        Method("is-cam", is_cam, FEATURES, True, True, "SIPE, arXiv 2203.02909"),
        Method("bas", bas, LEARNED, False, True, "arXiv 2309.12943"),
    )
}


def find_method(name: str) -> Method:
    """The method of that name.

    Raises:
        InputError: there is none; the message lists what there is.
    """
    return find("map method", name, REGISTRY)


def check_options(method: Method, options: dict[str, Any]) -> None:
    """Say which methods an option belongs to, where `method` has no such option.

    Raises:
        InputError: it has not.
    """
    for option in options:
        if option not in method.options:
            owners = [m.name for m in REGISTRY.values() if option in m.options]
            belongs = f"is an option of {', '.join(owners)}" if owners else "is an option of no map method"
            raise InputError(f"--{option} {belongs}, not of {method.name}")
