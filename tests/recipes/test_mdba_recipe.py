"""The MDBA recipe: one step by hand, who is taught by whom, which photos are believed, what two photos teach it."""

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
from getam.data.collection import Collection, Sample
from getam.data.cut_mix import cut_mix
from getam.data.mask_folder import VOC_CLASSES
from getam.engine.model import load_model
from getam.errors import InputError
from getam.labels.single_tag import saliency_label
from getam.losses.adversarial import one_hot_label
from getam.losses.noisy_labels import progressive_noise_loss
from getam.nets.adversarial import AdversarialSegmenter
from getam.recipes import mdba
from getam.recipes.base import optimizer, total
from getam.recipes.mdba import PRESETS, MDBAConfig, MDBARecipe, pseudo_labels, sort_photos

RECIPE = MDBARecipe()
SIZES: dict[str, Any] = {"backbone": "small-hybrid", "size": 32, "channels": (8, 8, 8, 8), "width": 8}
CONFIG = MDBAConfig(**SIZES, cut_mix=0.0, noise_from=1 / 12)
TAGS = torch.tensor([[0.0, 1, 0], [1, 1, 0], [0, 0, 0], [1, 0, 0]])  # simple, complex, empty, simple


def network(config: MDBAConfig = CONFIG, classes: tuple[str, ...] = tiny.CLASSES) -> Any:
    torch.manual_seed(0)
    return tiny.awake(config.build(classes))


def batch(tags: Tensor = TAGS) -> dict[str, Tensor]:
    random = torch.Generator().manual_seed(1)
    images = (torch.randn(len(tags), 3, 32, 32, generator=random) * 60 + 127).clamp(0, 255)
    roi = torch.ones(len(tags), 32, 32, dtype=torch.bool)
    roi[:, :, 28:] = False
    saliency = torch.rand(len(tags), 32, 32, generator=random) * roi
    return {"image": images, "tags": tags, "roi": roi, "saliency": saliency}


def with_(**options: Any) -> MDBAConfig:
    return CONFIG.model_copy(update=options)


def test_photos_are_sorted_by_their_tags() -> None:
    assert [kind.tolist() for kind in sort_photos(TAGS, None)] == [
        [True, False, False, True], [False, False, True, False], [False, True, False, False],
    ]  # fmt: skip
    known = torch.tensor([[True, True, False], [True] * 3, [True, False, True], [True] * 3])
    assert [kind.tolist() for kind in sort_photos(TAGS, known)] == [
        [False, False, False, True], [False] * 4, [True, True, True, False],
    ]  # fmt: skip


def test_labels_come_from_the_saliency_of_simple_photos_alone() -> None:
    given, config = batch(), with_(high=0.7, low=0.4)
    found = pseudo_labels(given, sort_photos(TAGS, None), config)
    slots = torch.tensor([[1], [-1], [-1], [0]])
    wanted = saliency_label(given["saliency"], slots, high=0.7, low=0.4)
    wanted[2] = 0
    assert torch.equal(found, wanted.masked_fill(~given["roi"], 255))
    assert (found[1] == 255).all()
    assert set(found[0].unique().tolist()) == {0, 2, 255}


def test_the_losses_of_a_step_by_hand() -> None:
    """Before the noise is looked for; then with the threshold, at which photo 3 alone is believed."""
    net, given = network(), batch()
    scores, logits = net(given["image"])
    label, roi = pseudo_labels(given, sort_photos(TAGS, None), CONFIG), given["roi"]
    probabilities = logits.softmax(1)
    judged, hot = net.judged(probabilities, frozen=False), net.judged(one_hot_label(label, 3), frozen=False)
    decided = label != 255

    def bce(values: list[Tensor], real: bool) -> Tensor:
        each = torch.cat(values)
        return F.binary_cross_entropy_with_logits(each, torch.full_like(each, float(real)))

    for progress, simple in ((0.05, [0, 3]), (0.5, [3])):
        config = with_(class_least_iou={"cat": 0.0, "dog": 0.99})  # τ of photo 3 and of photo 0
        threshold = None if progress < 1 / 12 else 1.0
        found = RECIPE.losses(net, given, progress, config)
        learned = [photo for photo in (0, 2, 3) if photo in (*simple, 2)]
        real = [hot[photo][decided[photo]] for photo in simple]
        asked = bce([judged[1][roi[1]]], True) + bce([judged[p][decided[p]] for p in simple], True)
        fake = bce([judged[photo][roi[photo]] for photo in (0, 1, 3)], False)
        expected = {
            "cls": F.multilabel_soft_margin_loss(scores, TAGS),
            "pixel": progressive_noise_loss(logits[learned], label[learned], threshold),
            "adv": 0.001 * asked,
            "disc": 0.5 * fake + 0.5 * bce(real, True),
        }
        assert found.keys() == expected.keys()
        for name, value in expected.items():
            torch.testing.assert_close(found[name], value, msg=lambda m, n=name: f"{n}: {m}")


def test_segmenter_and_discriminator_learn_from_their_own_losses_alone() -> None:
    net = network()
    losses = RECIPE.losses(net, batch(), 0.5, CONFIG)
    judge = list(net.discriminator.parameters())
    others = [p for p in net.parameters() if all(p is not q for q in judge)]

    def reaches(name: str, parameters: list[Any]) -> bool:
        found = torch.autograd.grad(losses[name], parameters, retain_graph=True, allow_unused=True)
        return any(slope is not None and bool(slope.any()) for slope in found)

    assert {name: (reaches(name, others), reaches(name, judge)) for name in losses} == {
        "cls": (True, False), "pixel": (True, False), "adv": (True, False), "disc": (False, True),
    }  # fmt: skip


def test_cut_mix_teaches_mixed_photos_and_leaves_the_others_to_the_discriminator() -> None:
    net, given = network(), batch()
    plain = RECIPE.losses(net, given, 0.0, CONFIG)
    torch.manual_seed(3)
    found = RECIPE.losses(net, given, 0.0, with_(cut_mix=1.0))
    torch.manual_seed(3)
    torch.rand(())
    box = mdba.draw_box(32, 32)
    label = pseudo_labels(given, sort_photos(TAGS, None), CONFIG)
    images, target = cut_mix(given["image"][[0, 2, 3]], label[[0, 2, 3]], box)
    torch.testing.assert_close(found["pixel"], progressive_noise_loss(net(images).logits, target, None))
    assert not torch.allclose(found["pixel"], plain["pixel"])
    judged = net.judged(net(given["image"]).logits.softmax(1), frozen=True)[1][given["roi"][1]]
    torch.testing.assert_close(found["adv"], 0.001 * F.softplus(-judged).mean())
    torch.testing.assert_close(found["disc"], plain["disc"])
    alone = batch(TAGS[:2])
    torch.testing.assert_close(  # one photo has nobody to be mixed with
        RECIPE.losses(net, alone, 0.0, with_(cut_mix=1.0)), RECIPE.losses(net, alone, 0.0, CONFIG)
    )
    draws = [
        RECIPE.losses(net, given, 0.0, with_(cut_mix=0.5, adversarial_weight=0.0))["pixel"] for _ in range(8)
    ]
    same = sum(torch.allclose(draw, plain["pixel"]) for draw in draws)
    assert 0 < same < 8


def test_options_of_the_noise_reach_the_losses() -> None:
    net, given = network(), batch()

    def pixel(progress: float, **options: Any) -> Tensor:
        return RECIPE.losses(net, given, progress, with_(least_iou=0.0, **options))["pixel"]

    everything = pixel(0.0)
    assert pixel(0.5) < everything
    assert torch.equal(pixel(0.5, noise_from=0.6), everything)
    assert torch.equal(pixel(0.5, first_threshold=1e9, last_threshold=1e9), everything)
    assert pixel(0.1, first_threshold=1e9) == everything
    assert pixel(0.5, noise_until=0.5) == pixel(0.95)
    assert pixel(0.5) < pixel(0.5, always=("dog",)) <= everything
    assert torch.equal(pixel(0.5, always=("no class of these photos",)), pixel(0.5))
    weighted = RECIPE.losses(net, given, 0.0, with_(adversarial_weight=0.1))
    torch.testing.assert_close(weighted["adv"], 100 * RECIPE.losses(net, given, 0.0, CONFIG)["adv"])
    assert list(RECIPE.losses(net, given, 0.0, with_(adversarial_weight=0.0))) == ["cls", "pixel"]


@pytest.mark.parametrize("progress", [0.0, 0.5])
@pytest.mark.parametrize("case", ["no tag", "no pixel", "nothing salient", "complex only", "nothing known"])
def test_nothing_to_learn_from_does_no_harm(case: str, progress: float) -> None:
    net = network().train()
    tags = {"no tag": torch.zeros(2, 3), "complex only": torch.ones(2, 3)}.get(case, TAGS[[0, 3]])
    given = batch(tags)
    if case == "no pixel":
        given["roi"].zero_()
    if case == "nothing salient":
        given["saliency"].zero_()
    if case == "nothing known":
        given["known"] = torch.zeros(2, 3, dtype=torch.bool)
    losses = RECIPE.losses(net, given, progress, with_(cut_mix=0.5))
    total(losses.values()).backward()
    assert all(loss.isfinite() for loss in losses.values())
    assert all(p.grad is None or p.grad.isfinite().all() for p in net.parameters())


def test_unknown_classes_are_not_learned() -> None:
    net, given = network(), batch()
    known = torch.ones(4, 3, dtype=torch.bool)
    known[0, 2] = known[1, 0] = False
    found = RECIPE.losses(net, given | {"known": known}, 0.0, CONFIG)
    each = F.binary_cross_entropy_with_logits(net.class_scores(given["image"]), TAGS, reduction="none")
    torch.testing.assert_close(found["cls"], each[known].mean())
    label = pseudo_labels(given, sort_photos(TAGS, known), CONFIG)
    assert (label[0] == 255).all()  # the third class may be what is salient
    torch.testing.assert_close(
        found["pixel"], progressive_noise_loss(net(given["image"]).logits, label, None)
    )


def test_class_lists_longer_than_eight_bits() -> None:
    tags = torch.zeros(2, 300)
    tags[0, 289] = 1
    label = pseudo_labels(batch(tags), sort_photos(tags, None), CONFIG)
    assert label.dtype == torch.int32
    assert label[0].unique().tolist() == [0, 290, 65535]
    assert label[1].unique().tolist() == [0, 65535]


def test_a_wrapped_network_is_trained_as_itself() -> None:
    net, given = network(), batch()
    torch.manual_seed(1)
    alone = RECIPE.losses(net, given, 0.5, with_(cut_mix=1.0))
    torch.manual_seed(1)
    wrapped = RECIPE.losses(nn.DataParallel(net, device_ids=[]), given, 0.5, with_(cut_mix=1.0))
    assert all(torch.equal(wrapped[name], alone[name]) for name in alone)


def test_the_numbers_of_the_reference() -> None:
    assert list(PRESETS) == ["light", "paper-voc"]
    light, voc = (MDBAConfig(**preset) for preset in PRESETS.values())
    assert (voc.steps, voc.batch_size, voc.size, voc.zoom) == (12_000, 10, 320, (0.5, 1.6))
    assert (voc.optimizer, voc.lr, voc.pretrained_lr, voc.momentum) == ("sgd", 2.5e-3, 2.5e-4, 0.9)
    assert (voc.weight_decay, voc.warmup, voc.poly_power, voc.width) == (5e-4, 0.0, 0.9, 256)
    taus = [voc.class_least_iou.get(name, voc.least_iou) for name in VOC_CLASSES]
    assert taus == [
        0.4, 0.5, 0.5, 0.5, 0.5, 0.6, 0.6, 0.6, 0.4, 0.6, 0.0, 0.7, 0.6, 0.5, 0.6, 0.4, 0.6, 0.4, 0.5, 0.4,
    ]  # fmt: skip
    assert voc.always == (VOC_CLASSES[10],) == ("diningtable",)
    assert [round(share * 12_000) for share in (voc.noise_from, voc.noise_until)] == [1_000, 11_000]
    assert (light.noise_from, light.noise_until) == (0.5, 11 / 12)
    for config in (light, voc):
        assert (config.first_threshold, config.last_threshold, config.least_iou) == (1.2, 0.8, 0.5)
        assert (config.cut_mix, config.adversarial_weight) == (0.5, 0.001)
        assert (config.high, config.low) == (0.5, 0.2)
    assert (light.class_least_iou, light.always) == ({}, ())
    assert (RECIPE.name, RECIPE.needs, RECIPE.uses) == ("mdba", ("saliency",), ("saliency",))
    assert RECIPE.presets is PRESETS


@pytest.mark.parametrize(
    "refused",
    [{"low": 0.6}, {"high": 1.1}, {"noise_from": 0.95}, {"noise_until": 1.1}, {"least_iou": 1.0}, {"cut_mix": 1.1},
     {"adversarial_weight": -1.0}, {"first_threshold": -1.0}, {"last_threshold": -1.0}, {"least_iou": -0.1}],
)  # fmt: skip
def test_options_out_of_range_are_refused(refused: dict[str, Any]) -> None:
    with pytest.raises(ValidationError):
        MDBAConfig(**refused)


def test_photos_that_teach_no_mask_are_refused() -> None:
    def of(*samples: tuple[tuple[str, ...], str, tuple[str, ...]]) -> Collection:
        made = [
            Sample(str(n), Path(f"{n}.png"), tags, saliency=Path(file) if file else None, unknown=unknown)
            for n, (tags, file, unknown) in enumerate(samples)
        ]
        return Collection(("cat", "dog"), tuple(made))

    both, one = (("cat", "dog"), "s.png", ()), (("cat",), "s.png", ())
    CONFIG.check_data(of(both, one))
    with pytest.raises(
        InputError, match="recipe mdba learns from saliency maps, and 1 of the 2 photos have none"
    ):
        CONFIG.check_data(of(one, (("cat",), "", ())))
    for samples in ((both, both), (both, (("cat",), "s.png", ("dog",)))):
        with pytest.raises(
            InputError, match="show one class alone, and none of the 2 photos is known to: add"
        ):
            CONFIG.crops(of(*samples), masks=False)
    CONFIG.whole_photos(of(both, both))  # those that are held out need not


def test_the_embedded_model_is_a_start_and_eighty_classes_fit() -> None:
    net = MDBAConfig(weights="embedded").build(("car", "boat"))
    embedded = load_model().state_dict()
    found = net.state_dict()
    fresh = {name for name in found if not (name in embedded and torch.equal(found[name], embedded[name]))}
    assert {name.rpartition(".")[0].split(".layers")[0] for name in fresh} == {
        "decoder.head.4",
        "discriminator",
    }
    many = CONFIG.build(tuple(f"class {n}" for n in range(80)))
    assert many(tiny.photos(1, model=many)).logits.shape == (1, 81, 32, 32)


def test_an_interrupted_run_ends_with_the_same_weights(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    config = with_(batch_size=2, steps=4, cut_mix=0.5)
    assert_resumed_exactly(RECIPE, config, Halves(), tmp_path, monkeypatch)


def test_two_photos_are_learned_from_their_tags_and_saliency() -> None:
    config = with_(lr=5e-3, cut_mix=0.3)
    torch.manual_seed(0)
    net: Any = config.build(("red", "blue"))
    items = [Halves()[0], Halves()[1]]
    given = {name: torch.stack([item[name] for item in items]) for name in items[0]}
    optim, steps = optimizer(net, config), 30
    for step in range(steps):
        losses = RECIPE.losses(net.train(), given, step / steps, config)
        optim.zero_grad()
        total(losses.values()).backward()
        optim.step()
    with torch.no_grad():
        logits = net.eval()(given["image"]).logits
    wanted = given["saliency"].long() * torch.tensor([1, 2])[:, None, None]
    assert float((logits.argmax(1) == wanted).float().mean()) > 0.9


def test_from_a_folder_of_photos_to_masks(scenes: Path, tmp_path: Path) -> None:
    net = getam.train(
        data=scenes / "photos", tags=scenes / "tags.csv", out=tmp_path / "run", recipe="mdba",
        saliency=scenes / "truth", backbone="small-hybrid", size=32, batch_size=3, steps=3,
    )  # fmt: skip
    loaded = load_model(tmp_path / "run")
    assert isinstance(loaded, AdversarialSegmenter)
    images = tiny.photos(1, model=loaded)
    torch.testing.assert_close(loaded(images).logits, net(images).logits)  # type: ignore[operator]
    getam.predict(scenes / "photos", model=tmp_path / "run", out=tmp_path / "masks", scales=(64,))
    assert len(list((tmp_path / "masks").glob("*.png"))) == 6
    method, _, rule = RECIPE.labelled_by.partition("+")
    assert (method, rule) == ("cam[layers=[decoder.head.4]]", "pamr:completion")
    getam.label(
        data=scenes / "photos", tags=scenes / "tags.csv", model=tmp_path / "run", saliency=scenes / "truth",
        method="cam", layers=("decoder.head.4",), scales=(64,), flip=False, out=tmp_path / "labels",
    )  # fmt: skip
    assert len(list((tmp_path / "labels").glob("*.png"))) == 6
