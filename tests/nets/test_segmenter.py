"""One forward gives class scores and pixel logits at photo size, for every encoder."""

import pytest
import torch

import tiny
from getam.errors import InputError, WeightsError
from getam.nets.bas import BASNetwork
from getam.nets.build import FROM_NOTHING, build_segmenter
from getam.nets.classifier import Classifier
from getam.nets.dpt import Fusion, Reassemble, SqueezeExcite
from getam.nets.encoder import Feature
from getam.nets.segmenter import Segmenter


@pytest.mark.parametrize("name", [n for n in tiny.MODELS if n.startswith("segmenter")])
@pytest.mark.parametrize("size", [(32, 32), (24, 40)])
def test_scores_and_logits(name: str, size: tuple[int, int]) -> None:
    net = tiny.MODELS[name]()
    images = tiny.photos(2, *size, net)
    with torch.no_grad():
        scores, logits = net(images)
        alone = net(images, masks=False)
    assert scores.shape == (2, 3)
    assert logits.shape == (2, 4, *size)
    assert bool(logits.isfinite().all())
    assert alone.logits is None
    assert torch.equal(alone.scores, scores)
    assert torch.equal(net.class_scores(images), scores)


@pytest.mark.parametrize("enlarge", [1, 2])
def test_the_small_hybrid_needs_no_weights(enlarge: int) -> None:
    net = build_segmenter("small-hybrid", ("a",), (8, 8, 8, 8), 8, enlarge).eval()
    with torch.no_grad():
        logits = net(torch.zeros(1, 3, 32, 32)).logits
    assert logits is not None
    assert logits.shape == (1, 2, 32, 32)
    with pytest.raises(InputError, match="small-hybrid is trained from nothing"):
        build_segmenter("small-hybrid", ("a",), (8, 8, 8, 8), 8, weights="x.safetensors")


def test_normalisation_is_the_backbones_own() -> None:
    net = tiny.hybrid_segmenter()
    given = []
    net.encoder.register_forward_pre_hook(lambda _m, inputs: given.append(inputs[0]))
    net(torch.full((1, 3, 32, 32), 255.0), masks=False)
    torch.testing.assert_close(given[0], torch.full((1, 3, 32, 32), 1.0))
    assert not any(name in ("mean", "std") for name in net.state_dict())


def test_the_score_is_pooled_from_the_deepest_map() -> None:
    net = tiny.vit_segmenter()
    images = tiny.photos(1, model=net)
    features = net.encoder((images - net.mean) / net.std)
    deepest = net.decoder.reassemble[3](features[3])
    assert deepest.shape[-2:] == (2, 2)
    wanted = deepest.flatten(2).mean(2) @ net.classifier.weight.T + net.classifier.bias
    torch.testing.assert_close(net(images).scores, wanted)


def test_readout_mixes_the_token_into_every_patch() -> None:
    layer = Reassemble(3, 3, 1.0, readout=True)
    with torch.no_grad():
        layer.project.weight.copy_(torch.eye(3)[..., None, None])
        layer.project.bias.zero_()
    patches, prefix = torch.randn(1, 3, 2, 2), torch.randn(1, 2, 3)
    found = layer(Feature(patches, prefix))
    weight, bias = layer.readout[0].weight, layer.readout[0].bias
    for y in range(2):
        for x in range(2):
            mixed = weight @ torch.cat([patches[0, :, y, x], prefix[0, 0]]) + bias
            torch.testing.assert_close(found[0, :, y, x], torch.nn.functional.gelu(mixed))


@pytest.mark.parametrize(("factor", "side"), [(4.0, 16), (2.0, 8), (1.0, 4), (0.5, 2)])
def test_resampling_factors(factor: float, side: int) -> None:
    layer = Reassemble(3, 5, factor, readout=False)
    assert layer(Feature(torch.randn(1, 3, 4, 4), None)).shape == (1, 5, side, side)


def test_squeeze_and_excite_is_a_gated_residual() -> None:
    layer = SqueezeExcite(8)
    x = torch.randn(2, 8, 5, 6)
    y = layer.conv(x)
    gate = y.mean((2, 3))
    for module in (layer.gate[1], layer.gate[2], layer.gate[3], layer.gate[4]):
        gate = module(gate[..., None, None])[..., 0, 0]
    torch.testing.assert_close(layer(x), x + y * gate[..., None, None])


def test_an_unreachable_hub_is_one_sentence(monkeypatch: pytest.MonkeyPatch) -> None:
    import timm

    create = timm.create_model

    def offline(name: str, pretrained: bool = False, **options: object) -> object:
        if pretrained:
            raise OSError("no route to host")
        return create(name, pretrained=False, **options)

    monkeypatch.setattr(timm, "create_model", offline)
    for name in ("vit_tiny_patch16_224", "resnet18"):
        with pytest.raises(WeightsError, match=f"{name} could not be fetched from the hub.*--weights"):
            build_segmenter(name, ("a",), (8, 8, 8, 8), 8)


def test_model_files_know_networks_by_these_names() -> None:
    assert (Segmenter.kind, Classifier.kind, BASNetwork.kind) == ("segmenter", "classifier", "bas")


@pytest.mark.parametrize("name", ["segmenter, hybrid", "segmenter, plain"])
def test_the_backbone_alone_is_pretrained(name: str) -> None:
    net = tiny.MODELS[name]()
    names = {parameter: key for key, parameter in net.named_parameters()}
    inside = "encoder.stem." if "hybrid" in name else "encoder.model."
    assert {names[parameter] for parameter in net.pretrained_parameters()} == {
        key for key in names.values() if key.startswith(inside)
    }


@pytest.mark.parametrize(("readout", "prefix"), [(False, True), (True, False)])
def test_without_a_token_or_a_readout_nothing_is_mixed(readout: bool, prefix: bool) -> None:
    layer = Reassemble(3, 5, 1.0, readout=readout)
    patches = torch.randn(1, 3, 2, 2)
    found = layer(Feature(patches, torch.randn(1, 1, 3) if prefix else None))
    assert torch.equal(found, layer.project(patches))


@pytest.mark.parametrize("deepest", [True, False])
def test_only_a_finer_map_below_the_deepest_is_added(deepest: bool) -> None:
    layer, x, finer = Fusion(4, deepest=deepest).eval(), torch.randn(1, 4, 3, 5), torch.randn(1, 4, 3, 5)
    alone = layer(x, None, (6, 10))
    wanted = torch.nn.functional.interpolate(
        layer.project(layer.refine(x)), (6, 10), mode="bilinear", align_corners=True
    )
    torch.testing.assert_close(alone, wanted)
    assert torch.equal(layer(x, finer, (6, 10)), alone) is deepest


def test_from_nothing_asks_nobody_for_weights() -> None:
    with torch.device("meta"):
        net = build_segmenter(
            "vit_tiny_patch16_224.augreg_in21k", ("a",), (8, 8, 8, 8), 8, weights=FROM_NOTHING
        )
    assert net.encoder.dims == (192,) * 4  # and a tag after the dot is part of timm's names


def test_masks_are_not_computed_unless_asked(monkeypatch: pytest.MonkeyPatch) -> None:
    net = tiny.hybrid_segmenter()
    monkeypatch.setattr(net.decoder, "forward", None)
    images = tiny.photos(1, model=net)
    assert net(images, masks=False).logits is None
    assert net.class_scores(images).shape == (1, 3)


def test_geometry_is_the_encoder_s() -> None:
    net = tiny.vit_segmenter()
    assert net.geometry(24, 40) == net.encoder.geometry(24, 40)
    assert net.geometry(24, 40).grid == (3, 5)
    assert net.patch == 8
