"""The BAS recipe: what a step draws and weighs, what it learns on bright squares, and what its run folder gives."""

from pathlib import Path

import pytest
import timm
import torch
import torch.nn.functional as F
from pydantic import ValidationError
from safetensors.torch import save_file
from torch import Tensor, nn

import tiny
from getam.engine.model import load_model
from getam.errors import InputError
from getam.maps.registry import find_method
from getam.nets.bas import BASNetwork
from getam.recipes.bas import PRESETS, BASConfig, BASRecipe, draw_targets
from getam.recipes.base import optimizer, total
from getam.verbs.explain import explain_photos
from getam.verbs.train import train

RECIPE = BASRecipe()
CONFIG = BASConfig(backbone="test_resnet", weights="", size=32)


def test_targets_are_drawn_uniformly_from_the_tags() -> None:
    torch.manual_seed(0)
    tags = torch.tensor([[1.0, 0, 1], [0, 1, 0], [0, 0, 0]])
    drawn = torch.stack([draw_targets(tags)[0] for _ in range(400)])
    assert set(drawn[:, 0].tolist()) == {0, 2}
    assert 150 < int((drawn[:, 0] == 0).sum()) < 250
    assert set(drawn[:, 1].tolist()) == {1}
    assert draw_targets(tags)[1].tolist() == [True, True, False]


def test_one_class_is_refused() -> None:
    with pytest.raises(
        InputError, match=r"recipe bas .* learns nothing from one \(cat\): .* --recipe classifier"
    ):
        CONFIG.build(("cat",))
    assert CONFIG.build(("cat", "dog")).classes == ("cat", "dog")


def test_losses_are_the_weighted_terms() -> None:
    net = CONFIG.build(tiny.CLASSES).eval()
    images, tags = tiny.photos(2, model=net), torch.tensor([[1.0, 0, 0], [0, 1, 0]])
    losses = RECIPE.losses(net, {"image": images, "tags": tags}, 0.0, CONFIG)
    assert list(losses) == ["cls", "frg", "bas", "area"]
    maps = net(images).maps
    area = 1.2 * (maps[0, 0].mean() + maps[1, 1].mean()) / 2
    torch.testing.assert_close(losses["area"], area)
    free = CONFIG.model_copy(update={"foreground_weight": 0.0, "area_weight": 0.0})
    assert RECIPE.losses(net, {"image": images, "tags": tags}, 0.0, free)["area"].item() == 0
    assert (CONFIG.foreground_weight, CONFIG.area_weight) == (0.2, 1.2)
    assert all(BASConfig(**preset) for preset in PRESETS.values())


def test_a_step_is_made_of_its_published_parts() -> None:
    """L = L_cls + a·L_frg + L_bas + b·L_area, spelled out photo by photo; photo 2 has no tag."""
    net = CONFIG.build(tiny.CLASSES).eval()
    net.generator.weight.data.normal_(0, 0.5)
    images, tags = tiny.photos(3, model=net), torch.tensor([[0.0, 0, 1], [0, 1, 0], [0, 0, 0]])
    config = CONFIG.model_copy(update={"foreground_weight": 0.7, "area_weight": 0.3})
    found = RECIPE.losses(net, {"image": images, "tags": tags}, 0.0, config)
    cls, frg, bas, area = [], [], [], []
    with torch.no_grad():
        for photo, target in ((0, 2), (1, 1)):
            features = net.low(net.normalised(images[photo : photo + 1]))
            class_map, m = net.high(features), torch.sigmoid(net.generator(features))[:, target]
            z, left = (
                class_map.mean((2, 3))[0],
                net.high(features * (1 - m[:, None])).mean((2, 3))[0, target].relu(),
            )
            whole = z[target].relu()
            others = torch.cat([z[:target], z[target + 1 :]]).exp().sum()
            cls.append(-(z[target].exp() / (z[target].exp() + others)).log())
            shrunk = F.adaptive_avg_pool2d(m[:, None], class_map.shape[-2:])
            frg.append(-(class_map * shrunk).mean((2, 3))[0].log_softmax(0)[target])
            bas.append(torch.ones(()) if left > whole else left / (whole + 1e-8))
            area.append(m.mean())
    expected = {
        "cls": sum(cls) / 3, "frg": 0.7 * sum(frg) / 2, "bas": sum(bas) / 2, "area": 0.3 * sum(area) / 2,
    }  # fmt: skip
    assert found.keys() == expected.keys()
    for name, value in expected.items():
        torch.testing.assert_close(
            found[name].detach(), value, rtol=1e-4, atol=1e-6, msg=lambda m, n=name: f"{n}: {m}"
        )


def test_the_numbers_of_the_reference() -> None:
    """VOC from tags (WSSS): a 0.2, b 1.2; crop 448 of 512, batch 16, 10 epochs, 0.005 and heads × 10, poly 0.9."""
    config = BASConfig(**PRESETS["paper-voc"])
    assert (config.foreground_weight, config.area_weight) == (0.2, 1.2)
    assert (config.backbone, config.size, config.batch_size, config.output_stride) == (
        "resnet50",
        448,
        16,
        16,
    )
    assert tuple(config.size * z for z in config.zoom) == (512, 512)
    assert config.steps == 6610 == 10 * (10_582 // 16)
    assert (config.optimizer, config.momentum, config.weight_decay) == ("sgd", 0.0, 1e-4)
    assert (config.lr, config.pretrained_lr) == (0.05, 0.005)
    assert (config.warmup, config.poly_power) == (0.0, 0.9)
    light = BASConfig(**PRESETS["light"])
    assert (light.lr, light.pretrained_lr, light.output_stride) == (1e-3, 1e-4, 16)
    assert list(PRESETS) == ["light", "paper-voc"]
    assert (RECIPE.name, RECIPE.needs, RECIPE.config_type) == ("bas", (), BASConfig)
    assert RECIPE.presets is PRESETS


@pytest.mark.parametrize(
    ("allowed", "refused"),
    [
        ({"output_stride": 32}, {"output_stride": 8}), ({"foreground_weight": 0.0}, {"foreground_weight": -0.1}),
        ({"area_weight": 0.0}, {"area_weight": -0.1}), ({"lr": 1e-9}, {"lr": 0.0}),
    ],
)  # fmt: skip
def test_the_range_of_every_option(allowed: dict[str, float], refused: dict[str, float]) -> None:
    BASConfig(**allowed)
    with pytest.raises(ValidationError):
        BASConfig(**refused)


def test_the_rate_warms_up_and_falls() -> None:
    config = BASConfig(warmup=0.2, poly_power=2.0)
    assert config.lr_factor(0.099) == pytest.approx(0.5 * 0.901**2)
    assert config.lr_factor(0.5) == pytest.approx(0.25)


def test_the_network_is_the_configured_one(tmp_path: Path) -> None:
    model = timm.create_model("test_resnet")
    save_file(model.state_dict(), tmp_path / "w.safetensors")
    config = CONFIG.model_copy(update={"weights": str(tmp_path / "w.safetensors"), "output_stride": 32})
    net = config.build(tiny.CLASSES)
    assert torch.equal(net.low.get_submodule("layer1")[0].conv1.weight, model.layer1[0].conv1.weight)
    coarse, fine = (BASConfig(backbone="resnet18", weights="", size=64, output_stride=s).build(("a", "b"))
                    for s in (32, 16))  # fmt: skip
    assert (coarse.patch, fine.patch) == (32, 16)
    with pytest.raises(InputError, match="size 40 is not a multiple of the 16-pixel"):
        CONFIG.model_copy(update={"size": 40}).build(tiny.CLASSES)


def test_a_wrapped_network_is_trained_as_itself() -> None:
    net = CONFIG.build(tiny.CLASSES).eval()
    data = {"image": tiny.photos(2, model=net), "tags": torch.eye(3)[[0, 2]]}
    alone = RECIPE.losses(net, data, 0.0, CONFIG)
    wrapped = RECIPE.losses(nn.DataParallel(net, device_ids=[]), data, 0.0, CONFIG)
    assert all(torch.equal(wrapped[name], alone[name]) for name in alone)


def test_suppression_reaches_the_lower_half_through_the_map_alone() -> None:
    net = CONFIG.build(tiny.CLASSES)
    batch = {"image": tiny.photos(4, model=net), "tags": torch.eye(3)[[0, 1, 2, 0]]}
    net.generator.weight.requires_grad_(False).zero_()  # a map that is ½ whatever F1 says
    losses = RECIPE.losses(net, batch, 0.0, CONFIG)
    (frg,) = torch.autograd.grad(
        losses["frg"], [net.low.get_submodule("layer1")[0].conv1.weight], retain_graph=True
    )
    assert float(frg.abs().max()) == 0
    parameters = [p for p in net.parameters() if p.requires_grad]
    found = torch.autograd.grad(losses["bas"], parameters, allow_unused=True)
    assert all(g is None or float(g.abs().max()) == 0 for g in found)


def test_photos_without_tags_do_no_harm() -> None:
    net = CONFIG.build(tiny.CLASSES)
    for tags in (torch.zeros(2, 3), torch.tensor([[0.0, 0, 0], [1, 1, 1]])):
        losses = RECIPE.losses(net, {"image": tiny.photos(2, model=net), "tags": tags}, 0.0, CONFIG)
        total(losses.values()).backward()
        assert all(loss.isfinite() for loss in losses.values())
        assert all(p.grad is None or p.grad.isfinite().all() for p in net.parameters())


def squares(count: int, generator: torch.Generator) -> tuple[Tensor, Tensor, Tensor]:
    """Photos (B,3,32,32) of one red or blue square on grey noise, their tags, and where the squares are."""
    images = torch.rand(count, 3, 32, 32, generator=generator) * 60 + 90
    tags, truth = torch.zeros(count, 2), torch.zeros(count, 32, 32, dtype=torch.bool)
    for photo in range(count):
        top, left = (torch.randint(0, 20, (2,), generator=generator)).tolist()
        colour = photo % 2
        truth[photo, top : top + 12, left : left + 12] = True
        images[photo, :, truth[photo]] = 20.0
        images[photo, 2 * colour, truth[photo]] = 250.0
        tags[photo, colour] = 1
    return images, tags, truth


def small_network() -> BASNetwork:
    torch.manual_seed(0)
    low = nn.Sequential(
        nn.Conv2d(3, 16, 3, 2, 1, bias=False), nn.BatchNorm2d(16), nn.ReLU(),
        nn.Conv2d(16, 16, 3, 1, 1, bias=False), nn.BatchNorm2d(16), nn.ReLU(),
    )  # fmt: skip
    high = nn.Sequential(nn.Conv2d(16, 24, 3, 1, 1, bias=False), nn.BatchNorm2d(24), nn.ReLU())
    return BASNetwork(low, high, (16, 24), ("red", "blue"), 2, (127.0,) * 3, (64.0,) * 3)


def overlap(net: BASNetwork, images: Tensor, tags: Tensor, truth: Tensor) -> float:
    """Mean IoU between where the map of the tag exceeds ½ of its peak and where the square is."""
    maps = find_method("bas").make(net, images, tags).values[:, :1]
    fine = torch.nn.functional.interpolate(maps, size=(32, 32), mode="bilinear")[:, 0]
    found = fine > 0.5 * fine.amax((1, 2), keepdim=True)
    return float(((found & truth).sum((1, 2)) / (found | truth).sum((1, 2))).mean())


def test_the_map_finds_bright_squares_from_tags_alone() -> None:
    generator = torch.Generator().manual_seed(0)
    net = small_network()
    config = BASConfig(weights="", size=32, lr=1e-2)
    optim = optimizer(net, config)
    held_out = squares(8, generator)
    before = overlap(net, *held_out)
    for _ in range(60):
        images, tags, _ = squares(8, generator)
        losses = RECIPE.losses(net.train(), {"image": images, "tags": tags}, 0.0, config)
        optim.zero_grad()
        total(losses.values()).backward()
        optim.step()
    after = overlap(net.eval(), *held_out)
    assert after > before + 0.2
    assert after > 0.5


def test_a_trained_run_loads_and_is_explained(tmp_path: Path) -> None:
    scenes = tiny.write_scenes(tmp_path / "scenes")
    weights = tmp_path / "backbone.safetensors"
    save_file(timm.create_model("test_resnet", num_classes=0).state_dict(), weights)
    net = train(
        data=scenes / "photos", tags=scenes / "tags.csv", recipe="bas", backbone="test_resnet", weights=weights,
        size=32, batch_size=3, steps=2, out=tmp_path / "run",
    )  # fmt: skip
    loaded = load_model(tmp_path / "run")
    assert isinstance(loaded, BASNetwork)
    photos = tiny.photos(2, model=loaded)
    torch.testing.assert_close(loaded.learned_maps(photos), net.learned_maps(photos))
    photo = sorted((scenes / "photos").iterdir())[0]
    explain_photos(photo, model=str(tmp_path / "run"), classes=("red",), method="bas", out=tmp_path / "maps")
    assert (tmp_path / "maps" / f"{photo.stem}.red.png").is_file()
