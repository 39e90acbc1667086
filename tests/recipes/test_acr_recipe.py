"""The ACR recipe: its step against matrices of two forwards, the transformers it takes, and what it learns."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import pytest
import timm
import torch
import torch.nn.functional as F
from halves import Halves, assert_resumed_exactly
from pydantic import ValidationError
from safetensors.torch import save_file
from timm.models import register_model
from timm.models.vision_transformer import VisionTransformer
from torch import Tensor, nn

import getam
import tiny
from getam.attention.capture import capture, global_calls
from getam.engine.model import load_model
from getam.engine.model_file import save_model
from getam.errors import CaptureError, InputError
from getam.maps.methods.acr import acr
from getam.nets.token_classifier import TokenClassifier, build_token_classifier
from getam.recipes import RECIPES
from getam.recipes.acr import PRESETS, ACRConfig, ACRRecipe
from getam.recipes.base import optimizer, total

RECIPE = ACRRecipe()


HANDLED_BY_TIMM = ("pretrained_cfg", "pretrained_cfg_overlay", "cache_dir")


def _tiny(**options: Any) -> Any:
    known = {name: value for name, value in options.items() if name not in HANDLED_BY_TIMM}
    sizes = {"img_size": 32, "patch_size": 8, "embed_dim": 24, "depth": 2, "num_heads": 3}
    return VisionTransformer(**{**sizes, **known})


@register_model
def tiny_token_vit(pretrained: bool = False, **options: Any) -> Any:
    """Reads its class token, as most."""
    return _tiny(**options)


@register_model
def tiny_averaging_vit(pretrained: bool = False, **options: Any) -> Any:
    """Has a class token and averages patches, as BEiT and MAE's fine-tuned models do."""
    return _tiny(global_pool="avg", **options)


@register_model
def tiny_registers_vit(pretrained: bool = False, **options: Any) -> Any:
    """Has tokens before its patches, and none of them is a class token."""
    return _tiny(class_token=False, reg_tokens=2, global_pool="avg", **options)


def config(**given: Any) -> ACRConfig:
    return ACRConfig(**{"backbone": "tiny_token_vit", "weights": "", "size": 32, **given})


def network(its: ACRConfig | None = None, classes: tuple[str, ...] = tiny.CLASSES) -> Any:
    torch.manual_seed(0)
    return tiny.awake((its or config()).build(classes))


TAGS = torch.tensor([[1.0, 0, 1], [0, 1, 0]])


def batch(tags: Tensor = TAGS, height: int = 32, width: int = 32) -> dict[str, Tensor]:
    random = torch.randn(len(tags), 3, height, width, generator=torch.Generator().manual_seed(1))
    return {"image": (random * 60 + 127).clamp(0, 255), "tags": tags}


def head_means(net: Any, images: Tensor) -> Tensor:
    """(L,B,N,N) attention, averaged over heads, of one plain forward."""
    with torch.no_grad(), capture(net) as tap:
        net(images)
    calls = global_calls(tap, net.geometry(*images.shape[-2:]))
    return torch.stack([call.attention(slice(None)).mean(1) for call in calls])


@pytest.mark.parametrize(("height", "width"), [(32, 32), (24, 40)])
def test_the_losses_of_a_step(height: int, width: int) -> None:
    """L_cls of both views added; the views in two forwards of their own, and every matrix whole."""
    net, given = network(), batch(height=height, width=width)
    images = given["image"]
    one, other = head_means(net, images), head_means(net, images.flip(-1))
    assert len(one) == 2
    h, w = height // 8, width // 8
    order = torch.arange(h * w).view(h, w).flip(1).flatten()
    cls, aff = one[:, :, 0, 1:], one[:, :, 1:, 1:]
    found = RECIPE.losses(net, given, 0.5, config(alpha=7.0))
    scores = [F.multilabel_soft_margin_loss(net(view), TAGS) for view in (images, images.flip(-1))]
    expected = {
        "cls": scores[0] + scores[1],
        "act": 7 * (cls - other[:, :, 0, 1:][..., order]).abs().mean(),
        "aff": 7 * (aff - other[:, :, 1:, 1:][:, :, order][..., order]).abs().mean(),
    }
    assert found.keys() == expected.keys()
    for name, value in expected.items():
        torch.testing.assert_close(found[name], value, msg=lambda m, n=name: f"{n}: {m}")


def test_the_network_runs_once_a_step() -> None:
    net, calls = network(), list[int]()
    net.register_forward_hook(lambda _module, given, _out: calls.append(len(given[0])))
    RECIPE.losses(net, batch(), 0.0, config())
    assert calls == [4]


def test_a_photo_that_is_its_own_mirror_image_costs_nothing() -> None:
    """Position embeddings that are the same everywhere leave nothing to tell left from right."""
    net, given = network(), batch()
    with torch.no_grad():
        net.model.pos_embed.zero_()
        kernel = net.model.patch_embed.proj.weight
        kernel.copy_((kernel + kernel.flip(-1)) / 2)
    found = RECIPE.losses(net, given, 0.0, config())
    assert float(found["act"].detach()) < 1e-4
    assert float(found["aff"].detach()) < 1e-4
    assert float(found["cls"].detach()) > 0.1


def test_unknown_classes_photos_without_a_tag_and_classes_that_never_occur() -> None:
    net = network()
    known = torch.tensor([[True, False, True], [True, True, False]])
    given = batch(torch.tensor([[1.0, 0, 0], [0, 0, 0]])) | {"known": known}
    found = RECIPE.losses(net, given, 0.0, config())
    images = given["image"]
    each = [
        F.binary_cross_entropy_with_logits(net(view), given["tags"], reduction="none")
        for view in (images, images.flip(-1))
    ]
    torch.testing.assert_close(found["cls"], each[0][known].mean() + each[1][known].mean())
    other = RECIPE.losses(net, given | {"tags": torch.where(known, given["tags"], 1.0)}, 0.0, config())
    assert all(torch.equal(other[name], found[name]) for name in found)
    nothing = RECIPE.losses(net, given | {"known": torch.zeros_like(known)}, 0.0, config())
    assert float(nothing["cls"].detach()) == 0.0
    total(nothing.values()).backward()
    assert all(p.grad is None or p.grad.isfinite().all() for p in net.parameters())


def test_a_wrapped_network_is_trained_as_itself() -> None:
    net, given = network(), batch()
    alone = RECIPE.losses(net, given, 0.9, config())
    wrapped = RECIPE.losses(nn.DataParallel(net, device_ids=[]), given, 0.9, config())
    assert all(torch.equal(wrapped[name], alone[name]) for name in alone)


def test_half_the_photos_twice_are_all_of_them() -> None:
    """Every loss is a mean over photos: processes that share a batch average to its gradient."""
    net, given = network(), batch()
    whole = RECIPE.losses(net, given, 0.0, config())
    halves = [
        RECIPE.losses(net, {name: t[n, None] for name, t in given.items()}, 0.0, config()) for n in (0, 1)
    ]
    for name, value in whole.items():
        torch.testing.assert_close((halves[0][name] + halves[1][name]) / 2, value)


def test_active_attention_dropout_is_refused() -> None:
    net = network()
    net.model.blocks[0].attn.attn_drop.p = 0.1
    with pytest.raises(CaptureError, match="attention dropout is active"):
        RECIPE.losses(net.train(), batch(), 0.0, config())


@pytest.mark.parametrize(
    ("backbone", "said"),
    [
        ("test_resnet", "test_resnet has no class token to read scores from: choose a vision transformer"),
        ("tiny_registers_vit", "tiny_registers_vit has no class token .* such as deit_small_patch16_224"),
        ("vit_nonsense", "timm has no model"),
    ],
)
def test_networks_without_a_class_token_are_refused(backbone: str, said: str) -> None:
    with pytest.raises(InputError, match=said):
        config(backbone=backbone).build(tiny.CLASSES)


@pytest.mark.parametrize("backbone", ["convit_tiny", "pit_ti_224"])
def test_tokens_that_are_not_in_every_attention(backbone: str) -> None:
    """ConViT lets its class token in late, which is refused; PiT has it from the start, over grids that shrink."""
    its = config(backbone=backbone, size=224)
    if backbone == "convit_tiny":
        with pytest.raises(
            InputError, match=r"convit_tiny has not the same tokens in each .*: choose a vision"
        ):
            its.build(tiny.CLASSES)
        return
    assert its.build(tiny.CLASSES).geometry(224, 224).grid == (7, 7)
    with pytest.raises(InputError, match="photos are 64×64 but the model takes 224×224"):
        config(backbone=backbone, size=64).build(tiny.CLASSES)


def test_a_size_off_the_patches_is_refused() -> None:
    with pytest.raises(InputError, match="size 36 is not a multiple of the 8-pixel patches"):
        config(size=36).build(tiny.CLASSES)


def test_a_transformer_that_averages_reads_its_class_token(tmp_path: Path) -> None:
    """And so it does when its file is loaded, and its maps read that token's row."""
    net = network(config(backbone="tiny_averaging_vit"))
    assert net.model.global_pool == "token"
    assert net.geometry(32, 32).rows == "cls"
    read: list[Tensor] = []
    net.model.head.register_forward_hook(lambda _module, given, _out: read.append(given[0]))
    with torch.no_grad():
        scores = net(batch()["image"])
        tokens = net.model.forward_features(net.normalised(batch()["image"]))
    torch.testing.assert_close(read[0], net.model.fc_norm(tokens[:, 0]))
    save_model(tmp_path / "m.safetensors", net, config(backbone="tiny_averaging_vit").model_dump(mode="json"))
    loaded = load_model(tmp_path / "m.safetensors")
    assert isinstance(loaded, TokenClassifier)
    torch.testing.assert_close(loaded(batch()["image"]), scores)
    assert acr(loaded, batch()["image"], [[0], [1]]).rows == "cls"


def test_a_distilled_transformer_has_two_heads() -> None:
    net = ACRConfig(backbone="deit_tiny_distilled_patch16_224", weights="", size=64).build(tiny.CLASSES)
    fresh = [net.model.head, net.model.head_dist]
    assert [tuple(head.weight.shape) for head in fresh] == [(3, 192)] * 2
    old = set(net.pretrained_parameters())
    assert {p for p in net.parameters() if p not in old} == {p for head in fresh for p in head.parameters()}
    found = RECIPE.losses(net, batch(height=64, width=64), 0.0, config())
    total(found.values()).backward()
    assert all(head.weight.grad is not None for head in fresh)


def test_the_weights_are_loaded(tmp_path: Path) -> None:
    model = timm.create_model("tiny_token_vit", num_classes=7)
    save_file(model.state_dict(), tmp_path / "w.safetensors")
    net = build_token_classifier("tiny_token_vit", tiny.CLASSES, weights=str(tmp_path / "w.safetensors"))
    assert torch.equal(net.model.blocks[1].attn.qkv.weight, model.blocks[1].attn.qkv.weight)
    assert net.model.head.out_features == 3


def test_the_numbers_of_the_reference() -> None:
    assert list(PRESETS) == ["light", "paper-voc", "paper-coco"]
    light, voc, coco = (ACRConfig(**preset) for preset in PRESETS.values())
    for paper, steps, alpha in ((voc, 10 * 10_582 // 4, 125), (coco, 5 * 82_783 // 4, 100)):
        assert (paper.steps, paper.batch_size, paper.size, paper.alpha) == (steps, 4, 384, alpha)
        assert (paper.backbone, paper.zoom) == ("vit_base_r50_s16_384", (0.9, 1 / 0.875))
        assert (paper.optimizer, paper.lr, paper.pretrained_lr) == ("sgd", 0.05, 0.05)
        # the value of the decay lands in the place of the momentum there, and no group carries it
        assert (paper.weight_decay, paper.momentum, paper.warmup, paper.poly_power) == (0, 0, 0, 0.9)
    assert (light.alpha, light.backbone, light.optimizer) == (100, "deit_tiny_patch16_224", "adamw")
    assert (light.lr, light.pretrained_lr, light.weight_decay) == (5e-4, 2e-5, 0.05)
    assert (RECIPE.name, RECIPE.needs, RECIPE.uses, RECIPE.config_type) == ("acr", (), (), ACRConfig)
    assert (RECIPE.presets, RECIPE.labelled_by) == (PRESETS, "acr+pamr:completion")
    assert isinstance(RECIPES["acr"], ACRRecipe)
    with pytest.raises(ValidationError):
        ACRConfig(alpha=-1.0)


def test_eighty_classes() -> None:
    names = tuple(f"class {n}" for n in range(80))
    net = network(classes=names)
    assert RECIPE.losses(net, batch(torch.zeros(2, 80)), 0.0, config())["cls"].isfinite()


def test_an_interrupted_run_ends_with_the_same_weights(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    its = config(batch_size=2, steps=4)
    assert_resumed_exactly(RECIPE, its, Halves(), tmp_path, monkeypatch)


def test_two_photos_are_learned_and_their_attention_becomes_consistent() -> None:
    its = config(lr=3e-3, pretrained_lr=3e-3)
    items = [Halves()[0], Halves()[1]]
    given = {name: torch.stack([item[name] for item in items]) for name in items[0]}
    ends = {}
    for alpha in (0.0, 100.0):
        net = network(its, ("red", "blue"))
        optim = optimizer(net, its)
        first = RECIPE.losses(net, given, 0.0, config(alpha=1.0))
        for step in range(40):
            losses = RECIPE.losses(net.train(), given, step / 40, its.model_copy(update={"alpha": alpha}))
            optim.zero_grad()
            total(losses.values()).backward()
            optim.step()
        last = RECIPE.losses(net, given, 1.0, config(alpha=1.0))
        ends[alpha] = {name: float((last[name] / first[name]).detach()) for name in last}
        assert ends[alpha]["cls"] < 0.7
        assert torch.equal(net.eval()(given["image"]) > 0, given["tags"] > 0)
    for name in ("act", "aff"):
        assert ends[100.0][name] < 0.5 * ends[0.0][name]


def test_from_a_folder_of_photos_to_labels(scenes: Path, tmp_path: Path) -> None:
    getam.train(
        data=scenes / "photos", tags=scenes / "tags.csv", out=tmp_path / "run", recipe="acr", saliency="none",
        backbone="test_vit", weights=_test_vit(tmp_path), size=32, batch_size=2, steps=2,
    )  # fmt: skip
    loaded = load_model(tmp_path / "run")
    assert isinstance(loaded, TokenClassifier)
    getam.label(
        data=scenes / "photos", tags=scenes / "tags.csv", model=tmp_path / "run", out=tmp_path / "masks",
        saliency="none", labels="threshold", scales=(64,),
    )  # fmt: skip
    said = json.loads((tmp_path / "masks" / "protocol.jsonl").read_text().splitlines()[-1])
    assert said["options"]["method"] == "acr"
    assert len(list((tmp_path / "masks").glob("*.png"))) == len(list((scenes / "photos").iterdir()))


def _test_vit(folder: Path) -> Path:
    save_file(timm.create_model("test_vit").state_dict(), folder / "backbone.safetensors")
    return folder / "backbone.safetensors"
