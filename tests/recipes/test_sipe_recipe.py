"""The SIPE recipe: its network, its step, how its maps are read, what it survives, what it learns from two photos."""

from __future__ import annotations

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
from getam.data.masks import read_mask
from getam.engine.model import load_model
from getam.errors import InputError
from getam.losses.prototypes import consistency_loss
from getam.maps.methods import is_cam as room
from getam.maps.methods.is_cam import class_maps, image_specific_cam, is_cam
from getam.maps.registry import find_method
from getam.nets.sipe import BRANCHES, SIPENetwork, build_sipe
from getam.pipeline_text import parse_pipeline
from getam.recipes.base import optimizer, total
from getam.recipes.sipe import PRESETS, SIPEConfig, SIPERecipe

RECIPE = SIPERecipe()
SIZES: dict[str, Any] = {"backbone": "test_resnet", "weights": "", "size": 64, "branches": (4, 5, 6, 7)}
CONFIG = SIPEConfig(**SIZES)
TAGS = torch.tensor([[1.0, 0, 1], [0, 1, 0], [0, 0, 0]])


def network(config: SIPEConfig = CONFIG) -> SIPENetwork:
    torch.manual_seed(0)
    net = config.build(tiny.CLASSES)
    nn.init.normal_(net.classifier.weight, 0, 0.5)
    return net.eval()


def batch(net: SIPENetwork, count: int = 3) -> dict[str, Tensor]:
    images = tiny.photos(count, 64, 64, net)
    return {"image": images, "tags": TAGS[:count], "roi": torch.ones(count, 64, 64, dtype=torch.bool)}


def test_side_branches_read_each_stage_and_teach_none() -> None:
    net = network()
    images = tiny.photos(2, 64, 64, net)
    features, parts = net.normalised(images), []
    for stage, branch in zip(net.body, net.branches):
        features = stage(features)
        parts.append(F.normalize(branch(features), dim=1))
    grid = parts[-2].shape[-2:]
    found = net(images)
    side = torch.cat([F.interpolate(part, size=grid, mode="bilinear") for part in parts], 1)
    torch.testing.assert_close(found.side, side)
    torch.testing.assert_close(found.score_map, net.classifier(features))
    torch.testing.assert_close(net.class_scores(images), found.score_map.mean((2, 3)))
    assert found.side.shape[1] == 4 + 5 + 6 + 7
    found.side.sum().backward()
    assert all(parameter.grad is None for parameter in net.body.parameters())
    assert all(branch.weight.grad is not None for branch in net.branches)
    assert {id(p) for p in net.pretrained_parameters()} == {id(p) for p in net.body.parameters()}


def test_a_step_is_made_of_its_published_parts() -> None:
    net = network()
    given = batch(net)
    given["roi"][0, :, 40:] = False
    found = net(given["image"])
    cams = F.interpolate(class_maps(found.score_map), size=found.side.shape[-2:], mode="bilinear")
    step = 64 // found.side.shape[-1]
    inside = given["roi"][:, step // 2 :: step, step // 2 :: step]
    assert not inside.all()
    specific = image_specific_cam(found.side, cams, TAGS > 0, structure=found.last, inside=inside)
    expected = {
        "cls": F.multilabel_soft_margin_loss(found.score_map.mean((2, 3)), TAGS),
        "gsc": consistency_loss(cams, specific, TAGS > 0, inside),
    }
    losses = RECIPE.losses(net, given, 0.5, CONFIG)
    assert list(losses) == list(expected)
    for name, value in expected.items():
        torch.testing.assert_close(losses[name], value)
    twice = RECIPE.losses(net, given, 0.5, CONFIG.model_copy(update={"gsc_weight": 2.0}))
    torch.testing.assert_close(twice["gsc"], 2 * losses["gsc"])
    whole = RECIPE.losses(net, {**given, "roi": torch.ones(3, 64, 64, dtype=torch.bool)}, 0.5, CONFIG)
    assert whole["gsc"] != losses["gsc"]


def test_the_consistency_teaches_classifier_and_branches_and_the_body_through_the_classifier() -> None:
    net = network()
    RECIPE.losses(net, batch(net), 0.5, CONFIG)["gsc"].backward()
    assert net.classifier.weight.grad is not None
    assert net.classifier.weight.grad.any()
    for branch in net.branches:
        assert branch.weight.grad is not None
        assert branch.weight.grad.any()
    assert any(parameter.grad is not None and parameter.grad.any() for parameter in net.body.parameters())


def test_seeds_are_found_in_the_last_features_and_prototypes_in_the_others() -> None:
    """Two halves: the structure tells them apart, the features too, but the map shows one position of the left one."""
    structure = torch.zeros(1, 2, 2, 4)
    structure[:, 0, :, :2], structure[:, 1, :, 2:] = 1, 1
    features = torch.rand(1, 3, 2, 4, generator=torch.Generator().manual_seed(0))
    cams = torch.zeros(1, 1, 2, 4)
    cams[0, 0, 0, 0] = 1
    cams[0, 0, 1, 1] = 0.9
    found = image_specific_cam(features, cams, torch.tensor([[True]]), structure=structure)
    left, right = features[0, :, :, :2].flatten(1).mean(1), features[0, :, :, 2:].flatten(1).mean(1)
    for place, prototype in ((1, left), (0, right)):
        expected = F.cosine_similarity(features[0], prototype[:, None, None], dim=0).relu()
        torch.testing.assert_close(found[0, place], expected)
    assert not torch.allclose(found, image_specific_cam(features, cams, torch.tensor([[True]])))


def test_is_cam_reads_the_side_branches_and_the_background_when_asked() -> None:
    net = network()
    image = tiny.photos(1, 64, 64, net)
    own = torch.tensor([[True, False, True]])
    with torch.no_grad():
        found = net.prototype_maps(image, own)
        outputs = net(image)
        cams = F.interpolate(class_maps(outputs.score_map), size=outputs.side.shape[-2:], mode="bilinear")
        torch.testing.assert_close(found, image_specific_cam(outputs.side, cams, own))
    maps = is_cam(net, image, [[2, 0]])
    torch.testing.assert_close(maps.values[0, 0], found[0, 3])
    torch.testing.assert_close(maps.values[0, 1], found[0, 1])
    above = is_cam(net, image, [[2, 0]], background=True).values[0]
    torch.testing.assert_close(above[1], (found[0, 1] - found[0, 0]).relu())
    winner = torch.cat([torch.zeros_like(above[:1]) + 1e-9, above]).argmax(0)
    order = torch.stack([found[0, 0] + 1e-9, found[0, 3], found[0, 1]]).argmax(0)
    assert torch.equal(winner, order)  # arg-max over background and classes
    assert not maps.values.requires_grad
    named = is_cam(net, image, [[2, 0]], layers=["body.2", "body.3"])
    assert not torch.allclose(named.values, maps.values)


def test_any_classifier_has_a_background_too(monkeypatch: pytest.MonkeyPatch) -> None:
    net = network()
    image = tiny.photos(1, 64, 64, net)
    maps = torch.rand(1, 4, 4, 4)
    monkeypatch.setattr(room, "image_specific_cam", lambda features, cams, own: maps)
    make = find_method("is-cam").make
    layers = ["body.2", "body.3"]  # its own features, as of a network without side branches
    plain, above = (make(net, image, [[0, 2]], layers=layers, background=b).values[0] for b in (False, True))
    assert torch.equal(plain, maps[0, [1, 3]])
    assert torch.equal(above, (maps[0, [1, 3]] - maps[0, :1]).relu())


def test_the_network_is_built_again_from_its_file(scenes: Path, tmp_path: Path) -> None:
    run = tmp_path / "run"
    given: dict[str, Any] = {"data": scenes / "photos", "tags": scenes / "tags.csv"}
    getam.train(
        **given, out=run, recipe="sipe", backbone="test_resnet", weights="", size=32, batch_size=2, steps=2,
        options=("branches=[4,4,4,4]",),
    )  # fmt: skip
    net: Any = load_model(run)
    assert isinstance(net, SIPENetwork)
    assert [branch.out_channels for branch in net.branches] == [4, 4, 4, 4]
    out = getam.label(**given, model=run, out=tmp_path / "labels", scales=(32,))
    assert {int(v) for file in out.glob("*.png") for v in set(read_mask(file).ravel())} <= {
        0,
        1,
        2,
    }  # all decided


def test_an_interrupted_run_ends_with_the_same_weights(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    config = SIPEConfig(**{**SIZES, "size": 32}, batch_size=2, steps=4)
    assert_resumed_exactly(RECIPE, config, Halves(), tmp_path, monkeypatch)


def test_photos_without_tags_and_unknown_classes_do_no_harm() -> None:
    net = network().train()
    given = {**batch(net), "tags": torch.zeros(3, 3)}
    losses = RECIPE.losses(net, given, 0.5, CONFIG)
    total(losses.values()).backward()
    assert all(p.grad.isfinite().all() for p in net.parameters() if p.grad is not None)
    known = torch.tensor([[True, False, True]] * 3)
    losses = RECIPE.losses(net, {**given, "tags": TAGS * known, "known": known}, 0.5, CONFIG)
    (gradient,) = torch.autograd.grad(losses["cls"], [net.classifier.weight])
    assert not gradient[1].any()
    assert gradient[[0, 2]].any()


def test_crops_that_show_no_photo_do_no_harm() -> None:
    net = network().train()
    losses = RECIPE.losses(net, {**batch(net), "roi": torch.zeros(3, 64, 64, dtype=torch.bool)}, 0.5, CONFIG)
    assert losses["gsc"] == 0
    total(losses.values()).backward()
    assert losses["cls"].isfinite()
    assert all(p.grad is not None and p.grad.isfinite().all() for p in net.parameters())


def test_two_photos_are_learned_from_their_tags() -> None:
    config = SIPEConfig(**{**SIZES, "size": 32}, lr=1e-2)
    torch.manual_seed(0)
    net = config.build(("red", "blue"))
    items = [Halves()[0], Halves()[1]]
    given = {name: torch.stack([item[name] for item in items]) for name in items[0]}
    optim, seen = optimizer(net, config), []
    for _ in range(40):
        losses = RECIPE.losses(net.train(), given, 0.5, config)
        seen.append({name: loss.item() for name, loss in losses.items()})
        optim.zero_grad()
        total(losses.values()).backward()
        optim.step()
    assert seen[-1]["cls"] < 0.1 < seen[0]["cls"]
    assert seen[-1]["gsc"] < seen[0]["gsc"]


def test_numbers_and_what_is_refused() -> None:
    config = SIPEConfig(**PRESETS["paper-voc"])
    assert (config.backbone, config.size, config.batch_size, config.output_stride) == (
        "resnet50",
        512,
        16,
        16,
    )
    assert tuple(config.size * z for z in config.zoom) == (320, 640)
    assert config.steps == 3305 == 5 * (10_582 // 16)
    assert (config.optimizer, config.lr, config.pretrained_lr, config.momentum) == ("sgd", 1.0, 0.1, 0.0)
    assert (config.weight_decay, config.poly_power, config.warmup, config.gsc_weight) == (1e-4, 0.9, 0.0, 1.0)
    assert SIPEConfig(**PRESETS["paper-coco"]).steps == 25_650
    assert config.branches == BRANCHES == (128, 128, 256, 256)
    light = SIPEConfig(**PRESETS["light"])
    assert (light.lr, light.pretrained_lr) == (1e-3, 1e-4)
    chain = parse_pipeline(RECIPE.labelled_by)
    assert (chain.method, chain.refine, chain.labels) == ("is-cam", (), "threshold")
    assert chain.options == {"background": True}
    with pytest.raises(ValidationError):
        SIPEConfig(gsc_weight=-1)
    with pytest.raises(InputError, match="cannot be split into stages"):
        build_sipe("test_vit", ("a",), weights="")
    with pytest.raises(InputError, match="size 40 is not a multiple"):
        CONFIG.model_copy(update={"size": 40}).build(tiny.CLASSES)
