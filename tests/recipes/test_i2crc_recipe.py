"""I2CRC: the stages and what each is told, one step by hand, its labels from their parts, and all of it on files."""

from pathlib import Path
from typing import Any

import pytest
import torch
import torch.nn.functional as F
from halves import Halves, assert_resumed_exactly
from PIL import Image
from pydantic import ValidationError
from torch import Tensor, nn

import getam
import tiny
from getam.data.collection import Collection, Sample
from getam.data.masks import read_mask
from getam.engine.model import load_model
from getam.errors import InputError, WeightsError
from getam.labels.enlarge import enlarged
from getam.labels.fusion import object_guided_refinement, saliency_fusion
from getam.losses.saliency_relation import saliency_relation_losses
from getam.nets.inference import photo_logits
from getam.nets.score_map import ScoreMapClassifier
from getam.nets.segmenter import Segmenter
from getam.recipes import find_recipe
from getam.recipes.base import optimizer, total
from getam.recipes.i2crc import I2CRCConfig, RelationConfig, RelationRecipe
from getam.recipes.stages import LabelStage, StagedRecipe, TrainStage
from getam.recipes.supervised import SupervisedConfig
from getam.refine.crf import dense_crf
from getam.refine.crf_parameters import DEEPLAB

RECIPE: Any = find_recipe("i2crc")
NOTHING = Collection((), ())
FIRST = RelationRecipe()
CONFIG = RelationConfig(backbone="test_resnet", weights="", size=32, head_width=8)


def stages(**options: Any) -> Any:
    return RECIPE.stages(I2CRCConfig(**options), NOTHING)


def network() -> Any:
    torch.manual_seed(0)
    return CONFIG.build(tiny.CLASSES)


def batch(tags: Tensor) -> dict[str, Tensor]:
    random = torch.Generator().manual_seed(1)
    images = (torch.randn(len(tags), 3, 32, 32, generator=random) * 60 + 127).clamp(0, 255)
    roi = torch.ones(len(tags), 32, 32, dtype=torch.bool)
    roi[:, :, 28:] = False
    saliency = torch.rand(len(tags), 32, 32, generator=random) * roi
    return {"image": images, "tags": tags, "roi": roi, "saliency": saliency}


TAGS = torch.tensor([[1.0, 0, 1], [0, 1, 0]])


def test_the_five_stages_and_what_each_needs() -> None:
    found = stages(steps=50, lr=3e-3, seed=4, width=16, class_mix=0.5, between_weight=0.2, output_stride=32)
    assert isinstance(RECIPE, StagedRecipe)
    assert [stage.name for stage in found] == ["classifier", "labels", "segmenter", "labels-2", "segmenter-2"]
    assert [stage.needs for stage in found] == [
        (), ("classifier",), ("labels",), ("classifier", "segmenter"), ("labels-2", "segmenter"),
    ]  # fmt: skip
    assert stages(go_on=False)[4].needs == ("labels-2",)
    assert [type(stage) for stage in found] == [TrainStage, LabelStage, TrainStage, LabelStage, TrainStage]
    first, *others = (stage.config for stage in found[::2])
    assert type(first) is RelationConfig
    assert (first.steps, first.lr, first.seed, first.size) == (50, 3e-3, 4, 224)
    assert (first.between_weight, first.output_stride) == (0.2, 32)
    for other in others:
        assert type(other) is SupervisedConfig
        assert (other.steps, other.lr, other.seed, other.width, other.class_mix) == (50, 3e-3, 4, 16, 0.5)


def test_the_first_training_may_differ_from_the_others() -> None:
    found = stages(steps=50, size=64, classifier={"steps": 20, "lr": 7e-3, "backbone": "resnet18"})
    first, later = found[0].config, found[2].config
    assert (first.steps, first.lr, first.backbone, first.size) == (20, 7e-3, "resnet18", 64)
    assert (later.steps, later.lr, later.backbone, later.size) == (50, 5e-4, "tf_efficientnet_lite0", 64)
    assert stages()[0].config.lr == 1e-3  # its own default, where nobody says anything
    with pytest.raises(ValidationError, match="widht: extra inputs are not permitted"):
        I2CRCConfig(classifier={"widht": 3})
    with pytest.raises(ValidationError, match="size: "):
        I2CRCConfig(classifier={"size": 3})


def test_what_decides_the_labels_is_recorded() -> None:
    options = {"label_scales": (48, 64), "label_flip": True, "label_crf": 3, "label_doubt": 0.4}
    found = stages(**options)
    assert found[1].options == found[3].options == options


def test_the_losses_are_the_weighted_terms() -> None:
    net, given = network().eval(), batch(TAGS)
    found = FIRST.losses(net, given, 0.0, CONFIG)
    score_map = net.class_map(given["image"])
    terms = saliency_relation_losses(score_map, given["saliency"], given["roi"], TAGS)
    assert list(found) == ["cls", "fg", "bg", "between"]
    torch.testing.assert_close(found["cls"], F.multilabel_soft_margin_loss(score_map.mean((2, 3)), TAGS))
    for name, weight, term in zip(("fg", "bg", "between"), (0.01, 0.025, 0.1), terms, strict=True):
        torch.testing.assert_close(found[name], weight * term, msg=name)
        assert found[name] != 0
    other = CONFIG.model_copy(
        update={"foreground_weight": 1.0, "background_weight": 2.0, "between_weight": 3.0}
    )
    found = FIRST.losses(net, given, 0.0, other)
    for name, weight, term in zip(("fg", "bg", "between"), (1, 2, 3), terms, strict=True):
        torch.testing.assert_close(found[name], weight * term, msg=name)


def test_unknown_classes_are_not_learned() -> None:
    net, given = network().eval(), batch(TAGS)
    known = torch.tensor([[True, False, True], [True, True, False]])
    found = FIRST.losses(net, given | {"known": known}, 0.0, CONFIG)
    each = F.binary_cross_entropy_with_logits(net.class_scores(given["image"]), TAGS, reduction="none")
    torch.testing.assert_close(found["cls"], each[known].mean())
    assert (found["fg"], found["bg"], found["between"]) == (
        0,
        0,
        0,
    )  # the second photo may hold the third class


@pytest.mark.parametrize("case", ["no tag", "no pixel", "nothing salient", "several tags"])
def test_nothing_to_learn_from_does_no_harm(case: str) -> None:
    net = network()
    given = batch(torch.zeros(2, 3) if case == "no tag" else torch.tensor([[1.0, 1, 0], [1, 0, 0]]))
    if case == "no pixel":
        given["roi"].zero_()
    if case == "nothing salient":
        given["saliency"].zero_()
    losses = FIRST.losses(net, given, 0.0, CONFIG)
    total(losses.values()).backward()
    assert all(loss.isfinite() for loss in losses.values())
    assert all(p.grad is None or p.grad.isfinite().all() for p in net.parameters())
    assert (losses["between"] == 0) == (case != "several tags")  # there the second photo has one


def test_a_wrapped_network_is_trained_as_itself() -> None:
    net, given = network().eval(), batch(TAGS)
    alone = FIRST.losses(net, given, 0.0, CONFIG)
    wrapped = FIRST.losses(nn.DataParallel(net, device_ids=[]), given, 0.0, CONFIG)
    assert all(torch.equal(wrapped[name], alone[name]) for name in alone)


def test_the_numbers_of_the_reference() -> None:
    assert list(RECIPE.presets) == ["light", "paper-voc"]
    first, _, later, _, last = stages(**RECIPE.presets["paper-voc"])
    c = first.config
    assert c.steps == 63_480 == 30 * (10_582 // 5)
    assert (c.backbone, c.output_stride, c.head_width) == ("resnet50", 8, 512)
    assert (c.size, c.zoom, c.colour_jitter, c.batch_size) == (256, (1.0, 1.0), True, 5)
    assert (c.optimizer, c.lr, c.pretrained_lr) == ("sgd", 1e-2, 1e-3)
    assert (c.momentum, c.weight_decay, c.warmup, c.poly_power) == (0.9, 5e-4, 0.0, 0.0)
    rates = [c.lr_factor(epoch / 30) for epoch in (0, 4.9, 5, 9.9, 10, 29.9)]
    assert rates == pytest.approx([1, 1, 0.1, 0.1, 0.01, 0.01])
    for config in (later.config, last.config):
        assert (config.backbone, config.size, config.zoom) == ("resnet101", 320, (0.5, 1.5))
        assert (config.steps, config.batch_size) == (20_000, 10)
        assert (config.optimizer, config.lr, config.pretrained_lr) == ("sgd", 2.5e-3, 2.5e-4)
        assert (config.momentum, config.weight_decay, config.poly_power) == (0.9, 5e-4, 0.9)
    assert last.start == ""
    assert RECIPE.presets["paper-voc"]["label_doubt"] == 32 / 255
    for preset in RECIPE.presets.values():
        config = I2CRCConfig(**preset)
        assert (config.foreground_weight, config.background_weight, config.between_weight) == (
            0.01,
            0.025,
            0.1,
        )
        assert config.label_crf == 10
    light = I2CRCConfig()
    assert (light.head_width, light.output_stride, light.lr_drops, light.classifier) == (128, 16, (), {})
    assert (light.go_on, light.label_scales, light.label_flip, light.label_doubt) == (
        True,
        (224, 320),
        True,
        0.5,
    )
    assert (RECIPE.needs, RECIPE.uses) == (FIRST.needs, FIRST.uses) == (("saliency",), ("saliency",))


@pytest.mark.parametrize(
    "refused",
    [{"output_stride": 4}, {"head_width": 0}, {"foreground_weight": -0.1}, {"background_weight": -0.1},
     {"between_weight": -0.1}, {"label_scales": ()}, {"label_crf": -1}],
)  # fmt: skip
def test_options_out_of_range_are_refused(refused: dict[str, Any]) -> None:
    with pytest.raises(ValidationError):
        I2CRCConfig(**refused)


def test_photos_without_saliency_are_refused_before_any_work(scenes: Path, tmp_path: Path) -> None:
    said = "recipe i2crc learns from saliency maps, and 1 of the 2 photos have none: give --saliency a folder"
    samples = (
        Sample("a", Path("a.png"), (), saliency=Path("s.png")),
        Sample("b", Path("b.png"), ()),
    )
    for check in (lambda c: RECIPE.stages(I2CRCConfig(), c), lambda c: CONFIG.crops(c, masks=False)):
        with pytest.raises(InputError, match=said):
            check(Collection(("cat",), samples))
    with pytest.raises(InputError, match="recipe i2crc learns from saliency maps, and 6 of the 6"):
        getam.train(
            data=scenes / "photos", tags=scenes / "tags.csv", out=tmp_path / "run", recipe="i2crc",
            backbone="test_resnet", size=32, saliency="none",
        )  # fmt: skip
    assert not (tmp_path / "run").exists()


def test_the_embedded_model_is_no_start() -> None:
    for config in (RelationConfig(weights="embedded"), I2CRCConfig(weights="embedded")):
        with pytest.raises(WeightsError, match=r"the embedded model holds no backbone .* with --weights"):
            config.build(tiny.CLASSES)


def test_eighty_classes_and_the_shape_of_the_network() -> None:
    names = tuple(f"class {n}" for n in range(80))
    net = CONFIG.model_copy(update={"output_stride": 8}).build(names)
    assert isinstance(net, ScoreMapClassifier)
    assert (net.patch, net(tiny.photos(1, model=net)).shape) == (8, (1, 80, 4, 4))
    with pytest.raises(InputError, match="size 40 is not a multiple of the 16-pixel"):
        CONFIG.model_copy(update={"size": 40}).build(names)
    assert isinstance(I2CRCConfig(backbone="small-hybrid", size=32).build(names), Segmenter)


# --- labels ---


PHOTO = torch.randint(256, (3, 40, 56), generator=torch.Generator().manual_seed(3), dtype=torch.uint8)


def ramp() -> Tensor:
    return torch.linspace(0, 1, 56).expand(40, 56).contiguous()


def trained_networks(classes: tuple[str, ...] = tiny.CLASSES) -> dict[str, Any]:
    torch.manual_seed(0)
    net = tiny.awake(CONFIG.build(classes))
    with torch.no_grad():  # maps that are above 0 on about half of the photo
        resized = F.interpolate(PHOTO[None].float(), size=(48, 64), mode="bilinear")
        net.classifier.bias -= net.class_map(resized).mean((0, 2, 3))
    return {"classifier": net, "segmenter": tiny.hybrid_segmenter(classes)}


def maps_by_hand(net: Any, present: list[int], sides: tuple[tuple[int, int], ...], flip: bool) -> Tensor:
    """relu(X)/max per size and mirrored, enlarged to the largest grid; their mean, at the photo's size."""
    found = []
    for size in sides:
        resized = F.interpolate(PHOTO[None].float(), size=size, mode="bilinear", antialias=True)
        for mirrored in (False, True)[: 1 + flip]:
            with torch.no_grad():
                x = net.class_map(resized.flip(3) if mirrored else resized)[:, present].relu()
            x = x.flip(3) if mirrored else x
            found.append(x / x.amax((2, 3), keepdim=True).clamp(min=1e-12))
    grid = found[-1].shape[-2:]
    mean = torch.stack(
        [F.interpolate(m, size=grid, mode="bilinear", align_corners=True) for m in found]
    ).mean(0)
    return F.interpolate(mean, size=(40, 56), mode="bilinear")


@pytest.mark.parametrize(("flip", "doubt"), [(False, 0.2), (True, 0.6)])
def test_maps_and_saliency_vote_on_the_labels(flip: bool, doubt: float) -> None:
    nets = trained_networks()
    rule = stages(label_scales=(64, 112), label_flip=flip, label_doubt=doubt)[1].label
    found = rule(nets, PHOTO, [2, 0], ramp())
    maps = maps_by_hand(nets["classifier"], [2, 0], ((48, 64), (80, 112)), flip)
    assert torch.equal(found, saliency_fusion(maps, torch.tensor([[2, 0]]), ramp()[None], doubt=doubt)[0])
    assert len(found.unique()) > 2


@pytest.mark.parametrize(("crf", "doubt"), [(0, 0.2), (3, 0.6)])
@pytest.mark.parametrize("present", [[2, 0], [1]])
def test_predictions_and_labels_make_the_second_labels(crf: int, doubt: float, present: list[int]) -> None:
    nets = trained_networks()
    options = {"label_scales": (64,), "label_flip": False, "label_crf": crf, "label_doubt": doubt}
    before, rule = (stage.label for stage in stages(**options)[1:4:2])
    found = rule(nets, PHOTO, present, ramp())
    beliefs = photo_logits(nets["segmenter"], PHOTO, (64,)).softmax(0)
    assert len(beliefs.argmax(0).unique()) == 4  # all classes win somewhere, so that the CRF knows them all
    if crf:
        beliefs = dense_crf(PHOTO[None].float(), beliefs[None], parameters=DEEPLAB, iterations=crf)[0]
    initial = before(nets, PHOTO, present, ramp())
    wanted = object_guided_refinement(beliefs.argmax(0)[None], initial[None], torch.tensor([present]))[0]
    assert torch.equal(found, wanted)
    assert len(found.unique()) > 2


def test_photos_without_a_tag_are_background() -> None:
    for stage in stages(label_scales=(64,))[1:4:2]:
        assert not stage.label(trained_networks(), PHOTO, [], ramp()).any()


def test_class_lists_longer_than_eight_bits() -> None:
    names = tuple(f"class {n}" for n in range(300))
    nets = trained_networks(names)
    for stage in stages(label_scales=(64,), label_crf=0)[1:4:2]:
        found = stage.label(nets, PHOTO, [289, 7], ramp())
        assert found.dtype == torch.int32
        assert set(found.unique().tolist()) <= {0, 290, 8, 65535}
        assert not stage.label(nets, PHOTO, [], ramp()).any()


def test_large_photos_are_labelled_as_their_copy_of_500() -> None:
    nets = trained_networks()
    small = torch.randint(256, (3, 250, 500), generator=torch.Generator().manual_seed(3), dtype=torch.uint8)
    grey = torch.linspace(0, 1, 500).expand(250, 500).contiguous()
    large, large_grey = (t.repeat_interleave(2, -1).repeat_interleave(2, -2) for t in (small, grey))
    for stage in stages(label_scales=(64,), label_crf=0)[1:4:2]:
        wanted = stage.label(nets, small, [0, 1], grey)
        assert torch.equal(stage.label(nets, large, [0, 1], large_grey), enlarged(wanted, (500, 1000)))


# --- training ---


def test_an_interrupted_run_ends_with_the_same_weights(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    config = CONFIG.model_copy(update={"batch_size": 2, "steps": 4})
    assert_resumed_exactly(FIRST, config, Halves(64), tmp_path, monkeypatch)


def test_two_photos_are_learned_and_their_maps_keep_to_the_saliency() -> None:
    torch.manual_seed(0)
    config = CONFIG.model_copy(update={"lr": 6e-3, "pretrained_lr": 1e-3, "between_weight": 1.0})
    net = config.build(("red", "blue"))
    items = [Halves(64)[0], Halves(64)[1]]
    given = {name: torch.stack([item[name] for item in items]) for name in items[0]}
    optim = optimizer(net, config)
    for step in range(25):
        losses = FIRST.losses(net.train(), given, step / 25, config)
        optim.zero_grad()
        total(losses.values()).backward()
        optim.step()
    with torch.no_grad():
        found = net.train()(given["image"])
    assert torch.equal(found.mean((2, 3)) > 0, given["tags"] > 0)
    fine = F.interpolate(found, size=(64, 64), mode="bilinear")
    for photo in (0, 1):
        inside = given["saliency"][photo] > 0
        assert fine[photo, photo][inside].mean() > fine[photo, photo][~inside].mean() + 1
    assert losses["between"] < 0


def test_from_a_folder_of_photos_to_a_segmenter(scenes: Path, tmp_path: Path) -> None:
    (tmp_path / "salient").mkdir()
    for mask in (scenes / "truth").glob("*.png"):
        Image.fromarray((read_mask(mask) > 0).astype("uint8") * 255).save(tmp_path / "salient" / mask.name)
    options: dict[str, Any] = {
        "data": scenes / "photos", "tags": scenes / "tags.csv", "out": tmp_path / "run", "recipe": "i2crc",
        "backbone": "small-hybrid", "size": 32, "batch_size": 2, "steps": 2, "saliency": tmp_path / "salient",
        "options": (
            "classifier={backbone: test_resnet, weights: ''}", "head_width=8", "label_scales=[64]", "label_crf=1",
        ),
    }  # fmt: skip
    net = getam.train(**options)
    assert isinstance(net, Segmenter)
    run = tmp_path / "run"
    assert sorted(f.name for f in run.iterdir() if f.is_dir()) == [
        "1-classifier", "2-labels", "3-segmenter", "4-labels-2", "5-segmenter-2",
    ]  # fmt: skip
    loaded = load_model(run / "1-classifier")
    assert isinstance(loaded, ScoreMapClassifier)
    assert (loaded.patch, len(loaded.hidden[0].weight)) == (16, 8)
    for line in (scenes / "tags.csv").read_text().splitlines()[1:]:
        name, tags = line.split(",")
        for stage in ("2-labels", "4-labels-2"):
            label = read_mask(run / stage / name)
            assert set(label.ravel().tolist()) <= {
                0,
                255,
                *(net.classes.index(tag) + 1 for tag in tags.split(";")),
            }
    masks = getam.predict(scenes / "photos", model=run, out=tmp_path / "masks")
    assert len(list(masks.glob("*.png"))) == 6
    model = (run / "model.safetensors").read_bytes()
    getam.train(**options)
    assert (run / "model.safetensors").read_bytes() == model
    with pytest.raises(InputError, match="steps=2, now steps=3"):
        getam.train(**{**options, "steps": 3})
