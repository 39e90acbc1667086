"""Map methods by name: a new one is a file and a line here."""

from __future__ import annotations

from typing import Any

from getam.errors import InputError
from getam.maps.getam import getam
from getam.maps.gradcam import gradcam
from getam.maps.last_stage import last_stage
from getam.maps.rollout import rollout

METHODS: dict[str, Any] = {
    "getam": getam,
    "gradcam": gradcam,
    "rollout": rollout,
}  # comparable: on one patch grid
STAGED: dict[str, Any] = {"last-stage": last_stage}  # for models whose grid shrinks


def find_method(name: str) -> Any:
    """The method of that name: `(model, images (B,3,H,W), classes, **options) -> Maps`.

    Raises:
        InputError: there is none; the message lists what there is.
    """
    known = METHODS | STAGED
    if name not in known:
        raise InputError(f"there is no map method {name!r}: choose one of {', '.join(known)}")
    return known[name]
