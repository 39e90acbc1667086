"""Schedules, optimiser groups and what a configuration builds."""

import pytest
import torch
from pydantic import ValidationError

import tiny
from getam.engine.model import load_model
from getam.errors import InputError, WeightsError
from getam.recipes.base import Config, optimizer, poly, total


def test_poly_warms_up_and_then_falls_to_zero() -> None:
    assert poly(0.0, 0.0, 0.9) == 1.0
    assert poly(0.75, 0.0, 0.9) == pytest.approx(0.25**0.9)
    assert poly(1.0, 0.05, 0.9) == 0.0
    assert 0 < poly(0.0, 0.1, 0.9) < 0.02
    assert poly(0.049, 0.1, 0.0) == pytest.approx(0.5)
    warm = [poly(step / 100, 0.1, 0.9) for step in range(10)]
    assert warm == sorted(warm)


def groups(config: Config) -> dict[str, tuple[float, float]]:
    """Parameter name → (lr, weight decay)."""
    net = tiny.hybrid_segmenter()
    names = {parameter: name for name, parameter in net.named_parameters()}
    optim = optimizer(net, config)
    found = {names[p]: (g["lr"], g["weight_decay"]) for g in optim.param_groups for p in g["params"]}
    assert len(found) == len(names) == sum(len(g["params"]) for g in optim.param_groups)
    assert all(g["initial_lr"] == g["lr"] for g in optim.param_groups)
    return found


def test_the_pretrained_backbone_has_its_own_rate() -> None:
    found = groups(Config(backbone="resnet18", lr=3.0, pretrained_lr=1.0, weight_decay=0.5))
    for name, (lr, decay) in found.items():
        assert lr == (1.0 if name.startswith("encoder.stem.") else 3.0), name
        assert decay == (0.5 if name.endswith("weight") and _is_matrix(name) else decay)
    assert found["classifier.bias"] == (3.0, 0.0)
    assert found["classifier.weight"] == (3.0, 0.5)
    assert found["encoder.stem.layers.0.1.weight"] == (1.0, 0.0)


def _is_matrix(name: str) -> bool:
    return dict(tiny.hybrid_segmenter().named_parameters())[name].ndim > 1


@pytest.mark.parametrize("options", [{"weights": "", "backbone": "resnet18"}, {"backbone": "small-hybrid"}])
def test_a_backbone_from_nothing_learns_like_the_rest(options: dict[str, str]) -> None:
    assert {lr for lr, _ in groups(Config(lr=3.0, pretrained_lr=1.0, **options)).values()} == {3.0}


def test_frozen_parameters_are_left_out() -> None:
    net = tiny.hybrid_segmenter()
    net.encoder.requires_grad_(False)
    optim = optimizer(net, Config(weights=""))
    inside = {id(p) for g in optim.param_groups for p in g["params"]}
    assert inside == {id(p) for p in net.parameters() if p.requires_grad}


def test_both_optimisers() -> None:
    net = tiny.hybrid_segmenter()
    sgd = optimizer(net, Config(optimizer="sgd", momentum=0.3))
    assert isinstance(sgd, torch.optim.SGD)
    assert {g["momentum"] for g in sgd.param_groups} == {0.3}
    assert isinstance(optimizer(net, Config()), torch.optim.AdamW)


def test_build_makes_the_configured_network() -> None:
    config = Config(backbone="small-hybrid", size=32, channels=(8, 8, 12, 16), width=8)
    net = config.build(("cat", "dog"))
    assert net.classes == ("cat", "dog")
    assert net.classifier.weight.shape == (2, 16)
    assert net(torch.zeros(1, 3, 32, 32)).logits.shape == (1, 3, 32, 32)


def test_a_size_the_patches_do_not_divide_is_refused() -> None:
    with pytest.raises(
        InputError, match="size 45 is not a multiple of the 8-pixel patches of small-hybrid: use 48"
    ):
        Config(backbone="small-hybrid", size=45).build(("cat",))


@pytest.mark.parametrize(
    "options", [{"size": 8}, {"steps": 0}, {"lr": 0.0}, {"enlarge": 3}, {"backbonne": "x"}]
)
def test_values_out_of_range_are_refused(options: dict[str, object]) -> None:
    with pytest.raises(ValidationError):
        Config(**options)


def test_total_is_the_sum() -> None:
    assert float(total([torch.tensor(1.0), torch.tensor(2.5)])) == 3.5


@pytest.mark.parametrize(
    ("allowed", "refused"),
    [
        ({"size": 32}, {"size": 31}), ({"batch_size": 1}, {"batch_size": 0}), ({"steps": 1}, {"steps": 0}),
        ({"seed": 0}, {"seed": -1}), ({"optimizer": "sgd"}, {"optimizer": "adam"}), ({"lr": 1e-9}, {"lr": 0.0}),
        ({"pretrained_lr": 1e-9}, {"pretrained_lr": 0.0}), ({"weight_decay": 0.0}, {"weight_decay": -0.1}),
        ({"momentum": 0.0}, {"momentum": -0.1}), ({"momentum": 0.9}, {"momentum": 1.0}),
        ({"warmup": 0.0}, {"warmup": -0.1}), ({"warmup": 0.9}, {"warmup": 1.0}),
        ({"poly_power": 0.0}, {"poly_power": -0.1}), ({"width": 8}, {"width": 7}), ({"enlarge": 2}, {"enlarge": 0}),
        ({"channels": (8, 8, 8, 8)}, {"channels": (8, 8, 8)}),
    ],
)  # fmt: skip
def test_the_range_of_every_option(allowed: dict[str, object], refused: dict[str, object]) -> None:
    Config(**allowed)
    with pytest.raises(ValidationError):
        Config(**refused)


def test_a_configuration_does_not_change() -> None:
    with pytest.raises(ValidationError):
        Config().lr = 1.0  # type: ignore[misc]


@pytest.mark.parametrize(
    ("size", "near"), [(45, 48), (43, 40), (33, 32), (60, 64)]
)  # 60 is halfway: to the even
def test_the_nearest_size_is_proposed(size: int, near: int) -> None:
    with pytest.raises(InputError, match=f"size {size} is not a multiple of the 8-pixel .*: use {near}$"):
        Config(backbone="x", size=size).require_multiple(8)
    Config(size=near).require_multiple(8)


def test_a_size_below_a_patch_is_proposed_one_patch() -> None:
    with pytest.raises(InputError, match=r"use 80$"):
        Config(size=32).require_multiple(80)


def test_a_backbone_is_pretrained_unless_it_has_no_weights() -> None:
    assert Config().pretrained
    assert Config(weights="w.safetensors").pretrained
    assert not Config(weights="").pretrained
    assert not Config(backbone="small-hybrid").pretrained


def test_build_uses_every_size() -> None:
    config = Config(backbone="small-hybrid", size=32, channels=(8, 16, 24, 32), width=24, enlarge=2)
    net, plain = config.build(("cat",)), config.model_copy(update={"enlarge": 1}).build(("cat",))
    shapes = [tuple(p.shape) for p in net.decoder.parameters()]
    assert {8, 16, 24, 32} <= {side for shape in shapes for side in shape}
    assert net.classifier.weight.shape == (1, 32)
    with torch.no_grad():
        assert net(torch.zeros(1, 3, 32, 32)).logits.shape == plain(torch.zeros(1, 3, 32, 32)).logits.shape
    assert (net.decoder.enlarge, plain.decoder.enlarge) == (2, 1)


def test_one_dimensional_weights_do_not_decay() -> None:
    found = groups(Config(backbone="resnet18", lr=3.0, pretrained_lr=1.0, weight_decay=0.5))
    shapes = dict(tiny.hybrid_segmenter().named_parameters())
    for name, (_, decay) in found.items():
        assert decay == (0.5 if shapes[name].ndim > 1 else 0.0), name
    assert {decay for _, decay in found.values()} == {0.0, 0.5}


def test_warm_up_is_linear_and_ends_at_one() -> None:
    assert poly(0.0, 0.1, 0.0) == pytest.approx(0.01)  # 1e-3 / 0.1: not nothing
    assert poly(0.024, 0.1, 0.0) == pytest.approx(0.25)
    assert poly(0.1, 0.1, 0.0) == poly(0.5, 0.1, 0.0) == 1.0
    assert poly(0.5, 0.1, 2.0) == pytest.approx(0.25)
    assert poly(1.5, 0.0, 1.0) == 0.0


def test_the_embedded_start_is_its_encoder_and_decoder_with_new_classes() -> None:
    embedded = load_model()
    net = Config(weights="embedded").build(("car", "cat", "boat"))
    found, wanted = net.state_dict(), embedded.state_dict()
    heads = {f"{module}.{part}" for module in net.class_layers for part in ("weight", "bias")}
    assert found.keys() == wanted.keys()
    assert heads < found.keys()
    assert all(torch.equal(found[name], wanted[name]) for name in found if name not in heads)
    assert found["classifier.weight"].shape[0] == 3
    assert found["decoder.head.4.weight"].shape[0] == 4
    assert net.classes == ("car", "cat", "boat")


def test_the_embedded_start_has_one_shape() -> None:
    with pytest.raises(
        WeightsError, match=r"holds another network: .* leave out options of the network's shape"
    ):
        Config(weights="embedded", width=32).build(("car",))
