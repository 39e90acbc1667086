"""The cosine classifier: scores by hand, on CNNs and transformers, and what its maps are made from."""

from pathlib import Path

import pytest
import timm
import torch
import torch.nn.functional as F
from safetensors.torch import save_file

import tiny
from getam.engine.model import load_model
from getam.engine.model_file import save_model
from getam.errors import InputError
from getam.maps.registry import find_method
from getam.nets.cosine import BOTTLENECK, TEMPERATURE, CosineClassifier, CosineHead, build_cosine

PHOTOS = torch.rand(2, 3, 32, 32, generator=torch.Generator().manual_seed(0)) * 255


@pytest.mark.parametrize("bottleneck", [0, 6])
@pytest.mark.parametrize("backbone", ["test_resnet", "test_efficientnet", "test_vit"])
def test_scores_are_cosines_over_the_temperature(backbone: str, bottleneck: int) -> None:
    net = build_cosine(backbone, tiny.CLASSES, weights="", output_stride=32, bottleneck=bottleneck).eval()
    found = net(PHOTOS)
    whole = timm.create_model(backbone, num_classes=0).eval()
    whole.load_state_dict(net.model.state_dict(), strict=False)
    torch.testing.assert_close(found.features, whole((PHOTOS - net.mean) / net.std), rtol=1e-4, atol=1e-5)
    middle = net.head.bottleneck(found.features)
    assert middle.shape[1] == (bottleneck or found.features.shape[1])
    expected = F.cosine_similarity(middle[:, None], net.head.weights.weight[None], dim=-1)
    expected = expected * net.head.weights.weight.norm(dim=1) / 0.05
    torch.testing.assert_close(found.scores, expected, rtol=1e-4, atol=1e-4)
    torch.testing.assert_close(net.class_scores(PHOTOS), found.scores)
    torch.testing.assert_close(net.log_odds(found.scores).sigmoid(), found.scores.softmax(1))
    assert (TEMPERATURE, BOTTLENECK) == (0.05, 512)
    assert net.head.weights.bias is None


def test_all_but_the_head_is_pretrained(tmp_path: Path) -> None:
    model = timm.create_model("test_resnet", num_classes=0)
    save_file(model.state_dict(), tmp_path / "w.safetensors")
    net = build_cosine("test_resnet", tiny.CLASSES, weights=str(tmp_path / "w.safetensors"), output_stride=32)
    names = {parameter: name for name, parameter in net.named_parameters()}
    fresh = set(names.values()) - {names[parameter] for parameter in net.pretrained_parameters()}
    assert {name.split(".", 2)[2] for name in fresh} == {
        "bottleneck.weight", "bottleneck.bias", "weights.weight",
    }  # fmt: skip
    assert torch.equal(next(iter(net.model.parameters())), next(iter(model.parameters())))
    assert net.head.bottleneck.out_features == 512
    assert (net.patch, build_cosine("test_resnet", tiny.CLASSES, weights="").patch) == (32, 16)


def test_it_is_loaded_as_it_was(tmp_path: Path) -> None:
    net = build_cosine("test_resnet", tiny.CLASSES, weights="", output_stride=32, bottleneck=5).eval()
    config = {"backbone": "test_resnet", "output_stride": 32, "bottleneck": 5}
    save_model(tmp_path / "m.safetensors", net, config)
    loaded = load_model(tmp_path / "m.safetensors")
    assert isinstance(loaded, CosineClassifier)
    assert loaded.patch == 32
    torch.testing.assert_close(loaded.class_scores(PHOTOS), net.class_scores(PHOTOS))


@pytest.mark.parametrize(("backbone", "method"), [("test_resnet", "layercam"), ("test_vit", "getam")])
def test_maps_can_be_made(backbone: str, method: str) -> None:
    net = build_cosine(backbone, tiny.CLASSES, weights="").eval()
    maps = find_method(method).make(net, PHOTOS, [[0, 2], [1]])
    torch.testing.assert_close(maps.scores[0], net.class_scores(PHOTOS)[0, [0, 2]].detach())
    assert maps.values.amax() > 0


def test_a_model_without_a_linear_head_is_refused() -> None:
    with pytest.raises(
        InputError, match="no linear layer of its pooled features, which recipe ecacl replaces"
    ):
        build_cosine("deit_tiny_distilled_patch16_224", tiny.CLASSES, weights="")


def test_a_head_alone() -> None:
    head = CosineHead(4, 3, 0)
    features = torch.randn(2, 4)
    torch.testing.assert_close(head(features), head(7 * features))
