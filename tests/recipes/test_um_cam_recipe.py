"""The UM-CAM recipe: its views, its steps, its soft labels, and its stages from grey slices to a model."""

from __future__ import annotations

from collections import Counter
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import timm
import torch
import torch.nn.functional as F
from PIL import Image
from pydantic import ValidationError
from safetensors.torch import save_file
from torch import Tensor, nn

import getam
import tiny
from getam.data.collection import Collection, Sample, load_collection
from getam.data.masks import read_mask
from getam.engine import loop
from getam.engine.model import load_model
from getam.errors import InputError, WeightsError
from getam.losses.consensus import consensus_loss, soft_cross_entropy
from getam.maps.methods.um_cam import um_cam
from getam.nets.segmenter import Segmenter
from getam.recipes import RECIPES, consensus
from getam.recipes import um_cam as recipe
from getam.recipes.base import optimizer, total
from getam.recipes.classifier import ClassifierConfig
from getam.recipes.consensus import ConsensusConfig, ConsensusRecipe, View, draw_view
from getam.recipes.um_cam import PRESETS, UMCAMConfig, UMCAMRecipe, expanded
from getam.refine.geodesic import geodesic_expansion
from getam.verbs.leaderboard_entry import read_entry

RECIPE, SECOND = UMCAMRecipe(), ConsensusRecipe()
SIZES: dict[str, Any] = {"backbone": "small-hybrid", "size": 32, "channels": (8, 8, 8, 8), "width": 8}
TAGS = torch.tensor([[1.0, 0, 1], [0, 1, 0]])


def network(classes: tuple[str, ...] = tiny.CLASSES) -> Any:
    torch.manual_seed(0)
    return tiny.awake(ConsensusConfig(**SIZES).build(classes))


def batch() -> dict[str, Tensor]:
    generator = torch.Generator().manual_seed(1)
    mask = torch.zeros(2, 32, 32, dtype=torch.int64)
    mask[0, :9], mask[0, 9:20], mask[1, 20:], mask[:, :, 30:] = 1, 3, 2, 255
    return {
        "image": (torch.randn(2, 3, 32, 32, generator=generator) * 60 + 127).clamp(0, 255),
        "tags": TAGS,
        "mask": mask,
        "belief": torch.rand(2, 32, 32, generator=generator),
    }


@pytest.mark.parametrize("view", [View(), View(0.5), View(1.5), View(turns=1), View(turns=2), View(turns=3)])
def test_what_a_view_shows_comes_back_to_its_place(view: View) -> None:
    image = torch.zeros(1, 3, 64, 64)
    image[..., 8:24, 32:56] = 200
    seen = view.of(image, 16)
    assert seen.shape[-2:] == (round(64 * view.scale),) * 2
    back = view.back(seen, (64, 64))
    assert back.shape == image.shape
    assert float((back - image).abs().mean()) < 12
    if view.turns:
        assert torch.equal(back, image)
        assert not torch.equal(seen, image)


def test_views_are_scaled_or_turned_as_often() -> None:
    torch.manual_seed(0)
    drawn = Counter(draw_view(ConsensusConfig()) for _ in range(4000))
    assert set(drawn) == {*(View(s) for s in (0.5, 0.75, 1.0, 1.5)), View(turns=1), View(turns=2)}
    assert 1850 < drawn[View(turns=1)] + drawn[View(turns=2)] < 2150
    assert 400 < drawn[View(0.75)] < 600
    assert {draw_view(ConsensusConfig(view_turns=())).turns for _ in range(20)} == {0}
    only = {draw_view(ConsensusConfig(view_scales=(), view_turns=(270,))) for _ in range(9)}
    assert only == {View(turns=3)}


def test_the_losses_of_a_step(monkeypatch: pytest.MonkeyPatch) -> None:
    net, given = network(), batch()
    views = [View(turns=1), View(0.5)]
    monkeypatch.setattr(consensus, "draw_view", lambda config, left=list(views): left.pop(0))
    config = ConsensusConfig(**SIZES, consensus_weight=0.3, consensus_from=0.2)
    found = SECOND.losses(net, given, 0.6, config)
    scores, logits = [], []
    for view in views:
        outputs = net(view.of(given["image"], net.patch))
        scores.append(F.multilabel_soft_margin_loss(outputs.scores, TAGS))
        logits.append(view.back(outputs.logits, (32, 32)))
    soft = [soft_cross_entropy(each, given["mask"], given["belief"], TAGS) for each in logits]
    expected = {
        "cls": (scores[0] + scores[1]) / 2,
        "pixel": (soft[0] + soft[1]) / 2,
        "con": 0.3 * 0.5 * consensus_loss(*logits, given["mask"]),
    }
    assert found.keys() == expected.keys()
    for name, value in expected.items():
        torch.testing.assert_close(found[name], value, msg=lambda m, n=name: f"{n}: {m}")


def test_the_consensus_begins_late_and_grows() -> None:
    config = ConsensusConfig()
    assert [config.ramp(share) for share in (0.0, 0.05, 0.1)] == [0, 0, 0]
    assert config.ramp(0.55) == pytest.approx(0.05)
    assert config.ramp(1.0) == pytest.approx(0.1)


def test_unknown_classes_and_photos_without_a_usable_pixel() -> None:
    torch.manual_seed(0)
    net, given = ConsensusConfig(**SIZES).build(tiny.CLASSES).eval(), batch()  # not sure of anything
    known = torch.tensor([[True, False, True], [True, True, False]])
    seen: list[Tensor] = []
    net.register_forward_hook(lambda module, inputs, out: seen.append(out[1]))
    config = ConsensusConfig(**SIZES, view_turns=(90,), view_scales=())
    found = SECOND.losses(net, given | {"known": known}, 1.0, config)
    for slope in torch.autograd.grad(found["pixel"] + found["con"], seen):
        assert slope.flatten(2).any(2)[:, 1:].tolist() == known.tolist()
    nothing = SECOND.losses(net, given | {"mask": torch.full_like(given["mask"], 255)}, 1.0, config)
    assert (nothing["pixel"], nothing["con"]) == (0, 0)
    total(nothing.values()).backward()


def test_a_wrapped_network_is_trained_as_itself() -> None:
    net, given = network(), batch()
    config = ConsensusConfig(**SIZES)
    torch.manual_seed(3)
    alone = SECOND.losses(net, given, 0.9, config)
    torch.manual_seed(3)
    wrapped = SECOND.losses(nn.DataParallel(net, device_ids=[]), given, 0.9, config)
    assert all(torch.equal(wrapped[name], alone[name]) for name in alone)


def test_two_soft_labels_are_learned() -> None:
    given = batch()
    given["image"] = torch.full((2, 3, 32, 32), 100.0)
    given["image"][0, 0, :, :16], given["image"][1, 2, :, 16:] = 250, 250
    given["tags"] = torch.tensor([[1.0, 0], [0, 1]])
    given["mask"] = torch.zeros(2, 32, 32, dtype=torch.int64)
    given["mask"][0, :, :16], given["mask"][1, :, 16:] = 1, 2
    given["belief"] = torch.where(given["mask"] > 0, 0.9, 0.1)
    config = ConsensusConfig(**SIZES, lr=4e-3, view_scales=(0.5, 1.0))
    torch.manual_seed(0)
    net = config.build(("red", "blue"))
    optim, steps = optimizer(net, config), 36
    for step in range(steps):
        losses = SECOND.losses(net.train(), given, step / steps, config)
        optim.zero_grad()
        total(losses.values()).backward()
        optim.step()
    with torch.no_grad():
        logits = net.eval()(given["image"]).logits
    assert float((logits.argmax(1) == given["mask"]).float().mean()) > 0.85
    object_share = 1 - logits.softmax(1)[:, 0]
    assert 0.6 < float(object_share[given["mask"] > 0].median()) < 0.98  # soft labels, not 0 and 1


def classifier(classes: tuple[str, ...] = tiny.CLASSES) -> Any:
    torch.manual_seed(0)
    config = ClassifierConfig(backbone="test_resnet", weights="", size=32)
    return config.build(classes).eval()


def test_labels_are_made_of_their_parts() -> None:
    """UM-CAM, expanded; the strongest of the tags where it is at least one half."""
    net = classifier()
    y, x = torch.meshgrid(torch.arange(48), torch.arange(64), indexing="ij")
    photo = torch.stack((2 * x + y, 3 * y, 150 * ((y - 24).square() + (x - 40).square() < 150))).to(
        torch.uint8
    )
    config = UMCAMConfig(label_scales=(64,), label_flip=False, fall_off=2.0, contrast=0.5, margin=2)
    label, belief = expanded(config, {"classifier": net}, photo, [2, 0], None)
    image = photo[None].float()
    maps = um_cam(net, image, [[2, 0]]).values
    grown = geodesic_expansion(
        image, maps / maps.amax((2, 3), keepdim=True), fall_off=2.0, contrast=0.5, margin=2
    )[0]
    torch.testing.assert_close(belief, grown.amax(0).clamp(0, 1))
    expected = torch.where(grown[0] >= grown[1], 3, 1) * (grown.amax(0) >= 0.5)
    assert torch.equal(label.long(), expected)
    assert {label.dtype, belief.dtype} == {torch.uint8, torch.float32}
    assert len(label.unique()) > 1
    others = [{"fall_off": 1.0}, {"contrast": 1.0}, {"margin": 0}, {"label_scales": (32,)}, {"label_flip": True},
              {"layers": ("model.layer4",)}, {"variances": "mean"}]  # fmt: skip
    for other in others:
        changed = expanded(config.model_copy(update=other), {"classifier": net}, photo, [2, 0], None)[1]
        assert not torch.allclose(changed, belief), other


def test_a_photo_without_a_tag_and_a_long_class_list() -> None:
    photo = torch.zeros(3, 40, 48, dtype=torch.uint8)
    label, belief = expanded(UMCAMConfig(), {"classifier": classifier()}, photo, [], None)
    assert (label.shape, belief.shape) == ((40, 48), (40, 48))
    assert not label.any()
    assert not belief.any()
    names = tuple(f"class {n}" for n in range(300))
    photo = torch.randint(256, (3, 32, 32), generator=torch.Generator().manual_seed(0)).to(torch.uint8)
    label, _ = expanded(
        UMCAMConfig(label_scales=(32,)), {"classifier": classifier(names)}, photo, [289], None
    )
    assert label.dtype == torch.int32
    assert set(label.unique().tolist()) <= {0, 290}


def collection(*tags: tuple[str, ...]) -> Collection:
    return Collection(("brain",), tuple(Sample(str(n), Path(f"{n}.png"), own) for n, own in enumerate(tags)))


def test_the_stages_and_who_is_told_what() -> None:
    config = UMCAMConfig(
        backbone="resnet18", weights="w.safetensors", steps=30, batch_size=6, lr=0.1, seed=4, size=64,
        classifier={"batch_size": 4, "lr": 0.5}, fall_off=2.0, consensus_weight=0.2,
    )  # fmt: skip
    first, labels, last = RECIPE.stages(config, collection(("brain",), ()))
    assert [stage.name for stage in (first, labels, last)] == ["classifier", "labels", "segmenter"]
    assert (labels.needs, last.needs) == (("classifier",), ("labels",))
    assert first.config == ClassifierConfig(
        backbone="resnet18", weights="w.safetensors", steps=45, batch_size=4, lr=0.5, seed=4, size=64
    )
    assert (last.config.lr, last.config.steps, last.config.consensus_weight) == (0.1, 30, 0.2)
    assert type(last.config) is ConsensusConfig
    assert labels.options == {
        "layers": None, "label_scales": [224, 320], "label_flip": True, "fall_off": 2.0, "contrast": 1.0, "margin": 5,
        "variances": "weighted",
    }  # fmt: skip
    assert labels.label.args == (config,)
    other = UMCAMConfig(weights="w.safetensors", classifier={"backbone": "vgg16", "steps": 7}).first()
    assert (other.weights, other.steps) == (None, 7)
    assert UMCAMConfig(weights="", classifier={"backbone": "vgg16"}).first().weights == ""


def test_a_leaderboard_takes_its_soft_labels() -> None:
    own = read_entry("um-cam").stages(UMCAMConfig(weights=""), collection(("brain",), ()))
    assert [stage.name for stage in own] == ["classifier", "labels"]


def test_what_cannot_be_learned_is_refused() -> None:
    config = UMCAMConfig(weights="")
    with pytest.raises(
        InputError, match=r"all 2 photos have the same tags \(brain\): add photos .* or of none"
    ):
        RECIPE.stages(config, collection(("brain",), ("brain",)))
    with pytest.raises(InputError, match=r"the same tags \(none\)"):
        RECIPE.stages(config, collection((), ()))
    embedded = UMCAMConfig(weights="embedded")
    with pytest.raises(
        WeightsError, match="begins with a classifier, and the embedded model is none: give --weights"
    ):
        RECIPE.stages(embedded, collection(("brain",), ()))
    with pytest.raises(
        WeightsError, match="give --weights"
    ):  # as `train` finds out before it falls back to it
        embedded.build(("brain",))
    for refused in (
        {"classifier": {"rate": 1}}, {"classifier": {"lr": -1}}, {"view_scales": (), "view_turns": ()},
        {"view_turns": (45,)}, {"view_scales": (0.0,)}, {"fall_off": 0}, {"contrast": 1.5}, {"margin": -1},
        {"consensus_weight": -1}, {"consensus_from": 1.0}, {"label_scales": ()},
    ):  # fmt: skip
        with pytest.raises(ValidationError):
            UMCAMConfig(**refused)  # type: ignore[arg-type]
    with pytest.raises(ValidationError, match=r"lr: input should be greater than 0"):
        UMCAMConfig(classifier={"lr": -1})


def test_the_numbers_of_the_reference() -> None:
    assert list(PRESETS) == ["light", "paper-fetal-brain"]
    paper = UMCAMConfig(**PRESETS["paper-fetal-brain"])
    assert (paper.size, paper.batch_size, paper.optimizer, paper.lr, paper.pretrained_lr) == (
        256, 12, "sgd", 0.01, 0.01,
    )  # fmt: skip
    assert (paper.momentum, paper.weight_decay, paper.warmup, paper.poly_power) == (0.99, 5e-4, 0, 0.9)
    assert (paper.label_scales, paper.label_flip, paper.variances) == ((256,), False, "mean")
    first = paper.first()
    assert (first.backbone, first.size, first.batch_size, first.optimizer) == ("vgg16", 224, 32, "sgd")
    assert (first.lr, first.pretrained_lr, first.momentum, first.weight_decay) == (1e-3, 1e-3, 0.9, 5e-4)
    for config in (paper, UMCAMConfig()):
        assert (config.view_scales, config.view_turns) == ((0.5, 0.75, 1.0, 1.5), (90, 180))
        assert (config.consensus_weight, config.consensus_from) == (0.1, 0.1)
        assert (config.fall_off, config.contrast, config.margin) == (1, 1, 5)
    assert (RECIPE.name, RECIPE.needs, RECIPE.uses) == ("um-cam", (), ())
    assert (RECIPE.config_type, RECIPE.presets) == (UMCAMConfig, PRESETS)
    assert isinstance(RECIPES["um-cam"], UMCAMRecipe)
    assert ClassifierConfig(**recipe.PAPER["classifier"])


def write_slices(folder: Path, bits: int) -> Path:
    """Grey slices of one channel: a bright disc on every second one; `bits` of a 16-bit file, or 8 of an 8-bit one."""
    y, x = np.mgrid[:48, :48]
    disc = (y - 24) ** 2 + (x - 20) ** 2 < 144
    (folder / "photos").mkdir(parents=True)
    lines = ["image,tags"]
    for n in range(6):
        noise = np.random.default_rng(n).integers(0, 40, (48, 48))
        grey = noise + 160 * disc * (n % 2 == 0) + 20
        values = grey.astype(np.uint8) if bits == 8 else (grey * ((1 << bits) - 1) // 255).astype(np.uint16)
        Image.fromarray(values).save(folder / "photos" / f"slice{n}.png")
        lines.append(f"slice{n}.png,{'brain' if n % 2 == 0 else ''}")
    (folder / "tags.csv").write_text("\n".join(lines) + "\n")
    return folder


@pytest.mark.parametrize("bits", [8, 12])
def test_from_grey_slices_to_masks_and_on_where_it_stopped(
    bits: int, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    data = write_slices(tmp_path / "data", bits)
    save_file(timm.create_model("test_resnet").state_dict(), tmp_path / "w.safetensors")
    classifier = f"classifier={{backbone: test_resnet, weights: {tmp_path / 'w.safetensors'}}}"
    options: dict[str, Any] = {
        "data": data / "photos", "tags": data / "tags.csv", "out": tmp_path / "run", "recipe": "um-cam",
        "backbone": "small-hybrid", "size": 32, "batch_size": 2, "steps": 2,
        "options": (classifier, "label_scales=[64]", "label_flip=false", "channels=[8,8,8,8]", "width=8"),
    }  # fmt: skip
    if bits == 12:
        monkeypatch.setattr(loop, "SAVE_EVERY_SECONDS", -1.0)
        made: list[str] = []

        def stopped(*given: Any) -> Any:
            if len(made) == 3:
                raise KeyboardInterrupt
            made.append("")
            return expanded(*given)

        with monkeypatch.context() as patched:
            patched.setattr(recipe, "expanded", stopped)
            with pytest.raises(KeyboardInterrupt):
                getam.train(**options)
    net = getam.train(**options)
    assert isinstance(net, Segmenter)
    loaded = load_model(tmp_path / "run")
    images = tiny.photos(1, model=loaded)
    torch.testing.assert_close(loaded(images).logits, net(images).logits)
    labels, beliefs = tmp_path / "run" / "2-labels", tmp_path / "run" / "2-labels-beliefs"
    for sample in load_collection(data / "photos", data / "tags.csv").samples:
        label = read_mask(labels / f"{sample.name}.png")
        belief = np.array(Image.open(beliefs / f"{sample.name}.png"))
        assert (label.shape, belief.shape) == ((48, 48), (48, 48))
        assert belief.max() == (255 if sample.tags else 0)
        assert set(np.unique(label[belief > 128]).tolist()) <= {1}
        assert set(np.unique(label[belief < 127]).tolist()) <= {0}
    beliefs.joinpath("slice0.png").write_bytes(beliefs.joinpath("slice2.png").read_bytes())
    with pytest.raises(InputError, match="beliefs changed"):
        getam.train(**options)
