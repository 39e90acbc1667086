"""What has no maps is refused in one sentence: photos of another shape, numbers that are none."""

from __future__ import annotations

from typing import Any

import pytest
import torch
from torch import Tensor

import tiny
from getam.errors import CaptureError, InputError
from getam.maps.base import Maps, check_photos, class_slots
from getam.maps.methods.getam import differentiable_maps
from getam.maps.methods.objectness import objectness
from getam.maps.registry import REGISTRY
from getam.verbs.explain_python import explain

METHODS = [name for name in REGISTRY if name not in ("cam", "last-stage", "bas")]


@pytest.mark.parametrize(
    ("images", "said"),
    [
        (torch.zeros(0, 3, 32, 32), r"\(0, 3, 32, 32\).*at least one photo"),
        (torch.zeros(3, 32, 32), r"\(3, 32, 32\).*\(B, channels, H, W\).*images\[None\]"),
        (torch.zeros(1, 2, 3, 32, 32), r"\(1, 2, 3, 32, 32\).*\(B, channels, H, W\)"),
        (torch.zeros(32, 32, 3), r"\(32, 32, 3\).*images\.permute\(2, 0, 1\)\[None\]"),
        (torch.zeros(1, 32, 32, 3), r"\(1, 32, 32, 3\), channels last.*images\.permute\(0, 3, 1, 2\)"),
        ([[0.0]], "list.*tensor"),
    ],
)
def test_images_of_another_shape_are_refused(images: Any, said: str) -> None:
    for call in (check_photos, lambda images: explain(tiny.vit(), images, [[1]])):
        with pytest.raises(InputError, match=said):
            call(images)
    with pytest.raises(InputError, match=said):
        differentiable_maps(tiny.vit(), images, [[1]])


def test_photos_that_can_be_explained_pass() -> None:
    check_photos(torch.zeros(1, 1, 1, 1))
    check_photos(torch.zeros(2, 3, 4, 5, dtype=torch.float16))
    check_photos(torch.zeros(1, 3, 3, 3))
    check_photos(torch.zeros(1, 1, 4, 3))


@pytest.mark.parametrize("method", METHODS)
@pytest.mark.parametrize("value", [torch.nan, torch.inf])
def test_a_photo_that_is_not_finite_is_named(method: str, value: float) -> None:
    images = tiny.photos(3)
    images[1, 0, 5, 6] = value
    with pytest.raises(InputError, match=r"photo 1 of the batch has \S*.*not finite"):
        explain(tiny.vit(), images, [[1], [2], [3]], method=method)


@pytest.mark.parametrize("method", METHODS)
def test_weights_that_are_not_finite_are_noticed(method: str) -> None:
    model = tiny.vit()
    with torch.no_grad():
        model.blocks[3].mlp.fc2.weight.fill_(torch.nan)
    with pytest.raises(InputError, match=r"photo 0 of the batch has .*not finite.*weights"):
        explain(model, tiny.photos(2), [[1], [2]], method=method)


def test_objectness_of_what_is_not_finite() -> None:
    images = tiny.photos(2)
    images[1] = torch.nan
    with pytest.raises(InputError, match="photo 1 of the batch has class scores that are not finite"):
        objectness(tiny.vit(), images)


def maps(values: Tensor, scores: Tensor) -> Maps:
    slots = torch.zeros(scores.shape, dtype=torch.int64)
    return Maps(values, slots >= 0, slots, scores, "made", (2, 2))


@pytest.mark.parametrize("value", [torch.nan, torch.inf, -torch.inf])
def test_maps_hold_finite_numbers_only(value: float) -> None:
    values, scores = torch.rand(3, 2, 2, 2), torch.rand(3, 2)
    assert torch.equal(maps(values, scores).values, values)
    maps(values[:, :0], scores[:, :0])
    bad = values.clone()
    bad[2, 1, 1, 1] = value
    with pytest.raises(InputError, match="photo 2 of the batch has maps that are not finite"):
        maps(bad, scores)
    bad_scores = scores.clone()
    bad_scores[1, 1] = value
    for given in (values, bad):
        with pytest.raises(InputError, match="photo 1 of the batch has class scores that are not finite"):
            maps(given, bad_scores)


@pytest.mark.parametrize("value", [torch.nan, torch.inf])
def test_tags_that_are_no_numbers_are_refused(value: float) -> None:
    tags = torch.tensor([[0.0, 1.0, 0.0], [0.0, 0.0, 1.0]])
    tags[1, 0] = value
    with pytest.raises(InputError, match=r"tags of photo 1 .*(nan|inf).*class 0"):
        class_slots(tags, 2, 3)


def test_an_index_in_no_photo_and_a_missing_list_are_named() -> None:
    with pytest.raises(InputError, match=r"class 5 of photo 1 is outside 0\.\.4"):
        class_slots([[4, 0], [1, 5]], 2, 5)
    with pytest.raises(InputError, match=r"class -1 of photo 0 is outside 0\.\.4"):
        class_slots([[-1]], 1, 5)
    with pytest.raises(InputError, match="1 class lists were given for 2 photos"):
        class_slots([[1]], 2, 5)
    with pytest.raises(InputError, match=r"tags are \(2, 4\) but 2 photos × 5 classes were expected"):
        class_slots(torch.zeros(2, 4), 2, 5)


def test_inference_mode_is_refused() -> None:
    for method in METHODS:
        if REGISTRY[method].gradients:
            with torch.inference_mode(), pytest.raises(CaptureError, match="inference_mode"):
                explain(tiny.vit(), tiny.photos(1), [[1]], method=method)


def test_weights_made_in_inference_mode_are_refused() -> None:
    with torch.inference_mode():
        model = tiny.vit()
    for method in METHODS:
        if REGISTRY[method].gradients:
            with pytest.raises(
                CaptureError, match=r"weights of this model were made in torch\.inference_mode\(\)"
            ):
                explain(model, tiny.photos(1), [[1]], method=method)
