"""The second half of IRN: its stages and their options, what it refuses at once, a step, and all of it on files."""

from __future__ import annotations

from dataclasses import replace
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import timm
import torch
from pydantic import ValidationError
from safetensors.torch import save_file
from torch import Tensor

import getam
import tiny
from getam.data.collection import Collection, load_collection
from getam.data.masks import read_mask
from getam.engine.model import load_model
from getam.errors import InputError
from getam.losses.boundary import boundary_losses
from getam.losses.classification import classification_loss
from getam.nets.boundary import BoundaryNetwork
from getam.pipeline import Pipeline
from getam.recipes import RECIPES, find_recipe
from getam.recipes.bas import BASConfig
from getam.recipes.base import optimizer, total
from getam.recipes.boundaries import BoundariesConfig, BoundariesRecipe
from getam.recipes.classifier import ClassifierConfig
from getam.recipes.irn import IRNConfig, second_half
from getam.recipes.labelling import label_stage
from getam.recipes.puzzle_cam import PuzzleCAMConfig
from getam.recipes.stages import LabelStage, StagedRecipe, TrainStage
from getam.recipes.supervised import SupervisedConfig

RECIPE: Any = find_recipe("irn")
NOTHING = Collection((), ())
TINY = BoundariesConfig(backbone="test_resnet", weights="", size=32, batch_size=2, frozen=False, radius=3)


def pipelines(**options: Any) -> tuple[Pipeline, Pipeline]:
    """Those of the stages "seeds" and "labels"."""
    _, seeds, _, labels, _ = RECIPE.stages(IRNConfig(**options), NOTHING)
    return seeds.label.args[0], labels.label.args[0]


def test_the_five_stages_and_what_each_needs() -> None:
    first, seeds, boundaries, labels, segmenter = RECIPE.stages(IRNConfig(), NOTHING)
    assert isinstance(RECIPE, StagedRecipe)
    assert [type(stage) for stage in (first, seeds, boundaries, labels, segmenter)] == [
        TrainStage, LabelStage, TrainStage, LabelStage, TrainStage,
    ]  # fmt: skip
    assert [(stage.name, stage.needs) for stage in (first, seeds, boundaries, labels, segmenter)] == [
        ("classifier", ()),
        ("seeds", ("classifier",)),
        ("boundaries", ("seeds",)),
        ("labels", ("classifier", "boundaries")),
        ("segmenter", ("labels",)),
    ]
    assert [stage.recipe.name for stage in (first, boundaries, segmenter)] == [
        "classifier", "boundaries", "supervised",
    ]  # fmt: skip
    assert (type(first.config), type(boundaries.config), type(segmenter.config)) == (
        ClassifierConfig,
        BoundariesConfig,
        SupervisedConfig,
    )


def test_seeds_and_labels_are_completed_and_labels_walk() -> None:
    seeds, labels = pipelines()
    assert seeds == Pipeline("layercam", ("pamr",), "completion")
    assert labels == Pipeline("layercam", ("walk-irn", "pamr"), "completion")
    stages = RECIPE.stages(IRNConfig(), NOTHING)
    assert [stages[place].options["labelled_by"] for place in (1, 3)] == [
        "layercam+pamr:completion", "layercam+walk-irn+pamr:completion",
    ]  # fmt: skip


def test_published_seeds_are_irns_and_published_labels_walk() -> None:
    seeds, labels = pipelines(rule="levels")
    assert seeds == Pipeline("layercam", (), "irn", label_options={"high": 0.3, "low": 0.05})
    assert labels == Pipeline(
        "layercam", ("walk-irn",), "threshold", label_options={"high": 0.25, "low": 0.25}
    )
    seeds, labels = pipelines(
        first="bas", seed_high=0.4, seed_low=0.1, background=0.35, label_scales=(48, 64), method="zoom-cam",
        rule="levels",
    )  # fmt: skip
    assert seeds.label_options == {"high": 0.4, "low": 0.1}
    assert labels.label_options == {"high": 0.35, "low": 0.35}
    assert seeds.scales == labels.scales == (48, 64)
    assert seeds.method == labels.method == "zoom-cam"
    assert pipelines(first="bas")[1].method == "bas"
    assert pipelines(method="layercam[layers=a]")[0].options == {"layers": "a"}
    stages = RECIPE.stages(IRNConfig(background=0.35, rule="levels"), NOTHING)
    assert [stages[place].options for place in (1, 3)] == [
        {"labelled_by": "layercam:irn[high=0.3,low=0.05]", "scales": [224, 320]},
        {"labelled_by": "layercam+walk-irn:threshold[high=0.35,low=0.35]", "scales": [224, 320]},
    ]


def test_every_stage_takes_what_is_said_of_all_and_its_own_numbers() -> None:
    config = IRNConfig(
        first="bas", backbone="test_resnet", weights="w", size=64, zoom=(0.5, 2), batch_size=3, seed=4,
        colour_jitter=True, steps=50, lr=0.3, weight_decay=0.7, width=16, class_mix=0.5, radius=7,
    )  # fmt: skip
    first, _, boundaries, _, segmenter = (
        getattr(stage, "config", None) for stage in RECIPE.stages(config, NOTHING)
    )
    shared = {
        "backbone": "test_resnet", "weights": "w", "size": 64, "zoom": (0.5, 2), "batch_size": 3, "seed": 4,
        "colour_jitter": True, "steps": 50,
    }  # fmt: skip
    assert first == BASConfig(**shared)
    assert boundaries == BoundariesConfig(**shared, radius=7)
    assert segmenter == SupervisedConfig(**shared, lr=0.3, weight_decay=0.7, width=16, class_mix=0.5)


def test_steps_can_differ() -> None:
    config = IRNConfig(steps=50, first_steps=60, boundary_steps=70)
    first, _, boundaries, _, segmenter = RECIPE.stages(config, NOTHING)
    assert [stage.config.steps for stage in (first, boundaries, segmenter)] == [60, 70, 50]


def test_published_numbers_are_those_of_the_stages() -> None:
    config = IRNConfig(**RECIPE.presets["paper-voc"], steps=80, batch_size=8)
    first, _, boundaries, _, segmenter = RECIPE.stages(config, NOTHING)
    paper = RECIPES["classifier"].presets["paper-voc"]
    assert first.config == ClassifierConfig(**{**paper, "batch_size": 8})
    assert boundaries.config == BoundariesConfig(
        **{**BoundariesRecipe.presets["paper-voc"], "batch_size": 8}, radius=10
    )
    assert (first.config.steps, boundaries.config.steps, segmenter.config.steps) == (3305, 990, 80)
    bas = IRNConfig(**RECIPE.presets["paper-voc-bas"])
    stages = RECIPE.stages(bas, NOTHING)
    assert stages[0].config == BASConfig(**RECIPES["bas"].presets["paper-voc"])
    assert (bas.seed_high, bas.seed_low, bas.background) == (0.3, 0.17, 0.22)
    puzzle = IRNConfig(**RECIPE.presets["paper-voc-puzzle-cam"])
    first, _, boundaries, _, segmenter = RECIPE.stages(puzzle, NOTHING)
    assert first.config == PuzzleCAMConfig(**RECIPES["puzzle-cam"].presets["paper-voc"])
    assert {stage.config.backbone for stage in (boundaries, segmenter)} == {"resnest101e"}
    assert (puzzle.seed_high, puzzle.seed_low, puzzle.background) == (0.4, 0.1, 0.35)
    assert {config.rule, bas.rule, puzzle.rule} == {"levels"}
    assert RECIPE.stages(bas.model_copy(update={"first_steps": 9}), NOTHING)[0].config.steps == 9


def test_the_defaults_and_presets() -> None:
    config = IRNConfig()
    assert (config.first, config.method, config.numbers, config.first_steps, config.boundary_steps) == (
        "classifier", "", "light", None, None,
    )  # fmt: skip
    assert (config.rule, config.seed_high, config.seed_low) == ("completion", 0.3, 0.05)
    assert (config.background, config.radius) == (0.25, 10)
    assert config.label_scales == (224, 320)
    assert {"light", "paper-voc", "paper-voc-bas", "paper-voc-puzzle-cam"} == set(RECIPE.presets)
    assert (RECIPE.name, RECIPE.needs, RECIPE.uses) == ("irn", (), ("saliency",))
    own = BoundariesConfig()
    assert (own.lr, own.output_stride, own.radius, own.frozen) == (5e-3, 16, 10, True)
    assert BoundariesRecipe.presets == {
        "light": {},
        "paper-voc": {
            "backbone": "resnet50", "size": 512, "zoom": (0.5, 1.5), "batch_size": 32, "steps": 990,
            "optimizer": "sgd", "lr": 0.1, "weight_decay": 1e-4, "momentum": 0.0, "warmup": 0.0, "poly_power": 0.9,
        },
    }  # fmt: skip


@pytest.mark.parametrize("name", RECIPE.firsts)
def test_every_recipe_with_maps_can_be_the_first(name: str) -> None:
    assert set(RECIPE.firsts) >= {"getam", "classifier", "bas", "afa"}
    first = RECIPE.stages(IRNConfig(first=name), NOTHING)[0]
    assert (first.name, first.recipe.name) == (name, name)


@pytest.mark.parametrize(
    ("options", "said"),
    [
        ({"first": "supervised"}, "no recipe with maps .option first. 'supervised': choose one of getam, "),
        ({"first": "irn"}, "'irn'"),
        ({"first": "ecacl"}, "no recipe with maps .option first. 'ecacl'"),
        ({"first": "self-training"}, "'self-training'"),
        ({"weights": "embedded"}, "the embedded model is of one: give .* --weights FILE"),
        ({"method": "cam+pamr"}, r"option method: cam\+pamr names more than"),
        ({"method": "cam:free"}, "option method: cam:free names more than"),
        ({"method": "magic"}, "magic"),
        ({"numbers": "vit"}, "recipe boundaries has no preset 'vit' .option numbers.: choose one of light"),
        ({"numbers": "thesis"}, "recipe classifier has no preset 'thesis'"),
    ],
)
def test_what_cannot_work_is_refused_before_any_work(options: dict[str, Any], said: str) -> None:
    with pytest.raises(InputError, match=said):
        RECIPE.stages(IRNConfig(**options), NOTHING)


@pytest.mark.parametrize(
    ("options", "said"),
    [
        ({"backbone": "test_vit"}, "test_vit has no stages of feature maps"),
        ({"method": "getam"}, "getam needs attention, which this model has not"),
        ({"method": "saliency"}, "saliency"),
        ({"size": 40}, "size 40 is not a multiple"),
    ],
)
def test_networks_are_tried_before_any_of_them_is_trained(
    options: dict[str, Any], said: str, scenes: Path
) -> None:
    collection = load_collection(scenes / "photos", scenes / "tags.csv")
    with pytest.raises(InputError, match=said):
        RECIPE.stages(IRNConfig(**{"backbone": "test_resnet", "size": 32, **options}), collection)


def test_one_class_is_no_first_for_bas(scenes: Path) -> None:
    collection = load_collection(scenes / "photos", scenes / "tags.csv")
    one = replace(collection, classes=("red",), samples=collection.samples[:1])
    with pytest.raises(InputError, match="recipe bas compares the classes"):
        RECIPE.stages(IRNConfig(first="bas", backbone="test_resnet", size=32), one)


def test_levels_in_the_wrong_order_are_refused() -> None:
    with pytest.raises(ValidationError, match=r"seed_low 0\.4 is above seed_high 0\.3"):
        IRNConfig(seed_low=0.4)
    for options in ({"radius": 1}, {"background": 1.1}, {"label_scales": ()}, {"first_steps": 0}):
        with pytest.raises(ValidationError):
            IRNConfig(**options)


def test_the_second_half_goes_behind_any_stage() -> None:
    half = second_half(
        "mine", Pipeline("gradcam", ("pamr",), "free", (64,), False, {"layers": "a"}), IRNConfig()
    )
    seeds = half[0].label.args[0]  # type: ignore[union-attr]
    assert (half[0].needs, half[2].needs) == (("mine",), ("mine", "boundaries"))
    assert (seeds.method, seeds.options, seeds.refine, seeds.scales, seeds.flip) == (
        "gradcam", {"layers": "a"}, ("pamr",), (64,), False,
    )  # fmt: skip


def test_a_stage_labels_with_the_networks_of_its_names() -> None:
    asked: list[Any] = []

    class Rule:
        scales = (32,)

        def __str__(self) -> str:
            return "rule"

        def label(self, *given: object, boundaries: object) -> Tensor:
            asked.append((*given, boundaries))
            return torch.ones(1)

    photo, nets = torch.zeros(3, 4, 4), {"a": 1, "b": 2}
    both: Any = label_stage("labels", Rule(), "a", boundaries="b")  # type: ignore[arg-type]
    alone: Any = label_stage("seeds", Rule(), "b")  # type: ignore[arg-type]
    assert (both.name, both.needs, alone.needs) == ("labels", ("a", "b"), ("b",))
    assert both.options == {"labelled_by": "rule", "scales": [32]}
    both.label(nets, photo, [0], None)
    alone.label(nets, photo, [1], photo)
    assert asked == [(1, photo, [0], None, 2), (2, photo, [1], photo, None)]


def batch(known: bool = False) -> dict[str, Tensor]:
    """Two photos of 32 pixels, half red and half noise; the second has a second class."""
    generator = torch.Generator().manual_seed(0)
    image = torch.rand(2, 3, 32, 32, generator=generator) * 60 + 90
    mask = torch.zeros(2, 32, 32, dtype=torch.int64)
    image[:, 0, :, :16], mask[:, :, :16] = 230.0, 1
    image[1, 2, 16:], mask[1, 16:] = 230.0, 2
    mask[:, :, 14:18] = 255
    tags = torch.tensor([[1.0, 0, 0], [1, 1, 0]])
    found = {"image": image, "mask": mask, "tags": tags, "roi": torch.ones(2, 32, 32, dtype=torch.bool)}
    return found | ({"known": torch.tensor([[True, True, False]] * 2)} if known else {})


@pytest.mark.parametrize("known", [False, True])
def test_a_step_is_made_of_its_published_parts(known: bool) -> None:
    torch.manual_seed(0)
    net, given = TINY.build(tiny.CLASSES).eval(), batch(known)
    losses = BoundariesRecipe().losses(net, given, 0.0, TINY)
    scores, logits = net(given["image"])
    same_bg, same_fg, different = boundary_losses(logits, given["mask"], radius=3)
    expected = {
        "cls": classification_loss(scores, given["tags"], given.get("known")),
        "same bg": 0.5 * same_bg, "same fg": 0.5 * same_fg, "different": different,
    }  # fmt: skip
    assert list(losses) == list(expected)
    for name, loss in losses.items():
        torch.testing.assert_close(loss, expected[name])
        assert loss > 0
    wider = BoundariesRecipe().losses(net, given, 0.0, TINY.model_copy(update={"radius": 5}))
    assert wider["different"] != losses["different"]


def test_long_class_lists_have_their_own_undecided() -> None:
    net = TINY.build([str(number) for number in range(300)]).eval()
    given = batch() | {"tags": torch.zeros(2, 300)}
    plain = BoundariesRecipe().losses(
        net, given | {"mask": batch()["mask"].masked_fill(batch()["mask"] == 255, 65535)}, 0, TINY
    )
    wanted = boundary_losses(net(given["image"]).boundaries, batch()["mask"], radius=3)
    torch.testing.assert_close(plain["different"], wanted.different)


@pytest.mark.parametrize("value", [0, 255])
def test_a_batch_without_a_class_or_a_seed_and_photos_without_tags(value: int) -> None:
    net = TINY.build(tiny.CLASSES).train()
    given = batch() | {"tags": torch.zeros(2, 3), "mask": torch.full((2, 32, 32), value)}
    losses = BoundariesRecipe().losses(net, given, 0.0, TINY)
    assert losses["same fg"] == losses["different"] == 0
    total(losses.values()).backward()
    assert all(p.grad.isfinite().all() for p in net.parameters() if p.grad is not None)


def test_two_photos_are_learned() -> None:
    torch.manual_seed(0)
    net, given = TINY.build(tiny.CLASSES), batch()
    optim = optimizer(net, TINY)
    first = BoundariesRecipe().losses(net, given, 0.0, TINY)
    for step in range(60):
        losses = BoundariesRecipe().losses(net.train(), given, step / 60, TINY)
        optim.zero_grad()
        total(losses.values()).backward()
        optim.step()
    assert total(losses.values()) < 0.4 * total(first.values())
    found = net.learned_boundaries(given["image"])
    assert found[0, :, 3:5].amax(1).mean() > 3 * found[0, :, [0, 1, 6, 7]].mean()


@pytest.fixture(scope="module")
def run(scenes: Path, tmp_path_factory: pytest.TempPathFactory) -> tuple[Path, dict[str, Any]]:
    """The run folder of `irn` on the scenes, and what was asked for."""
    folder = tmp_path_factory.mktemp("irn")
    save_file(timm.create_model("test_resnet").state_dict(), folder / "w.safetensors")
    asked = {
        "data": scenes / "photos", "tags": scenes / "tags.csv", "recipe": "irn", "backbone": "test_resnet",
        "weights": folder / "w.safetensors", "size": 32, "batch_size": 3, "steps": 2, "saliency": "none",
        "options": ("label_scales=[48]", "channels=[8,8,8,8]", "width=8"),
    }  # fmt: skip
    getam.train(out=folder / "run", **asked)
    return folder / "run", asked


def test_from_a_folder_of_photos_to_a_model(run: tuple[Path, dict[str, Any]], scenes: Path) -> None:
    folder, _ = run
    assert sorted(path.name for path in folder.iterdir() if path.is_dir()) == [
        "1-classifier", "2-seeds", "3-boundaries", "4-labels", "5-segmenter",
    ]  # fmt: skip
    boundaries = load_model(folder / "3-boundaries")
    assert isinstance(boundaries, BoundaryNetwork)
    assert boundaries.frozen
    assert load_model(folder).kind == "segmenter"
    collection = load_collection(scenes / "photos", scenes / "tags.csv")
    classifier = load_model(folder / "1-classifier")
    for sample in collection.samples[:2]:
        photo = torch.from_numpy(np.asarray(tiny.Image.open(sample.photo).convert("RGB")).copy()).permute(
            2, 0, 1
        )
        present = [collection.classes.index(tag) for tag in sample.tags]
        for stage, pipeline, walls in (
            ("2-seeds", pipelines(label_scales=(48,))[0], None),
            ("4-labels", pipelines(label_scales=(48,))[1], boundaries),
        ):
            wanted = pipeline.label(classifier, photo, present, None, boundaries=walls)
            found = torch.from_numpy(read_mask(folder / stage / f"{sample.name}.png"))
            assert (found == wanted.cpu()).float().mean() > 0.99
    assert not any(255 in read_mask(file) for file in (folder / "4-labels").glob("*.png"))


def test_nothing_is_done_twice(run: tuple[Path, dict[str, Any]], monkeypatch: pytest.MonkeyPatch) -> None:
    folder, asked = run
    before = {file: file.stat().st_mtime_ns for file in folder.rglob("*.png")}
    monkeypatch.setattr(Pipeline, "label", None)
    getam.train(out=folder, **asked)
    assert before == {file: file.stat().st_mtime_ns for file in folder.rglob("*.png")}


def test_the_boundary_network_labels_by_itself(
    run: tuple[Path, dict[str, Any]], scenes: Path, tmp_path: Path
) -> None:
    getam.label(
        data=scenes / "photos", tags=scenes / "tags.csv", model=run[0] / "3-boundaries", method="layercam",
        refine=("walk-irn",), labels="threshold", scales=(48,), saliency="none", out=tmp_path / "masks",
    )  # fmt: skip
    assert len(list((tmp_path / "masks").glob("*.png"))) == 6
