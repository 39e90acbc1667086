"""Class scores: what of a model's output they are, and what is none of them."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import pytest
import timm
import torch
from torch import Tensor, nn

import tiny
from getam.errors import CaptureError
from getam.verbs.explain_python import explain


class Returns(nn.Module):
    """A classifier and what its forward makes of its scores."""

    def __init__(self, of_scores: Callable[[Tensor], object]) -> None:
        super().__init__()
        self.inner, self.of_scores = tiny.vit(), of_scores

    def forward(self, images: Tensor) -> object:
        return self.of_scores(self.inner(images))


@pytest.mark.parametrize(
    ("of_scores", "said"),
    [
        (lambda scores: {"scores": scores}, "a dict"),
        (lambda scores: (scores, None), "a tuple"),
        (lambda scores: (scores, scores[:, :2]), "a tuple"),
        (lambda scores: (scores[..., None], scores[..., None]), "a tuple"),
        (lambda scores: (), "a tuple"),
        (lambda scores: [scores], "a list"),
        (lambda scores: scores[:, :, None], r"a tensor \(2, 5, 1\)"),
        (lambda scores: scores[0], r"a tensor \(5,\)"),
    ],
)
def test_what_is_no_class_scores_is_named(of_scores: Callable[[Tensor], object], said: str) -> None:
    with pytest.raises(CaptureError, match=rf"the model returns {said}, not class scores of shape \(B, C\)"):
        explain(Returns(of_scores), tiny.photos(2), [[1], [2]])


def test_features_are_no_class_scores() -> None:
    images = torch.rand(1, 3, 160, 160)
    model: Any = timm.create_model("test_vit", num_classes=0).eval()
    for classes in ([[3]], None):
        with pytest.raises(CaptureError, match=r"no classifier \(num_classes=0\), so it gives features"):
            explain(model, images, classes)
    model.head = nn.Linear(model.num_features, 5)  # as many do, who do not say so to the model
    assert explain(model, images, [[3]]).values.any()
    assert explain(model, images).found()


def test_two_heads_of_one_shape_are_averaged() -> None:
    images = tiny.photos(2)
    found = explain(Returns(lambda scores: (scores, 3 * scores)), images, [[1], [2]])
    torch.testing.assert_close(
        found.scores, explain(Returns(lambda scores: 2 * scores), images, [[1], [2]]).scores
    )
