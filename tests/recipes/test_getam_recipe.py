"""The GETAM recipe: one forward a step, detached pseudo labels, the schedule and the losses of the paper."""

from __future__ import annotations

from typing import Any

import pytest
import torch
import torch.nn.functional as F
from pydantic import ValidationError
from torch import Tensor, nn

import tiny
from getam.errors import InputError
from getam.labels.completion import complete
from getam.labels.free import complete_without_saliency
from getam.losses.dense_energy import dense_energy
from getam.maps.methods.getam import getam
from getam.recipes import find_recipe
from getam.recipes import getam as module
from getam.recipes.base import Config
from getam.recipes.getam import PRESETS, GetamConfig, GetamRecipe, pseudo_labels, unwrap
from getam.refine.pamr import pamr

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
    _, label, known = seen["foreground_background_loss"][0]
    assert known is None
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


@pytest.mark.parametrize("saliency", [False, True])
def test_a_joint_step_on_crops_that_show_no_photo_learns_the_tags_alone(saliency: bool) -> None:
    net = tiny.hybrid_segmenter().train()
    none = {"roi": torch.zeros(2, 32, 32, dtype=torch.bool)}
    extra = {"saliency": torch.rand(2, 32, 32)} if saliency else {}
    weighted = CONFIG.model_copy(update={"saliency_weight": 1.0})
    losses = RECIPE.losses(net, batch(**none, **extra), 0.9, weighted)
    assert {name for name, loss in losses.items() if loss != 0} == {"cls"}
    assert ("sal" in losses) == saliency
    torch.stack(list(losses.values())).sum().backward()
    gradients = [p.grad for p in net.parameters() if p.grad is not None]
    assert all(gradient.isfinite().all() for gradient in gradients)
    assert net.classifier.weight.grad.any()


def test_learning_rate_drops_with_the_joint_phase() -> None:
    config = GetamConfig(**PRESETS["paper-voc"])
    assert config.lr_factor(0.0) == 1.0
    assert config.lr_factor(0.25) == pytest.approx(0.75**0.9)
    assert config.lr_factor(0.499) == pytest.approx(0.501**0.9)
    assert config.lr_factor(0.5) == pytest.approx(0.1 * 0.5**0.9)


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
    assert list(PRESETS) == ["light", "paper-voc", "paper-coco"]
    assert GetamConfig(**PRESETS["paper-coco"]) == config.model_copy(update={"quantile": 0.95})


@pytest.mark.parametrize("name", ["getam", "supervised"])
def test_every_preset_validates(name: str) -> None:
    recipe = find_recipe(name)
    for options in recipe.presets.values():
        assert isinstance(recipe.config_type(**options), Config)


def test_unknown_names_are_refused() -> None:
    with pytest.raises(
        InputError, match="no recipe 'gettam': choose one of getam, self-training, agreement, supervised"
    ):
        find_recipe("gettam")
    with pytest.raises(ValidationError):
        GetamConfig(colour="red")
    with pytest.raises(ValidationError):
        GetamConfig(joint_from=1.5)


def test_wrappers_are_looked_through() -> None:
    net = tiny.hybrid_segmenter()
    assert unwrap(nn.DataParallel(net)) is net
    assert unwrap(net) is net


def test_a_wrapped_network_is_trained_as_itself() -> None:
    """Fabric's wrapper looks attributes up in the network, others (here torch's) do not."""
    net, data = tiny.hybrid_segmenter(), batch()
    alone = RECIPE.losses(net, data, 0.9, CONFIG)
    wrapped = RECIPE.losses(nn.DataParallel(net, device_ids=[]), data, 0.9, CONFIG)
    assert wrapped.keys() == alone.keys()
    assert all(torch.equal(wrapped[name], alone[name]) for name in alone)


def test_labels_do_not_change_what_is_learned_from_the_scores() -> None:
    net = tiny.hybrid_segmenter()
    data = batch()
    from getam.attention.capture import capture

    with capture(net) as tap:
        scores, _ = net(data["image"])
    before = torch.autograd.grad(scores.sum(), net.classifier.weight, retain_graph=True)[0]
    pseudo_labels(net, tap, scores, data, CONFIG)
    after = torch.autograd.grad(scores.sum(), net.classifier.weight)[0]
    assert torch.equal(before, after)


OTHER = {
    "coupling": "grad", "start": 1, "pamr_scale": 0.75, "pamr_iterations": 3, "quantile": 0.6, "opening": 3,
    "foreground": 0.4, "background": 0.1, "crf_iterations": 1, "dense_weight": 30.0, "saliency_weight": 2.0,
}  # fmt: skip


@pytest.mark.parametrize("saliency", [False, True])
@pytest.mark.parametrize("options", [{}, OTHER], ids=["defaults", "other options"])
def test_a_joint_step_is_made_of_its_published_parts(saliency: bool, options: dict[str, Any]) -> None:
    """Maps, PAMR, labels and losses one after the other, each called by hand with what the options say."""
    said = {
        "coupling": "attn_grad", "start": None, "pamr_scale": 0.5, "pamr_iterations": 10, "quantile": 0.9,
        "opening": 10 if saliency else 9, "foreground": 0.25, "background": 0.25, "crf_iterations": 5,
        "dense_weight": 1e-7, "saliency_weight": 0.0, **options,
    }  # fmt: skip
    net = tiny.hybrid_segmenter()
    data = batch(**({"saliency": torch.rand(2, 32, 32)} if saliency else {}))
    images, tags, roi = data["image"], data["tags"], data["roi"]
    # photo 0 has the classes 0 and 2, photo 1 has class 1
    maps = getam(net, images, [[0, 2], [1]], coupling=said["coupling"], start=said["start"])
    side = int(32 * said["pamr_scale"])
    small = F.interpolate(images, size=(side, side), mode="area")
    peaks = maps.values / maps.values.amax((2, 3), keepdim=True).clamp(min=1e-30)
    fine = F.interpolate(
        pamr(small, peaks, iterations=said["pamr_iterations"]),
        size=(32, 32),
        mode="bilinear",
        align_corners=True,
    )
    fine = fine / (fine.amax((2, 3), keepdim=True) + 1e-5)
    if saliency:
        label = complete(
            fine, maps.classes, data["saliency"] > 0.5, quantile=said["quantile"], opening=said["opening"]
        )
    else:
        label = complete_without_saliency(
            fine, maps.classes, images, foreground=said["foreground"], background=said["background"],
            iterations=said["crf_iterations"], opening=said["opening"],
        )  # fmt: skip
    label[~roi] = 255
    with torch.no_grad():
        scores, logits = net(images)
    pixelwise = F.cross_entropy(logits, label.long(), ignore_index=255, reduction="none")
    expected = {
        "cls": F.multilabel_soft_margin_loss(scores, tags),
        "fg": pixelwise[(label > 0) & (label < 255)].sum() / max(1, int(((label > 0) & (label < 255)).sum())),
        "bg": pixelwise[label == 0].sum() / max(1, int((label == 0).sum())),
        "dense": said["dense_weight"] * dense_energy(logits.softmax(1), images, label, roi, weight=1.0),
    }
    if saliency and options:
        all_classes, objects, wanted = logits.logsumexp(1), logits[:, 1:].logsumexp(1), data["saliency"]
        cross = -(1 - wanted) * (logits[:, 0] - all_classes) - wanted * (objects - all_classes)
        expected["sal"] = 2.0 * cross[roi].mean()
    found = RECIPE.losses(net, data, 0.9, GetamConfig(backbone="small-hybrid", size=32, **options))
    assert found.keys() == expected.keys()
    for name, value in expected.items():
        torch.testing.assert_close(
            found[name].detach(), value, rtol=1e-4, atol=1e-9, msg=lambda m, n=name: f"{n}: {m}"
        )


@pytest.mark.parametrize(("saliency", "default"), [(True, 10), (False, 9)])
def test_specks_are_opened_with_the_box_of_each_rule(
    seen: dict[str, Any], saliency: bool, default: int
) -> None:
    extra = {"saliency": torch.rand(2, 32, 32)} if saliency else {}
    rule = "complete" if saliency else "complete_without_saliency"
    for opening, box in ((None, default), (0, 0), (4, 4)):
        config = CONFIG.model_copy(update={"opening": opening})
        RECIPE.losses(tiny.hybrid_segmenter(), batch(**extra), 0.9, config)
        assert seen[rule][1]["opening"] == box


def test_salient_is_above_half(seen: dict[str, Any]) -> None:
    maps = torch.tensor([0.49, 0.5, 0.51, 1.0]).repeat(2, 32, 8)
    RECIPE.losses(tiny.hybrid_segmenter(), batch(saliency=maps), 0.9, CONFIG)
    assert seen["complete"][0][2][0, 0, :4].tolist() == [False, False, True, True]


def test_no_dense_energy_without_a_weight() -> None:
    none = CONFIG.model_copy(update={"dense_weight": 0.0})
    assert list(RECIPE.losses(tiny.hybrid_segmenter(), batch(), 0.9, none)) == ["cls", "fg", "bg"]


def test_the_schedule_of_any_configuration() -> None:
    config = GetamConfig(warmup=0.2, poly_power=2.0, joint_from=0.25, joint_lr_factor=0.5)
    assert config.lr_factor(0.099) == pytest.approx(0.5 * 0.901**2)  # halfway up
    assert config.lr_factor(0.24) == pytest.approx(0.76**2)
    assert config.lr_factor(0.25) == pytest.approx(0.5 * 0.75**2)
    assert config.lr_factor(0.8) == pytest.approx(0.5 * 0.2**2)


def test_the_defaults() -> None:
    """What `train` does unless it is told otherwise; the numbers of docs/results.md were measured with them."""
    common = {
        "backbone": "tf_efficientnet_lite0", "weights": None, "size": 224,
            "zoom": (0.9, 1 / 0.875), "colour_jitter": False, "batch_size": 16, "steps": 1000, "seed": 0,
        "optimizer": "adamw", "lr": 5e-4, "pretrained_lr": 1e-4, "weight_decay": 0.02, "momentum": 0.0,
        "warmup": 0.05, "poly_power": 0.9, "ema": 0.0, "channels": (48, 64, 128, 192), "width": 64, "enlarge": 1,
    }  # fmt: skip
    own = {
        "joint_from": 0.4, "joint_lr_factor": 1.0, "coupling": "attn_grad", "start": None, "pamr_scale": 0.5,
        "pamr_iterations": 10, "quantile": 0.9, "foreground": 0.25, "background": 0.25, "crf_iterations": 5,
        "opening": None, "dense_weight": 1e-7, "saliency_weight": 0.0,
    }  # fmt: skip
    assert GetamConfig().model_dump() == {**common, **own}
    assert GetamConfig(**PRESETS["light"]) == GetamConfig()
    assert (RECIPE.name, RECIPE.needs, find_recipe("getam").config_type) == ("getam", (), GetamConfig)


@pytest.mark.parametrize(
    ("allowed", "refused"),
    [
        ({"joint_from": 0.0}, {"joint_from": -0.1}), ({"joint_from": 1.0}, {"joint_from": 1.1}),
        ({"joint_lr_factor": 0.01}, {"joint_lr_factor": 0.0}), ({"pamr_scale": 1.0}, {"pamr_scale": 1.1}),
        ({"pamr_scale": 0.1}, {"pamr_scale": 0.0}), ({"pamr_iterations": 0}, {"pamr_iterations": -1}),
        ({"quantile": 0.99}, {"quantile": 1.0}), ({"quantile": 0.01}, {"quantile": 0.0}),
        ({"foreground": 1.0}, {"foreground": 1.1}), ({"foreground": 0.0}, {"foreground": -0.1}),
        ({"background": 1.0}, {"background": 1.1}), ({"background": 0.0}, {"background": -0.1}),
        ({"crf_iterations": 0}, {"crf_iterations": -1}), ({"opening": 0}, {"opening": -1}),
        ({"dense_weight": 0.0}, {"dense_weight": -1e-9}), ({"saliency_weight": 0.0}, {"saliency_weight": -0.1}),
    ],
)  # fmt: skip
def test_the_range_of_every_option(allowed: dict[str, float], refused: dict[str, float]) -> None:
    GetamConfig(**allowed)
    with pytest.raises(ValidationError):
        GetamConfig(**refused)
