"""The demo end to end with a few steps, what it refuses, and its scores against a slow oracle beside them."""

import builtins
import html
import io
import json
import re
from collections import defaultdict
from dataclasses import asdict
from pathlib import Path
from types import SimpleNamespace
from typing import Any

import numpy as np
import pytest
import torch
import yaml
from rich.console import Console

from getam.cli import main
from getam.engine.model import load_model
from getam.errors import InputError
from getam.labels.free import OPENING, complete_without_saliency
from getam.maps.methods.getam import getam
from getam.maps.methods.gradcam import gradcam
from getam.maps.methods.rollout import rollout
from getam.nets.embedded import embedded_model
from getam.nets.segmenter import Segmenter
from getam.photo_size import fit_patches
from getam.recipes.getam import GetamConfig
from getam.refine.crf import dense_crf
from getam.refine.crf_parameters import DEEPLAB
from getam.refine.scaled import refine_maps
from getam.verbs.demo import report as demo_report
from getam.verbs.demo import run as demo_verb
from getam.verbs.demo.digits import DIGIT_CLASSES, DigitScenes, Scene
from getam.verbs.demo.report import cat, cat_row, explain_photo, results_table, rich_table, scene_rows
from getam.verbs.demo.run import CONFIG, demo, replacing, run_demo
from getam.verbs.demo.score import (
    METHODS,
    DemoScores,
    MethodScores,
    complete,
    scene_batches,
    scene_maps,
    score,
)

SIZES = {"size": 32, "batch_size": 4, "steps": 4, "joint_from": 0.5, "channels": (8, 8, 8, 8), "width": 8}
QUICK = GetamConfig(**{**CONFIG.model_dump(), **SIZES, "seed": 3})


@pytest.fixture(scope="module")
def animals() -> Segmenter:
    """Stands in for the embedded model: untrained, and as small as the quick demo's."""
    torch.manual_seed(0)
    return QUICK.build(("cat", "dog")).eval()


@pytest.fixture(scope="module")
def report(tmp_path_factory: pytest.TempPathFactory, animals: Segmenter) -> Path:
    out = tmp_path_factory.mktemp("demo") / "report"
    return run_demo(QUICK, out, animals, overwrite=False, held_out=10, tuning=6).parent


def test_leaves_a_report_its_record_and_a_usable_model_and_nothing_else(report: Path) -> None:
    assert sorted(entry.name for entry in report.iterdir()) == ["demo.json", "index.html", "run"]
    assert [entry.name for entry in report.parent.iterdir()] == ["report"]  # no temporary folder stays behind
    assert load_model(report / "run").classes == DIGIT_CLASSES


def test_the_report_is_one_file_that_shows_eight_scenes_and_the_cat(report: Path) -> None:
    page = (report / "index.html").read_text()
    assert len(re.findall("<article>", page)) == 9
    assert "A real photo" in page
    sources = re.findall(r'(?:src|href)="([^"]*)"', page)
    assert sources
    assert all(source.startswith("data:") for source in sources)
    for method in ("GETAM", "Grad-CAM", "attention rollout"):
        assert method in page


def test_the_record_says_how_it_was_measured(report: Path) -> None:
    record = json.loads((report / "demo.json").read_text())
    assert record["protocol"]["seed"] == 3
    assert record["protocol"]["steps"] == 4
    assert record["protocol"]["held_out_scenes"] == 10
    assert {"getam", "torch", "timm"} <= record["environment"]["versions"].keys()
    assert set(record["scores"]["methods"]) == {"getam", "gradcam", "rollout"}
    assert record["scores"]["methods"]["getam"]["label_thresholds"] == [CONFIG.background, CONFIG.foreground]


def test_the_whole_recipe_is_trained(report: Path) -> None:
    lines = [json.loads(line) for line in (report / "run" / "metrics.jsonl").read_text().splitlines()]
    assert lines[-1]["step"] == 4
    assert {"cls", "fg", "bg", "dense"} <= lines[-1].keys()


def test_training_sees_no_mask(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> None:
    def items(self: DigitScenes, item: int) -> dict[str, torch.Tensor]:
        assert not self.with_masks
        return original(self, item)

    original = DigitScenes.__getitem__
    monkeypatch.setattr(DigitScenes, "__getitem__", items)
    demo_verb.train_on_scenes(QUICK, tmp_path / "run")


def test_the_same_seed_gives_the_same_weights(tmp_path: Path, report: Path) -> None:
    again = demo_verb.train_on_scenes(QUICK, tmp_path / "run").state_dict()
    for name, value in load_model(report / "run").state_dict().items():
        # threads add up the lattice in any order: equal up to rounding, carried through a few steps of Adam
        torch.testing.assert_close(again[name], value, rtol=1e-3, atol=1e-4)


def maps_of(net: Segmenter, scene: Scene) -> dict[tuple[str, str], np.ndarray]:
    """(K,32,32) by method, raw or refined, of the digits of a scene in rising order."""
    image, tags = torch.from_numpy(scene.image).float()[None], torch.from_numpy(scene.tags)[None]
    found = {}
    for name, values in (
        ("getam", getam(net, image, tags, coupling="attn_grad", start=0).values),
        ("gradcam", gradcam(net, image, tags).values),
        ("rollout", rollout(net, image, tags).values),
    ):
        found[name, "raw"] = refine_maps(image, values, iterations=0)[0].numpy()
        found[name, "refined"] = refine_maps(image, values, iterations=20)[0].numpy()
    return found


def paint(maps: np.ndarray, digits: np.ndarray, threshold: float) -> np.ndarray:
    return np.where(maps.max(0) >= threshold, digits[maps.argmax(0)] + 1, 0)


def count(counts: np.ndarray, true: np.ndarray, said: np.ndarray) -> None:
    np.add.at(counts, (true.ravel(), np.where(said == 255, 11, said).ravel()), 1)


def best_thresholds(net: Segmenter, scenes: list[Scene]) -> dict[tuple[str, str], float]:
    """By trying all of them; `scenes` are those the thresholds are chosen on."""
    counts = {(name, kind): np.zeros((99, 11, 12)) for name in METHODS for kind in ("raw", "refined")}
    for scene in scenes:
        for key, maps in maps_of(net, scene).items():
            for place in range(99):
                said = paint(maps, scene.tags.nonzero()[0], (place + 1) / 100)
                count(counts[key][place], scene.mask, said)
    return {key: (1 + int(np.argmax([_miou(each) for each in found]))) / 100 for key, found in counts.items()}


def test_scores_agree_with_a_slow_count(report: Path) -> None:
    net = load_model(report / "run")
    told: list[int] = []
    found = score(net, QUICK, seed=3, held_out=10, tuning=6, advance=lambda done, note="": told.append(done))
    assert told == [6, 16]
    scenes, training = DigitScenes("test", 32, seed=3), DigitScenes("train", 32, seed=3)
    first = QUICK.steps * QUICK.batch_size + len(training)
    best = best_thresholds(net, [training.scene(first + index) for index in range(6)])
    for name in METHODS:
        assert found.methods[name].raw_threshold == pytest.approx(best[name, "raw"], abs=0.011)
        assert found.methods[name].refined_threshold == pytest.approx(best[name, "refined"], abs=0.011)
    counts: dict[Any, np.ndarray] = defaultdict(lambda: np.zeros((11, 12)))
    right = exact = 0
    decided = dict.fromkeys(METHODS, 0)
    for index in range(10):
        scene = scenes.scene(index)
        image, digits = torch.from_numpy(scene.image).float()[None], scene.tags.nonzero()[0]
        with torch.no_grad():
            scores, logits = net(image)
        crf = dense_crf(image, logits.softmax(1), parameters=DEEPLAB)[0].argmax(0)
        count(counts["seg"], scene.mask, logits[0].argmax(0).numpy())
        count(counts["crf"], scene.mask, crf.numpy())
        maps = maps_of(net, scene)
        for name, of in found.methods.items():
            count(counts[name, "raw"], scene.mask, paint(maps[name, "raw"], digits, of.raw_threshold))
            count(
                counts[name, "refined"],
                scene.mask,
                paint(maps[name, "refined"], digits, of.refined_threshold),
            )
            band = (0.4, 0.4) if name == "getam" else (of.refined_threshold, of.refined_threshold)
            assert of.label_thresholds == band
            label = complete_without_saliency(
                torch.from_numpy(maps[name, "refined"])[None], torch.from_numpy(digits)[None], image,
                background=band[0], foreground=band[1], iterations=0, opening=3,
            )[0].numpy()  # fmt: skip
            count(counts[name, "label"], scene.mask, label)
            decided[name] += int((label != 255).sum())
        agree = (scores[0].numpy() > 0) == (scene.tags > 0)
        right, exact = right + int(agree.sum()), exact + int(agree.all())
    assert found.segmentation_miou == pytest.approx(_miou(counts["seg"]))
    assert found.crf_miou == pytest.approx(_miou(counts["crf"]))
    for name, of in found.methods.items():
        assert of.raw_miou == pytest.approx(_miou(counts[name, "raw"]), abs=1e-3)
        assert of.refined_miou == pytest.approx(_miou(counts[name, "refined"]), abs=1e-3)
        assert of.label_miou == pytest.approx(_miou(counts[name, "label"]), abs=1e-3)
        assert of.label_decided == pytest.approx(decided[name] / (10 * 32 * 32))
    assert found.tag_accuracy == pytest.approx(right / 100)
    assert found.exact_tags == pytest.approx(exact / 10)


def test_progress_counts_the_scenes_of_all_batches(report: Path) -> None:
    told: list[int] = []
    score(
        load_model(report / "run"), QUICK, seed=3, held_out=33, tuning=34,
        advance=lambda done, note="": told.append(done),
    )  # fmt: skip
    assert told == [32, 34, 66, 67]


@pytest.mark.parametrize(("crf", "opening"), [(3, None), (0, 0), (2, 5)])
def test_pseudo_labels_are_completed_as_configured(report: Path, crf: int, opening: int | None) -> None:
    net = load_model(report / "run")
    config = GetamConfig(**{**QUICK.model_dump(), "crf_iterations": crf, "opening": opening})
    found = next(scene_maps(net, config, scene_batches("test", config, 3, 4)))
    for method in METHODS:
        expected = complete_without_saliency(
            found.refined[method], found.slots, found.batch["image"],
            foreground=0.6, background=0.3, iterations=crf, opening=OPENING if opening is None else opening,
        )  # fmt: skip
        assert torch.equal(complete(found, method, (0.3, 0.6), config), expected)
        assert len(expected.unique()) > 1


def test_batches_hold_the_scenes_in_order_32_at_a_time() -> None:
    batches = list(scene_batches("test", QUICK, 5, 40))
    assert [len(batch["image"]) for batch in batches] == [32, 8]
    scenes = DigitScenes("test", 32, seed=5)
    for place in (0, 31, 32, 39):
        batch, item, scene = batches[place // 32], place % 32, scenes.scene(place)
        assert np.array_equal(batch["image"][item].numpy(), scene.image)
        assert np.array_equal(batch["tags"][item].numpy(), scene.tags)
        assert np.array_equal(batch["mask"][item].numpy(), scene.mask)
    training = DigitScenes("train", 32, seed=5)
    batch = next(scene_batches("train", QUICK, 5, 2))
    assert np.array_equal(batch["image"][1].numpy(), training.scene(4 * 4 + 8192 + 1).image)


def test_the_report_shows_scenes_with_their_maps_labels_and_masks(report: Path) -> None:
    net = load_model(report / "run")
    rows = scene_rows(net, QUICK, seed=3, count=3)
    scenes = DigitScenes("test", 32, seed=3)
    assert len(rows) == 3
    for number, shown in enumerate(rows):
        scene = scenes.scene(number)
        digits = scene.tags.nonzero()[0]
        assert np.array_equal(shown.photo, scene.image.transpose(1, 2, 0))
        assert np.array_equal(shown.truth, scene.mask)
        assert list(shown.heat_maps) == [str(digit) for digit in digits]
        maps = maps_of(net, scene)["getam", "refined"]
        for place, heat in enumerate(shown.heat_maps.values()):
            np.testing.assert_allclose(heat, maps[place], atol=1e-3)
        assert shown.caption == f"Held-out scene {number + 1}: {' and '.join(map(str, digits))}"
        image = torch.from_numpy(scene.image).float()[None]
        with torch.no_grad():
            logits = net(image)[1]
        crf = dense_crf(image, logits.softmax(1), parameters=DEEPLAB)[0].argmax(0).numpy()
        assert (shown.prediction == crf).mean() > 0.99
        label = complete_without_saliency(
            torch.from_numpy(maps)[None], torch.from_numpy(digits)[None], image,
            background=QUICK.background, foreground=QUICK.foreground, iterations=0, opening=3,
        )[0].numpy()  # fmt: skip
        assert (shown.pseudo_label == label).mean() > 0.99
    different = GetamConfig(**{**QUICK.model_dump(), "background": 0.1, "foreground": 0.9})
    wide = scene_rows(net, different, seed=3, count=3)
    assert any((row.pseudo_label == 255).any() for row in wide if row.pseudo_label is not None)


SCORES = DemoScores(
    {
        name: MethodScores(0.1, 0.2 + place, 0.3, 0.4 + place, (0.5, 0.6), 0.7 + place, 0.8)
        for place, name in enumerate(METHODS)
    },
    segmentation_miou=0.11,
    crf_miou=0.22,
    tag_accuracy=0.987,
    exact_tags=0.876,
)


def test_the_table_puts_every_score_in_its_column() -> None:
    first, second, third = results_table(SCORES)
    assert first == {
        "held-out mIoU": "GETAM", "maps": 0.2, "maps after PAMR": 0.4, "pseudo labels": 0.7,
        "segmentation": 0.11, "segmentation, CRF": 0.22,
    }  # fmt: skip
    assert list(second.values()) == ["Grad-CAM", 1.2, 1.4, 1.7, None, None]
    assert list(third.values()) == ["attention rollout", 2.2, 2.4, 2.7, None, None]


def test_the_table_on_the_terminal_has_three_digits_and_dashes() -> None:
    console = Console(width=200, record=True, file=io.StringIO())
    table = rich_table(results_table(SCORES), caption="In short.")
    console.print(table)
    text = console.export_text()
    assert re.search(r"GETAM\W+0\.200\W+0\.400\W+0\.700\W+0\.110\W+0\.220", text)
    assert re.search(r"Grad-CAM\W+1\.200\W+1\.400\W+1\.700 │\s+– │\s+– ", text)
    assert "In short." in text
    assert [column.justify for column in table.columns] == ["left"] + ["right"] * 5


def test_notes_and_record_say_the_numbers(monkeypatch: pytest.MonkeyPatch) -> None:
    seconds = {"training": 12.34, "all": 56.78}
    text = " ".join(demo_verb._notes(SCORES, QUICK, 512, 128, seconds))
    for said in (
        "4 steps of 4 scenes",
        "Scored on 512 scenes",
        "chosen on 128 training scenes",
        "98.7% of the",
    ):
        assert said in text
    assert "in 87.6% of the scenes. Training took 12 s, everything 57 s." in text
    record = demo_verb._record(SCORES, QUICK, 512, 128, seconds)
    assert record["seconds"] == {"training": 12.3, "all": 56.8}
    assert record["scores"] == asdict(SCORES)
    assert record["config"] == QUICK.model_dump(mode="json")
    assert "on 128 training scenes" in record["protocol"]["thresholds"]
    assert record["protocol"]["tags_at_test_time"] == {
        "maps": True, "pseudo labels": True, "segmentation": False,
    }  # fmt: skip


def test_the_command_runs_the_configuration_that_was_measured(monkeypatch: pytest.MonkeyPatch) -> None:
    seen: list[Any] = []
    monkeypatch.setattr(demo_verb, "run_demo", lambda *given, **options: seen.append((given, options)))
    monkeypatch.setattr(demo_verb, "load_segmenter", lambda: "embedded")
    demo()
    demo(out=Path("a"), seed=7, overwrite=True)
    config = GetamConfig(
        backbone="small-hybrid", weights="", size=64, batch_size=16, steps=2600, channels=(32, 48, 64, 96), width=32,
        lr=1e-3, pretrained_lr=1e-3, weight_decay=0.05, joint_from=0.82, joint_lr_factor=3.0, start=0, pamr_scale=1.0,
        pamr_iterations=20, coupling="attn_grad", foreground=0.4, background=0.4, crf_iterations=0, opening=3,
        dense_weight=2e-6, seed=0,
    )  # fmt: skip
    assert seen[0] == ((config, Path("report"), "embedded"), {"overwrite": False})
    assert seen[1] == (
        (GetamConfig(**{**config.model_dump(), "seed": 7}), Path("a"), "embedded"), {"overwrite": True},
    )  # fmt: skip
    assert run_demo.__kwdefaults__ == {"held_out": 512, "tuning": 128}


def _miou(counts: np.ndarray) -> float:
    ious = []
    for label in range(11):
        union = counts[label].sum() + counts[:, label].sum() - counts[label, label]
        if union:
            ious.append(counts[label, label] / union)
    return float(np.mean(ious))


def test_thresholds_are_chosen_on_training_scenes_that_no_step_has_shown() -> None:
    chosen = next(scene_batches("train", QUICK, 3, 6))
    scenes = DigitScenes("train", 32, seed=3)
    seen = QUICK.steps * QUICK.batch_size
    known = [torch.from_numpy(scenes.scene(index).image).float() for index in range(seen)]
    assert len(chosen["image"]) == 6
    assert not any(torch.equal(image, shown) for image in chosen["image"] for shown in known)


def test_the_table_has_a_line_per_method_and_segmentation_for_the_trained_one(report: Path) -> None:
    lines = results_table(score(load_model(report / "run"), QUICK, seed=3, held_out=4, tuning=4))
    assert [line["held-out mIoU"] for line in lines] == ["GETAM", "Grad-CAM", "attention rollout"]
    for column in ("segmentation", "segmentation, CRF"):
        assert [line[column] is not None for line in lines] == [True, False, False]
    assert len(lines) == len(METHODS)


def test_an_earlier_report_is_refused_before_anything_is_trained(report: Path, animals: Segmenter) -> None:
    before = (report / "index.html").stat()
    with pytest.raises(InputError, match="--overwrite"):
        run_demo(QUICK, report, animals, overwrite=False)
    assert (report / "index.html").stat() == before


def test_overwriting_keeps_nothing_of_the_earlier_report(tmp_path: Path) -> None:
    out = tmp_path / "report"
    (out / "run").mkdir(parents=True)
    (out / "run" / "state.pt").write_text("a run to continue")
    (out / "demo.json").write_text("old")
    with replacing(out, overwrite=True) as folder:
        (folder / "index.html").write_text("new")
    assert [entry.relative_to(tmp_path).as_posix() for entry in tmp_path.rglob("*")] == [
        "report",
        "report/index.html",
    ]


def test_a_folder_of_other_things_is_never_replaced(tmp_path: Path) -> None:
    (tmp_path / "thesis.tex").write_text("years of work")
    with pytest.raises(InputError, match="thesis"), replacing(tmp_path, overwrite=True):
        pass
    assert (tmp_path / "thesis.tex").read_text() == "years of work"


def test_a_failure_leaves_the_old_report_and_no_half_one(tmp_path: Path) -> None:
    out = tmp_path / "report"
    out.mkdir()
    (out / "index.html").write_text("old")

    def interrupted() -> None:
        with replacing(out, overwrite=True) as folder:
            (folder / "index.html").write_text("half")
            raise KeyboardInterrupt

    with pytest.raises(KeyboardInterrupt):
        interrupted()
    assert (out / "index.html").read_text() == "old"
    assert list(tmp_path.iterdir()) == [out]


def test_a_file_in_the_way_is_named(tmp_path: Path) -> None:
    (tmp_path / "report").write_text("")
    with pytest.raises(InputError, match="is a file"), replacing(tmp_path / "report", overwrite=True):
        pass


def test_a_missing_package_is_named_with_its_remedy(monkeypatch: pytest.MonkeyPatch) -> None:
    def without(name: str, *arguments: object, **options: object) -> object:
        if name.startswith("skimage"):
            raise ImportError(name)
        return real(name, *arguments, **options)

    real = builtins.__import__
    monkeypatch.setattr(builtins, "__import__", without)
    with pytest.raises(InputError, match=r"pip install 'getam\[demo\]'"):
        cat()


def test_a_negative_seed_is_refused(tmp_path: Path) -> None:
    with pytest.raises(InputError, match="seed"):
        demo(out=tmp_path / "report", seed=-1)


def test_the_photo_is_explained_at_its_own_size(animals: Segmenter) -> None:
    maps, names = explain_photo(animals, cat())
    assert maps.shape == (len(names), *cat().shape[1:])
    assert 0 <= float(maps.min()) <= float(maps.max()) <= 1
    assert set(names) <= {"cat", "dog"}


class Told(torch.nn.Module):
    """The network, with its class scores moved so that it finds what the test wants."""

    def __init__(self, net: Segmenter, wanted: list[float]) -> None:
        super().__init__()
        self.net, self.wanted, self.sizes = net, torch.tensor(wanted), []
        self.patch, self.classes = net.patch, net.classes

    def forward(self, images: torch.Tensor, masks: bool = True) -> Any:
        self.sizes.append(tuple(images.shape[-2:]))
        assert not masks
        return SimpleNamespace(scores=self.wanted[None])


@pytest.mark.parametrize(
    ("scores", "names"),
    [([2.0, 1.0], ["cat", "dog"]), ([-1.0, 0.5], ["dog"]), ([-2.0, -1.0], ["dog"]), ([-1, -3], ["cat"])],
)
def test_what_a_network_finds_are_positive_scores_or_the_best_one(
    animals: Segmenter, monkeypatch: pytest.MonkeyPatch, scores: list[float], names: list[str]
) -> None:
    told, asked = Told(animals, scores), []

    def maps(net: Any, images: torch.Tensor, classes: list[list[int]]) -> Any:
        asked.append((tuple(images.shape), classes))
        return getam(animals, images, classes)

    monkeypatch.setattr(demo_report, "getam", maps)
    photo = cat()
    found, said = explain_photo(told, photo)  # type: ignore[arg-type]
    assert said == names
    size = fit_patches(300, 451, 320, animals.patch)
    assert told.sizes == [size]
    assert asked == [((1, 3, *size), [[animals.classes.index(name) for name in names]])]
    resized = torch.nn.functional.interpolate(photo.float()[None], size=size, mode="bilinear", antialias=True)
    expected = refine_maps(photo.float()[None], getam(animals, resized.clamp(0, 255), asked[0][1]).values)[0]
    torch.testing.assert_close(found, expected, atol=1e-3, rtol=1e-3)


def test_the_photo_in_the_report_has_maps_and_a_mask_and_is_described(
    animals: Segmenter, monkeypatch: pytest.MonkeyPatch
) -> None:
    mask = torch.zeros(300, 451, dtype=torch.uint8)
    mask[10:20], mask[30:40] = 1, 2
    monkeypatch.setattr(demo_report, "segment", lambda net, photo: mask)
    monkeypatch.setattr(
        demo_report,
        "explain_photo",
        lambda net, photo: (torch.stack([mask * 0.5, mask * 0.25]), ["cat", "dog"]),
    )
    row = cat_row(animals, first_label=11)
    assert np.array_equal(row.photo, cat().permute(1, 2, 0).numpy())
    assert np.array_equal(row.prediction, np.where(mask > 0, mask.numpy() + 10, 0))
    assert row.prediction is not None
    assert row.prediction.dtype == np.uint8
    assert {name: float(heat.max()) for name, heat in row.heat_maps.items()} == {"cat": 1.0, "dog": 0.5}
    assert row.caption == "A real photo through the embedded model, which finds: cat and dog"


def test_names_are_listed_in_words() -> None:
    assert demo_report._listed(["cat"]) == "cat"
    assert demo_report._listed(["cat", "dog"]) == "cat and dog"
    assert demo_report._listed(["cat", "dog", "cow"]) == "cat, dog and cow"


def test_the_report_tells_what_was_done(report: Path) -> None:
    page = html.unescape((report / "index.html").read_text())
    for said in (
        "Scored on 10 scenes",
        "chosen on 6 training scenes",
        "4 steps of 4 scenes",
        "From tags to masks",
    ):
        assert said in page
    for number in range(1, 9):
        assert f"Held-out scene {number}: " in page
    assert re.search(r"</span>digit \d</li>", page)
    record = json.loads((report / "demo.json").read_text())
    assert 0 < record["seconds"]["training"] <= record["seconds"]["all"]
    config = yaml.safe_load((report / "run" / "config.yaml").read_text())
    assert config["recipe"] == "getam"
    assert config["data"] == {"scenes": "digits"}


def test_fewer_scenes_than_are_shown(
    animals: Segmenter, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    config = GetamConfig(**{**QUICK.model_dump(), "steps": 2})
    found = run_demo(config, tmp_path / "new" / "report", animals, overwrite=False, held_out=2, tuning=2)
    assert found == tmp_path / "new" / "report" / "index.html"
    page = found.read_text()
    assert len(re.findall("<article>", page)) == 3
    printed = capsys.readouterr()
    assert "Grad-CAM" in printed.out
    assert "Training took" in printed.out
    assert "scoring 4/4" in printed.err
    assert "training 2/2" in printed.err
    assert "cls" in printed.err


def test_labels_of_the_photo_follow_those_of_the_digits(animals: Segmenter) -> None:
    row = cat_row(animals, first_label=11)
    assert row.prediction is not None
    assert set(np.unique(row.prediction)) <= {0, 11, 12}
    assert row.truth is None


def test_the_embedded_model_finds_the_cat() -> None:
    try:
        embedded_model()
    except InputError:
        pytest.skip("this checkout carries no embedded model (src/getam/embedded/animals.safetensors)")
    net = load_model()
    row = cat_row(net, first_label=1)
    assert "cat" in row.heat_maps
    assert row.prediction is not None
    labels, counts = np.unique(row.prediction[row.prediction > 0], return_counts=True)
    assert net.classes[labels[counts.argmax()] - 1] == "cat"


def test_the_command_line_knows_its_options(capsys: pytest.CaptureFixture[str]) -> None:
    with pytest.raises(SystemExit):
        main(["demo", "--help"])
    help_text = capsys.readouterr().out
    for option in ("--out", "--seed", "--overwrite"):
        assert option in help_text
