"""The AFA recipe: its phases, its maps photo by photo, what it survives, and what it learns from two photos."""

from collections import defaultdict
from pathlib import Path
from typing import Any

import pytest
import torch
import torch.nn.functional as F
from halves import Halves, assert_resumed_exactly
from pydantic import ValidationError
from torch import Tensor, nn

import getam
import tiny
from getam.engine.model import load_model
from getam.labels.double_threshold import afa_label, afa_walked_label
from getam.losses.affinity import affinity_labels, affinity_loss
from getam.nets.affinity import AffinitySegmenter
from getam.recipes import afa
from getam.recipes.afa import PRESETS, AFAConfig, AFARecipe, maps_and_affinity, pseudo_labels
from getam.recipes.base import optimizer, total

RECIPE = AFARecipe()
SIZES: dict[str, Any] = {"backbone": "small-hybrid", "size": 32, "channels": (8, 8, 8, 8), "width": 8}
CONFIG = AFAConfig(**SIZES, joint_from=0.2, walked_from=0.5)


def network(config: AFAConfig = CONFIG, classes: tuple[str, ...] = tiny.CLASSES) -> Any:
    torch.manual_seed(0)
    return tiny.awake(config.build(classes))


def batch(tags: Tensor) -> dict[str, Tensor]:
    images = (torch.randn(len(tags), 3, 32, 32, generator=torch.Generator().manual_seed(1)) * 60 + 127).clamp(
        0, 255
    )
    roi = torch.ones(len(tags), 32, 32, dtype=torch.bool)
    roi[:, :, 28:] = False
    return {"image": images, "tags": tags, "roi": roi}


TAGS = torch.tensor([[1.0, 0, 1], [0, 1, 0]])


def test_the_losses_of_each_phase(monkeypatch: pytest.MonkeyPatch) -> None:
    """0.1 · ½ (CE of foreground + CE of background) and 0.1 · L_aff; the decoder's target changes, the pairs do not."""
    net, given = network(), batch(TAGS)
    plain, walked = torch.zeros(2, 2, 32, 32, dtype=torch.uint8)
    plain[:, :16], walked[:, 8:] = 1, 2
    monkeypatch.setattr(afa, "afa_label", lambda *_, **__: plain)
    monkeypatch.setattr(afa, "afa_walked_label", lambda *_, **__: walked)
    assert list(RECIPE.losses(net, given, 0.19, CONFIG)) == ["cls"]
    scores, logits, affinity = net(given["image"], affinity=True)
    for progress, label in ((0.2, plain), (0.49, plain), (0.5, walked)):
        found = RECIPE.losses(net, given, progress, CONFIG)
        target = label.long().masked_fill(~given["roi"], 255)
        each = F.cross_entropy(logits, target, ignore_index=255, reduction="none")
        sides = [each[(target > 0) & (target < 255)].mean(), each[target == 0].mean()]
        pairs = affinity_labels(plain.masked_fill(~given["roi"], 255), (4, 4), radius=8)
        expected = {
            "cls": F.multilabel_soft_margin_loss(scores, TAGS),
            "seg": 0.1 * 0.5 * (sides[0] + sides[1]),
            "aff": 0.1 * affinity_loss(affinity, pairs),
        }
        assert found.keys() == expected.keys()
        for name, value in expected.items():
            torch.testing.assert_close(found[name], value, msg=lambda m, n=name: f"{n}: {m}")
    other = CONFIG.model_copy(update={"seg_weight": 0.0, "aff_weight": 0.2, "radius": 1})
    found = RECIPE.losses(net, given, 0.3, other)
    pairs = affinity_labels(plain.masked_fill(~given["roi"], 255), (4, 4), radius=1)
    assert found["seg"] == 0
    torch.testing.assert_close(found["aff"], 0.2 * affinity_loss(affinity, pairs))


def test_maps_are_those_of_the_paper_photo_by_photo() -> None:
    """Per scale the larger of photo and mirrored photo, ReLU, sum over scales, min–max; affinity of the largest."""
    net, images = network(), batch(TAGS)["image"]
    slots = torch.tensor([[0, 2], [1, -1]])
    found, affinity, grid = maps_and_affinity(net, images, slots, (0.5, 1.5))
    assert grid == (6, 6)
    large = F.interpolate(images, size=(48, 48), mode="bilinear", antialias=True)
    torch.testing.assert_close(affinity, net.learned_affinity(large))
    for photo, slot, c in ((0, 0, 0), (0, 1, 2), (1, 0, 1)):
        summed = torch.zeros(32, 32)
        for side in (16, 48):
            small = F.interpolate(images[photo, None], size=(side, side), mode="bilinear", antialias=True)
            both = torch.stack([net.activations(small)[:, c], net.activations(small.flip(3))[:, c].flip(2)])
            peak = both.amax(0).relu()
            summed += F.interpolate(peak[None], size=(32, 32), mode="bilinear", align_corners=False)[0, 0]
        expected = (summed - summed.min()) / (summed.max() - summed.min())
        torch.testing.assert_close(found[photo, slot], expected, rtol=1e-3, atol=1e-4)
    assert found[1, 1].abs().max() == 0


def test_labels_are_made_of_their_parts() -> None:
    net, given = network().train(), batch(TAGS)
    config = CONFIG.model_copy(update={"high": 0.6, "low": 0.2})
    label, target = pseudo_labels(net, given, config, walked=True)
    assert net.training
    assert all(p.grad is None for p in net.parameters())
    slots = torch.tensor([[0, 2], [1, -1]])
    maps, affinity, grid = maps_and_affinity(net.eval(), given["image"], slots, config.scales)
    outside = ~given["roi"]
    expected = afa_label(maps, slots, given["image"], high=0.6, low=0.2).masked_fill(outside, 255)
    assert torch.equal(label, expected)
    walked = afa_walked_label(maps, slots, given["image"], affinity, grid, high=0.6, low=0.2)
    assert torch.equal(target, walked.masked_fill(outside, 255))
    same, again = pseudo_labels(net, given, config, walked=False)
    assert torch.equal(same, expected)
    assert torch.equal(again, expected)


@pytest.mark.parametrize("progress", [0.3, 0.9])
@pytest.mark.parametrize("case", ["no tag at all", "one without", "no pixel", "one class never"])
def test_nothing_to_learn_from_does_no_harm(progress: float, case: str) -> None:
    net = network().train()
    given = batch(torch.tensor([[1.0, 0, 0], [0, 0, 0]]) if case != "no tag at all" else torch.zeros(2, 3))
    if case == "no pixel":
        given["roi"].zero_()
    losses = RECIPE.losses(net, given, progress, CONFIG)
    total(losses.values()).backward()
    assert all(loss.isfinite() for loss in losses.values())
    assert all(p.grad is None or p.grad.isfinite().all() for p in net.parameters())
    if case == "no tag at all":
        label, _ = pseudo_labels(net, given, CONFIG, walked=progress > 0.5)
        assert label.dtype == torch.uint8
        assert torch.equal(label, (~given["roi"]) * torch.tensor(255, dtype=torch.uint8))


def test_unknown_classes_are_not_learned() -> None:
    net, given = network(), batch(TAGS)
    known = torch.tensor([[True, False, True], [True, True, False]])
    seen: list[Tensor] = []
    net.register_forward_hook(lambda module, given, out: seen.append(out[1]))
    for progress in (0.0, 0.3):
        found = RECIPE.losses(net, given | {"known": known}, progress, CONFIG)
        each = F.binary_cross_entropy_with_logits(net.class_scores(given["image"]), TAGS, reduction="none")
        torch.testing.assert_close(found["cls"], each[known].mean())
    (slope,) = torch.autograd.grad(found["seg"], seen[1])
    assert slope.flatten(2).any(2)[:, 1:].tolist() == known.tolist()


def test_class_lists_longer_than_eight_bits() -> None:
    """The same labels in the numbers of a long list; what is undecided in it is left out of every loss."""
    names = tuple(f"class {n}" for n in range(300))
    net, given = network(classes=names), batch(torch.zeros(2, 300))
    given["tags"][0, 289] = given["tags"][1, 7] = 1
    found = pseudo_labels(net, given, CONFIG.model_copy(update={"high": 0.1, "low": 0.05}), walked=True)
    for label in found:
        assert label.dtype == torch.int32
        assert [set(photo.unique().tolist()) - {0, 65535} for photo in label] == [{290}, {8}]
        assert (label[~given["roi"]] == 65535).all()
    given["roi"].zero_()
    losses = RECIPE.losses(net, given, 0.9, CONFIG)
    assert (losses["seg"], losses["aff"]) == (0, 0)
    label, _ = pseudo_labels(net, given | {"tags": torch.zeros(2, 300)}, CONFIG, walked=False)
    assert label.dtype == torch.int32
    assert (label == 65535).all()


def test_a_wrapped_network_is_trained_as_itself() -> None:
    net, given = network(), batch(TAGS)
    alone = RECIPE.losses(net, given, 0.9, CONFIG)
    wrapped = RECIPE.losses(nn.DataParallel(net, device_ids=[]), given, 0.9, CONFIG)
    assert all(torch.equal(wrapped[name], alone[name]) for name in alone)


def test_the_numbers_of_the_reference() -> None:
    assert list(PRESETS) == ["light", "paper-voc", "paper-coco"]
    light, voc, coco = (AFAConfig(**preset) for preset in PRESETS.values())
    assert (light.joint_from, light.walked_from, light.frozen_norms) == (0.4, 0.6, False)
    for config, steps, joint in ((voc, 20_000, 2_000), (coco, 80_000, 5_000)):
        assert config.steps == steps
        assert [round(share * steps) for share in (config.joint_from, config.walked_from, config.warmup)] == [
            joint, 6_000, 1_500,
        ]  # fmt: skip
        assert (config.optimizer, config.lr, config.pretrained_lr) == ("adamw", 6e-4, 6e-5)
        assert (config.weight_decay, config.poly_power, config.frozen_norms) == (0.01, 1.0, True)
        assert (config.size, config.zoom, config.batch_size) == (320, (0.5, 2.0), 8)
        assert (config.backbone, config.channels, config.width) == (
            "deit_small_patch16_224",
            (48, 96, 192, 384),
            256,
        )
    for config in (light, voc, coco):
        assert (config.scales, config.high, config.low, config.radius) == ((1.0, 0.5, 1.5), 0.55, 0.35, 8)
        assert (config.seg_weight, config.aff_weight) == (0.1, 0.1)
    assert (RECIPE.name, RECIPE.needs, RECIPE.uses, RECIPE.config_type) == ("afa", (), (), AFAConfig)
    assert RECIPE.presets is PRESETS


@pytest.mark.parametrize(
    "refused",
    [{"low": 0.6}, {"walked_from": 0.3}, {"scales": ()}, {"scales": (0.0,)}, {"zoom": (2.0, 1.0)}, {"radius": -1},
     {"seg_weight": -0.1}, {"aff_weight": -0.1}, {"joint_from": 1.1}, {"high": 1.1}],
)  # fmt: skip
def test_options_out_of_range_are_refused(refused: dict[str, Any]) -> None:
    with pytest.raises(ValidationError):
        AFAConfig(**refused)


def test_eighty_classes_and_frozen_norms() -> None:
    names = tuple(f"class {n}" for n in range(80))
    net = AFAConfig(**SIZES, frozen_norms=True).build(names)
    assert isinstance(net, AffinitySegmenter)
    assert net(tiny.photos(1, model=net)).logits.shape == (1, 81, 32, 32)
    norms = [m for m in net.encoder.backbone.modules() if isinstance(m, nn.BatchNorm2d)]
    assert norms
    assert not any(p.requires_grad for norm in norms for p in norm.parameters())
    assert all(p.requires_grad for p in net.decoder.parameters())
    assert all(p.requires_grad for p in AFAConfig(**SIZES).build(names).parameters())


def test_an_interrupted_run_ends_with_the_same_weights(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    config = AFAConfig(**SIZES, batch_size=2, steps=4, joint_from=0.25, walked_from=0.5, scales=(1.0,))
    assert_resumed_exactly(RECIPE, config, Halves(), tmp_path, monkeypatch)


def test_two_photos_are_learned_from_their_tags() -> None:
    config = AFAConfig(**SIZES, joint_from=0.3, walked_from=0.6, lr=3e-3, scales=(1.0,), seg_weight=1.0)
    torch.manual_seed(0)
    net = config.build(("red", "blue"))
    items = [Halves()[0], Halves()[1]]
    given = {name: torch.stack([item[name] for item in items]) for name in items[0]}
    optim, steps, seen = optimizer(net, config), 60, defaultdict[str, list[float]](list)
    for step in range(steps):
        losses = RECIPE.losses(net.train(), given, step / steps, config)
        for name, loss in losses.items():
            seen[name].append(loss.item())
        optim.zero_grad()
        total(losses.values()).backward()
        optim.step()
    assert all(seen[name][-1] < 0.7 * seen[name][0] for name in ("cls", "seg"))
    assert min(seen["aff"]) < 0.7 * seen["aff"][0]  # its pairs change with the maps, and it may rise again
    with torch.no_grad():
        scores, logits = net.eval()(given["image"])
    assert torch.equal(scores > 0, given["tags"] > 0)
    _, target = pseudo_labels(net, given, config, walked=True)
    decided = target < 255
    assert float((logits.argmax(1) == target)[decided].float().mean()) > 0.8


def test_from_a_folder_of_photos_to_a_model(scenes: Path, tmp_path: Path) -> None:
    net = getam.train(
        data=scenes / "photos", tags=scenes / "tags.csv", out=tmp_path / "run", recipe="afa", saliency="none",
        backbone="small-hybrid", size=32, batch_size=2, steps=4,
    )  # fmt: skip
    loaded = load_model(tmp_path / "run")
    assert isinstance(loaded, AffinitySegmenter)
    images = tiny.photos(1, model=loaded)
    torch.testing.assert_close(loaded.learned_affinity(images), net.learned_affinity(images))
