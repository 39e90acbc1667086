"""The Puzzle-CAM recipe: its step, its options, what it survives, and what it learns from two photos."""

from pathlib import Path
from typing import Any

import pytest
import timm
import torch
import torch.nn.functional as F
from halves import Halves, assert_resumed_exactly
from pydantic import ValidationError
from safetensors.torch import save_file
from torch import nn

import tiny
from getam.engine.model import load_model
from getam.errors import InputError
from getam.nets.cam_network import CAMNetwork
from getam.recipes.base import optimizer, total
from getam.recipes.puzzle_cam import PRESETS, PuzzleCAMConfig, PuzzleCAMRecipe
from getam.verbs.label import label
from getam.verbs.train import train

RECIPE = PuzzleCAMRecipe()
SIZES: dict[str, Any] = {"backbone": "test_resnet", "weights": "", "size": 32}
CONFIG = PuzzleCAMConfig(**SIZES)
TAGS = torch.tensor([[1.0, 0, 1], [0, 1, 0], [0, 0, 0]])


def network(config: PuzzleCAMConfig = CONFIG) -> CAMNetwork:
    net = config.build(tiny.CLASSES)
    nn.init.normal_(net.classifier.weight, 0, 0.5)
    return net.eval()


def test_a_step_is_made_of_its_published_parts() -> None:
    """Photo by photo and tile by tile, of an odd batch, in eval mode, where photos do not interact."""
    net = network()
    images = tiny.photos(3, 64, 64, net)
    scores, merged_scores, difference = [], [], torch.zeros(())
    for b in range(3):
        whole = net.classifier(net.body(net.normalised(images[b : b + 1])))[0]
        merged = torch.zeros_like(whole)
        for row in (0, 1):
            for column in (0, 1):
                part = images[b : b + 1, :, 32 * row : 32 * row + 32, 32 * column : 32 * column + 32]
                merged[:, 2 * row : 2 * row + 2, 2 * column : 2 * column + 2] = net.score_map(part)[0]
        scores.append(whole.mean((1, 2)))
        merged_scores.append(merged.mean((1, 2)))
        difference = difference + ((whole - merged).abs() * TAGS[b][:, None, None]).sum() / (3 * 3 * 16)
    for progress, weight in ((0.0, 0.0), (0.25, 2.0), (0.5, 4.0), (0.9, 4.0)):
        found = RECIPE.losses(net, {"image": images, "tags": TAGS}, progress, CONFIG)
        expected = {
            "cls": F.multilabel_soft_margin_loss(torch.stack(scores), TAGS),
            "p_cls": F.multilabel_soft_margin_loss(torch.stack(merged_scores), TAGS),
            "re": weight * difference,
        }
        assert list(found) == list(expected)
        for name, value in expected.items():
            torch.testing.assert_close(found[name], value, msg=lambda m, n=name: f"{n}: {m}")


def test_every_option_of_the_loss_has_its_effect() -> None:
    net = network()
    batch = {"image": tiny.photos(3, 32, 32, net), "tags": TAGS}
    changes: list[dict[str, Any]] = [
        {},
        {"distance": "l2"},
        {"level": "normalised"},
        {"alpha": 8.0},
        {"ramp": 1.0},
    ]
    found = [RECIPE.losses(net, batch, 0.5, PuzzleCAMConfig(**SIZES, **c))["re"].item() for c in changes]
    assert found[3] == pytest.approx(2 * found[0])
    assert found[4] == pytest.approx(found[0] / 2)
    assert len({round(value, 6) for value in found}) == 5
    nine = PuzzleCAMConfig(**{**SIZES, "size": 48, "pieces": 9})
    photos = tiny.photos(3, 48, 48, net)
    assert network(nine).patch == 16
    losses = RECIPE.losses(net, {"image": photos, "tags": TAGS}, 0.5, nine)
    parts = [
        net.score_map(photos[:, :, 16 * r : 16 * r + 16, 16 * c : 16 * c + 16])
        for r in range(3)
        for c in range(3)
    ]
    averaged = torch.stack([part.mean((2, 3)) for part in parts]).mean(0)
    torch.testing.assert_close(losses["p_cls"], F.multilabel_soft_margin_loss(averaged, TAGS))


@pytest.mark.parametrize("options", [{}, {"distance": "l2"}, {"level": "normalised"}, {"pieces": 9}])
def test_a_network_that_looks_at_single_pixels_has_nothing_to_agree_on(options: dict[str, Any]) -> None:
    """Tiles change nothing for 1×1 convolutions; of whole numbers, no sum is rounded. 3×3 ones see the seams."""
    config = PuzzleCAMConfig(**SIZES, **options)
    photos = torch.randint(0, 256, (3, 3, 12, 18), generator=torch.Generator().manual_seed(0)).float()
    for kernel in (1, 3):
        body = nn.Conv2d(3, 4, kernel, padding=kernel // 2)
        net = CAMNetwork(body, 4, tiny.CLASSES, 1, mean=(0.0,) * 3, std=(1.0,) * 3)
        with torch.no_grad():
            for seed, parameter in enumerate(net.parameters()):
                parameter.random_(-3, 4, generator=torch.Generator().manual_seed(seed))
        losses = RECIPE.losses(net, {"image": photos, "tags": TAGS}, 0.9, config)
        assert (losses["re"].item() == 0) == (kernel == 1)
        if kernel == 1:
            torch.testing.assert_close(losses["p_cls"], losses["cls"])


def test_sizes_that_make_no_tiles_are_refused() -> None:
    with pytest.raises(
        InputError, match=r"size 48 cannot be cut into 2×2 tiles .* 16 pixels that test_resnet .*: use 64"
    ):
        CONFIG.model_copy(update={"size": 48}).build(tiny.CLASSES)
    with pytest.raises(InputError, match=r"size 64 cannot be cut into 3×3 tiles .*: use 48"):
        CONFIG.model_copy(update={"size": 64, "pieces": 9}).build(tiny.CLASSES)
    assert CONFIG.model_copy(update={"size": 48, "pieces": 9}).build(tiny.CLASSES).patch == 16


@pytest.mark.parametrize(
    "refused",
    [
        {"pieces": 5}, {"pieces": 1}, {"pieces": 0}, {"alpha": -0.1}, {"ramp": 1.1}, {"ramp": -0.1}, {"lr": 0.0},
        {"distance": "l3"}, {"level": "cam"}, {"output_stride": 4},
    ],
)  # fmt: skip
def test_options_out_of_range_are_refused(refused: dict[str, Any]) -> None:
    with pytest.raises(ValidationError):
        PuzzleCAMConfig(**refused)
    PuzzleCAMConfig(pieces=16, alpha=0.0, ramp=0.0, output_stride=8)


def test_a_number_of_pieces_that_is_no_square_is_said_so() -> None:
    with pytest.raises(ValidationError, match="5 pieces do not fill a square of tiles"):
        PuzzleCAMConfig(pieces=5)


def test_the_numbers_of_the_reference() -> None:
    config = PuzzleCAMConfig(**PRESETS["paper-voc"])
    assert (config.pieces, config.alpha, config.ramp, config.distance, config.level) == (
        4,
        4.0,
        0.5,
        "l1",
        "raw",
    )
    assert (config.backbone, config.size, config.batch_size, config.output_stride) == (
        "resnest101e",
        512,
        32,
        16,
    )
    assert tuple(config.size * z for z in config.zoom) == (320, 640)
    assert config.steps == 4950 == 15 * (10_582 // 32)
    assert (config.optimizer, config.momentum, config.weight_decay) == ("sgd", 0.0, 1e-4)
    assert (config.lr, config.pretrained_lr, config.warmup, config.poly_power) == (1.0, 0.1, 0.0, 0.9)
    assert timm.is_model(config.backbone)
    light = PuzzleCAMConfig(**PRESETS["light"])
    assert (light.lr, light.pretrained_lr, light.output_stride, light.alpha) == (1e-3, 1e-4, 16, 4.0)
    assert list(PRESETS) == ["light", "paper-voc"]
    assert (RECIPE.name, RECIPE.needs, RECIPE.uses, RECIPE.config_type) == (
        "puzzle-cam",
        (),
        (),
        PuzzleCAMConfig,
    )
    assert RECIPE.labelled_by == "cam+pamr:completion"


def test_a_photo_without_a_tag_does_no_harm() -> None:
    net = network().train()
    losses = RECIPE.losses(net, {"image": tiny.photos(2, model=net), "tags": torch.zeros(2, 3)}, 0.5, CONFIG)
    assert losses["re"] == 0
    total(losses.values()).backward()
    assert all(p.grad.isfinite().all() for p in net.parameters() if p.grad is not None)


def test_unknown_classes_are_not_learned() -> None:
    net = network()
    batch = {
        "image": tiny.photos(3, model=net),
        "tags": TAGS,
        "known": torch.tensor([[True, False, True]] * 3),
    }
    batch["tags"] = TAGS * batch["known"]
    losses = RECIPE.losses(net, batch, 0.5, CONFIG)
    (gradient,) = torch.autograd.grad(total(losses.values()), [net.classifier.weight])
    assert float(gradient[1].abs().max()) == 0
    assert float(gradient[[0, 2]].abs().amax((1, 2, 3)).min()) > 0


def test_two_photos_are_learned_from_their_tags() -> None:
    config = PuzzleCAMConfig(**SIZES, lr=1e-2)
    net = config.build(("red", "blue"))
    items = [Halves()[0], Halves()[1]]
    given = {name: torch.stack([item[name] for item in items]) for name in items[0]}
    optim, differences = optimizer(net, config), []
    for _ in range(40):
        losses = RECIPE.losses(net.train(), given, 0.5, config)
        differences.append(losses["re"].item())
        optim.zero_grad()
        total(losses.values()).backward()
        optim.step()
    assert losses["cls"] < 0.1
    assert losses["p_cls"] < 0.1
    assert differences[-1] < 0.5 * max(differences)


def test_an_interrupted_run_ends_with_the_same_weights(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    config = PuzzleCAMConfig(**SIZES, batch_size=2, steps=4)
    assert_resumed_exactly(RECIPE, config, Halves(), tmp_path, monkeypatch)


def test_from_a_folder_of_photos_to_masks(scenes: Path, tmp_path: Path) -> None:
    weights = tmp_path / "backbone.safetensors"
    save_file(timm.create_model("test_resnet", num_classes=0).state_dict(), weights)
    net = train(
        data=scenes / "photos", tags=scenes / "tags.csv", out=tmp_path / "run", recipe="puzzle-cam",
        backbone="test_resnet", weights=weights, size=32, batch_size=3, steps=2,
    )  # fmt: skip
    loaded = load_model(tmp_path / "run")
    assert isinstance(loaded, CAMNetwork)
    photos = tiny.photos(1, model=loaded)
    torch.testing.assert_close(loaded.score_map(photos), net.score_map(photos))
    label(
        data=scenes / "photos", tags=scenes / "tags.csv", model=tmp_path / "run", method="cam", refine=(),
        labels="threshold", out=tmp_path / "masks",
    )  # fmt: skip
    assert len(list((tmp_path / "masks").glob("scene*.png"))) == 6
