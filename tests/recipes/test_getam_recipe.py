"""The GETAM recipe: one forward a step, detached pseudo labels, the schedule and the losses of the paper."""

from __future__ import annotations

from typing import Any

import pytest
import torch
from pydantic import ValidationError
from torch import Tensor, nn

import tiny
from getam.errors import InputError
from getam.recipes import find_recipe
from getam.recipes import getam as module
from getam.recipes.base import Config
from getam.recipes.getam import PRESETS, GetamConfig, GetamRecipe, pseudo_labels, unwrap

RECIPE = GetamRecipe()
CONFIG = GetamConfig(backbone="small-hybrid", size=32, joint_from=0.5, pamr_iterations=2)


def batch(**extra: Tensor) -> dict[str, Tensor]:
    roi = torch.ones(2, 32, 32, dtype=torch.bool)
    roi[:, :, 26:] = False
    images = (torch.randn(2, 3, 32, 32) * 60 + 127).clamp(0, 255)
    return {"image": images, "tags": torch.tensor([[1.0, 0, 1], [0, 1, 0]]), "roi": roi, **extra}


def count_forwards(net: nn.Module) -> list[str]:
    ran: list[str] = []
    for name in ("encoder", "decoder", "classifier"):
        net.get_submodule(name).register_forward_hook(lambda *_, name=name: ran.append(name))
    return ran


def test_a_classification_step_runs_no_decoder() -> None:
    net = tiny.hybrid_segmenter().train()
    ran = count_forwards(net)
    losses = RECIPE.losses(net, batch(), 0.49, CONFIG)
    assert list(losses) == ["cls"]
    assert ran == ["encoder", "classifier"]
    losses["cls"].backward()
    without = [name for name, p in net.named_parameters() if p.grad is None]
    assert all(name.startswith(("decoder.", "encoder.vit.norm")) for name in without)
    assert any("decoder.head" in name for name in without)


def test_a_joint_step_runs_one_forward_and_reaches_every_parameter() -> None:
    net = tiny.hybrid_segmenter().train()
    ran = count_forwards(net)
    losses = RECIPE.losses(net, batch(), 0.5, CONFIG)
    assert list(losses) == ["cls", "fg", "bg", "dense"]
    assert sorted(ran) == ["classifier", "decoder", "encoder"]
    assert all(p.grad is None for p in net.parameters())  # the maps took no parameter gradient
    torch.stack(list(losses.values())).sum().backward()
    without = [name for name, p in net.named_parameters() if p.grad is None]
    assert all(name.startswith("encoder.vit.norm") for name in without)  # taps lie before the last norm
    assert all(p.grad.isfinite().all() for p in net.parameters() if p.grad is not None)


def test_saliency_loss_needs_a_weight_and_maps() -> None:
    net = tiny.hybrid_segmenter().train()
    weighted = CONFIG.model_copy(update={"saliency_weight": 1.0, "dense_weight": 0.0})
    with_maps = batch(saliency=torch.rand(2, 32, 32))
    assert list(RECIPE.losses(net, with_maps, 0.9, weighted)) == ["cls", "fg", "bg", "sal"]
    assert "sal" not in RECIPE.losses(net, batch(), 0.9, weighted)
    assert "sal" not in RECIPE.losses(net, with_maps, 0.9, CONFIG)


@pytest.fixture
def seen(monkeypatch: pytest.MonkeyPatch) -> dict[str, Any]:
    """What the labellers were called with, and what the losses were given."""
    found: dict[str, Any] = {}

    def watch(name: str) -> None:
        original = getattr(module, name)

        def call(*args: Any, **options: Any) -> Any:
            found[name] = (args, options, original(*args, **options))
            return found[name][2]

        monkeypatch.setattr(module, name, call)

    for name in ("complete", "complete_without_saliency", "foreground_background_loss", "attribute"):
        watch(name)
    return found


@pytest.mark.parametrize("saliency", [False, True])
def test_pseudo_labels_are_detached_and_end_at_the_photo(seen: dict[str, Any], saliency: bool) -> None:
    net = tiny.hybrid_segmenter().train()
    extra = {"saliency": torch.rand(2, 32, 32)} if saliency else {}
    RECIPE.losses(net, batch(**extra), 0.9, CONFIG)
    _, label = seen["foreground_background_loss"][0]
    assert label.dtype == torch.uint8
    assert not label.requires_grad
    assert bool((label[:, :, 26:] == 255).all())
    assert set(label[0].unique().tolist()) <= {0, 1, 3, 255}
    assert set(label[1].unique().tolist()) <= {0, 2, 255}
    assert ("complete" in seen) == saliency
    assert ("complete_without_saliency" in seen) != saliency
    maps = seen["complete" if saliency else "complete_without_saliency"][0][0]
    assert not maps.requires_grad
    assert float(maps.min()) >= 0
    assert float(maps.max()) <= 1
    if saliency:
        (_, _, salient), options, _ = seen["complete"]
        assert torch.equal(salient, extra["saliency"] > 0.5)
        assert options == {"quantile": 0.9, "opening": 10}


def test_the_configured_coupling_and_start_are_used(seen: dict[str, Any]) -> None:
    config = CONFIG.model_copy(update={"coupling": "grad2", "start": 1})
    RECIPE.losses(tiny.hybrid_segmenter().train(), batch(), 0.9, config)
    assert seen["attribute"][1] == {"coupling": "grad2", "start": 1}


def test_a_batch_without_tags_trains_on() -> None:
    net = tiny.hybrid_segmenter().train()
    losses = RECIPE.losses(net, {**batch(), "tags": torch.zeros(2, 3)}, 0.9, CONFIG)
    assert all(bool(loss.isfinite()) for loss in losses.values())


def test_learning_rate_drops_with_the_joint_phase() -> None:
    config = GetamConfig(**PRESETS["paper-voc"])
    assert RECIPE.lr_factor(0.0, config) == 1.0
    assert RECIPE.lr_factor(0.25, config) == pytest.approx(0.75**0.9)
    assert RECIPE.lr_factor(0.499, config) == pytest.approx(0.501**0.9)
    assert RECIPE.lr_factor(0.5, config) == pytest.approx(0.1 * 0.5**0.9)


def test_the_papers_numbers() -> None:
    config = GetamConfig(**PRESETS["paper-voc"])
    assert config.steps == 20 * 10_582 // 4
    assert (config.backbone, config.size, config.batch_size) == ("vit_base_r50_s16_384", 256, 4)
    assert (config.optimizer, config.lr, config.pretrained_lr, config.momentum) == ("sgd", 0.04, 0.04, 0.0)
    assert (config.weight_decay, config.poly_power, config.warmup) == (5e-4, 0.9, 0.0)
    assert (config.joint_from, config.joint_lr_factor) == (0.5, 0.1)
    assert config.channels == (256, 512, 768, 768)
    assert (config.width, config.enlarge) == (256, 2)
    assert (config.coupling, config.start, config.quantile, config.dense_weight) == (
        "attn_grad2",
        None,
        0.9,
        1e-7,
    )
    assert (config.pamr_scale, config.pamr_iterations, config.saliency_weight) == (1.0, 10, 1.0)


@pytest.mark.parametrize("name", ["getam", "supervised"])
def test_every_preset_validates(name: str) -> None:
    recipe = find_recipe(name)
    for options in recipe.presets.values():
        assert isinstance(recipe.config_type(**options), Config)


def test_unknown_names_are_refused() -> None:
    with pytest.raises(InputError, match="no recipe 'gettam': choose one of getam, supervised"):
        find_recipe("gettam")
    with pytest.raises(ValidationError):
        GetamConfig(colour="red")
    with pytest.raises(ValidationError):
        GetamConfig(joint_from=1.5)


def test_wrappers_are_looked_through() -> None:
    net = tiny.hybrid_segmenter()
    assert unwrap(nn.DataParallel(net)) is net
    assert unwrap(net) is net


def test_labels_do_not_change_what_is_learned_from_the_scores() -> None:
    net = tiny.hybrid_segmenter()
    data = batch()
    from getam.capture import capture

    with capture(net) as tap:
        scores, _ = net(data["image"])
    before = torch.autograd.grad(scores.sum(), net.classifier.weight, retain_graph=True)[0]
    pseudo_labels(net, tap, scores, data, CONFIG)
    after = torch.autograd.grad(scores.sum(), net.classifier.weight)[0]
    assert torch.equal(before, after)
