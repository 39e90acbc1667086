"""The ECACL recipe: a step from its parts, what it learns, what it needs, and what its run folder gives."""

import json
from pathlib import Path
from typing import Any

import pytest
import timm
import torch
import torch.nn.functional as F
from pydantic import ValidationError
from safetensors.torch import save_file
from torch import Tensor, nn

import tiny
from getam.data.collection import load_collection
from getam.data.tag_dataset import TagDataset
from getam.data.two_domains import TwoDomainDataset
from getam.engine.model import load_model
from getam.errors import InputError
from getam.nets.cosine import CosineClassifier
from getam.recipes.base import optimizer, total
from getam.recipes.ecacl import PRESETS, ECACLConfig, ECACLRecipe
from getam.verbs.train import train

RECIPE = ECACLRecipe()
CONFIG = ECACLConfig(backbone="test_resnet", weights="", size=32, bottleneck=8)


def batch_of(net: Any, tags: Tensor, shot_tags: Tensor) -> dict[str, Tensor]:
    images = tiny.photos(4 * len(tags), model=net).split(len(tags))
    keys = ("image", "shot_image", "weak_image", "strong_image")
    return {**dict(zip(keys, images)), "tags": tags, "shot_tags": shot_tags}


def test_a_step_is_made_of_its_published_parts() -> None:
    """L_ce + L_con + 0.1 L_proto + 0.1 Σ p log p, photo by photo; source photo 2 and shot 0 have two tags."""
    net = CONFIG.build(tiny.CLASSES).eval()
    tags = torch.tensor([[1.0, 0, 0], [0, 0, 1], [1, 1, 0]])
    shot_tags = torch.tensor([[0.0, 1, 1], [1, 0, 0], [1, 0, 0]])
    data = batch_of(net, tags, shot_tags)
    config = CONFIG.model_copy(
        update={
            "threshold": 0.0,
            "uniform": 0.3,
            "con_weight": 0.7,
            "proto_weight": 0.2,
            "entropy_weight": 0.4,
        }
    )
    found = RECIPE.losses(net, data, 0.0, config)
    f = {name: net(data[name]).features for name in data if name.endswith("image")}
    z = {name: net.head(features) for name, features in f.items()}
    cls = []
    for scores, present in zip(torch.cat([z["image"], z["shot_image"]]), torch.cat([tags, shot_tags])):
        absent = scores[present == 0].exp().sum()
        cls.append(sum(-(s.exp() / (s.exp() + absent)).log() for s in scores[present > 0]))
    u = {name: F.normalize(features, dim=1) for name, features in f.items()}
    prototype = (u["shot_image"][1] + u["shot_image"][2]) / 2  # the only class with a shot of its own
    assert prototype.shape == u["image"][0].shape
    guess = z["weak_image"].argmax(1)
    log_p = z["strong_image"].log_softmax(1)
    con = [-log_p[i, guess[i]] - 0.3 * log_p[i].mean() for i in range(3)]
    p = z["weak_image"].softmax(1)
    expected = {
        "cls": sum(cls) / 6, "con": 0.7 * sum(con) / 3, "proto": torch.zeros(()),
        "entropy": 0.4 * (p * p.log()).sum() / 3,
    }  # fmt: skip
    assert list(found) == list(expected)
    for name, value in expected.items():
        torch.testing.assert_close(
            found[name], value, rtol=1e-4, atol=1e-5, msg=lambda m, n=name: f"{n}: {m}"
        )
    data["shot_tags"] = torch.eye(3)
    near = -((u["image"][:, None] - u["shot_image"][None]) ** 2).sum(-1)
    proto = 0.2 * F.cross_entropy(near[:2], torch.tensor([0, 2]))  # source photo 2 has two tags
    torch.testing.assert_close(RECIPE.losses(net, data, 0.0, config)["proto"], proto, rtol=1e-4, atol=1e-6)


def test_the_weights_of_the_reference() -> None:
    config = ECACLConfig()
    assert (config.threshold, config.uniform) == (0.8, 0.1)
    assert (config.con_weight, config.proto_weight, config.entropy_weight) == (1.0, 0.1, 0.1)
    assert (config.lr, config.pretrained_lr, config.bottleneck, config.output_stride) == (1e-3, 1e-4, 512, 16)
    assert (config.strong_zoom, config.decay) == ((0.9, 2.0), "poly")
    paper = ECACLConfig(**PRESETS["paper"])
    assert (paper.backbone, paper.size, paper.steps) == ("resnet34", 224, 50_000)
    assert (paper.optimizer, paper.momentum, paper.weight_decay) == ("sgd", 0.9, 5e-4)
    assert (paper.lr, paper.pretrained_lr, paper.batch_size) == (0.01, 0.001, 32)
    assert paper.zoom == (256 / 224, 256 / 224)
    assert paper.lr_factor(0.5) == pytest.approx((1 + 1e-4 * 25_000) ** -0.75)
    assert config.lr_factor(0.5) == pytest.approx(0.5**0.9)
    assert list(PRESETS) == ["light", "paper"]
    assert (RECIPE.name, RECIPE.needs, RECIPE.uses, RECIPE.presets) == ("ecacl", (), (), PRESETS)


@pytest.mark.parametrize(
    "name", ["con_weight", "proto_weight", "entropy_weight", "uniform", "threshold", "bottleneck"]
)
def test_the_range_of_every_option(name: str) -> None:
    ECACLConfig(**{name: 0})
    with pytest.raises(ValidationError):
        ECACLConfig(**{name: -1})


def test_features_and_head_learn_the_opposite_of_entropy() -> None:
    net = CONFIG.build(tiny.CLASSES)
    data = batch_of(net, torch.eye(3), torch.eye(3))
    first, last = next(net.model.parameters()), net.head.weights.weight
    found = torch.autograd.grad(RECIPE.losses(net, data, 0.0, CONFIG)["entropy"], (first, last))
    scores = net(torch.cat([data[name] for name in data if name.endswith("image")])).scores[6:9]
    plain = torch.autograd.grad(0.1 * (scores.softmax(1) * scores.log_softmax(1)).sum() / 3, (first, last))
    torch.testing.assert_close(found[0], -plain[0], rtol=1e-3, atol=1e-7)
    torch.testing.assert_close(found[1], plain[1], rtol=1e-3, atol=1e-7)


def test_a_wrapped_network_is_trained_as_itself() -> None:
    net = CONFIG.build(tiny.CLASSES).eval()
    data = batch_of(net, torch.eye(3), torch.eye(3))
    alone = RECIPE.losses(net, data, 0.0, CONFIG)
    wrapped = RECIPE.losses(nn.DataParallel(net, device_ids=[]), data, 0.0, CONFIG)
    assert all(torch.equal(wrapped[name], alone[name]) for name in alone)


def test_photos_without_tags_and_classes_nobody_looked_for() -> None:
    net = CONFIG.build(tiny.CLASSES).eval()
    data = batch_of(net, torch.zeros(2, 3), torch.tensor([[1.0, 1, 1], [0, 0, 0]]))
    losses = RECIPE.losses(net, data, 0.0, CONFIG)
    total(losses.values()).backward()
    assert all(loss.isfinite() for loss in losses.values())
    assert losses["proto"] == 0
    data = batch_of(net, torch.tensor([[1.0, 0, 0]]), torch.tensor([[0.0, 1, 0]]))
    data["known"] = torch.tensor([[True, True, False]])
    z = net(data["image"]).scores[0], net(data["shot_image"]).scores[0]
    expected = (F.cross_entropy(z[0][:2], torch.tensor(0)) + F.cross_entropy(z[1], torch.tensor(1))) / 2
    torch.testing.assert_close(RECIPE.losses(net, data, 0.0, CONFIG)["cls"], expected)


def test_two_photos_are_learned() -> None:
    torch.manual_seed(0)
    config = CONFIG.model_copy(update={"lr": 1e-2, "pretrained_lr": 1e-3})
    net = config.build(("cat", "dog"))
    optim = optimizer(net, config)
    data = batch_of(net, torch.eye(2), torch.eye(2))
    for _ in range(15):
        losses = RECIPE.losses(net.train(), data, 0.0, config)
        optim.zero_grad()
        total(losses.values()).backward()
        optim.step()
    assert float(losses["cls"].detach()) < 0.05


def test_what_it_needs_is_said(scenes: Path) -> None:
    collection = load_collection(scenes / "photos", scenes / "tags.csv")
    with pytest.raises(InputError, match=r"recipe ecacl needs a second domain: .* --options target=FOLDER"):
        CONFIG.crops(collection, masks=False)
    with pytest.raises(InputError, match=r"recipe ecacl compares the classes .* from one \(cat\)"):
        CONFIG.build(("cat",))
    with pytest.raises(InputError, match="size 40 is not a multiple"):
        CONFIG.model_copy(update={"size": 40}).build(tiny.CLASSES)


@pytest.fixture
def target(tmp_path: Path) -> Path:
    photos = tiny.write_scenes(tmp_path / "target") / "photos"
    (photos / "tags.csv").write_text("image,tags\nscene0.png,blue\nscene1.png,red\n")
    return photos


def test_crops_are_of_both_domains(scenes: Path, target: Path) -> None:
    collection = load_collection(scenes / "photos", scenes / "tags.csv")
    config = CONFIG.model_copy(
        update={"target": str(target), "zoom": (1.0, 1.1), "seed": 5, "colour_jitter": True}
    )
    data = config.crops(collection, masks=False)
    assert isinstance(data, TwoDomainDataset)
    assert (data.size, data.seed, data.zoom, data.colour_jitter) == ((32, 32), 5, (1.0, 1.1), True)
    assert (data.strong.zoom, data.strong.colour_jitter) == ((0.9, 2.0), True)
    whole = config.whole_photos(collection)
    assert type(whole) is TagDataset
    assert (whole.size, whole.zoom, whole.colour_jitter) == ((32, 32), (1.0, 1.0), False)


def test_a_run_is_trained_loaded_and_gone_on_with(scenes: Path, target: Path, tmp_path: Path) -> None:
    weights = tmp_path / "backbone.safetensors"
    save_file(timm.create_model("test_resnet", num_classes=0).state_dict(), weights)

    def run(out: str, steps: int) -> Any:
        return train(
            data=scenes / "photos", tags=scenes / "tags.csv", recipe="ecacl", backbone="test_resnet", weights=weights,
            size=32, batch_size=3, steps=steps, out=tmp_path / out, options=(f"target={target}", "bottleneck=8"),
        )  # fmt: skip

    net = run("whole", 2)
    loaded = load_model(tmp_path / "whole")
    assert isinstance(loaded, CosineClassifier)
    photos = tiny.photos(2, model=loaded)
    torch.testing.assert_close(loaded.class_scores(photos), net.class_scores(photos))
    facts = json.loads((tmp_path / "whole" / "data.jsonl").read_text().splitlines()[0])["facts"]
    assert sum("of the target" in name for name in facts) == 4
    (target / "tags.csv").write_text("image,tags\nscene0.png,blue\nscene1.png,red\nscene4.png,red\n")
    with pytest.raises(InputError, match="of the target"):
        run("whole", 2)
