"""The demo end to end with a few steps, what it refuses, and its scores against a slow oracle beside them."""

import builtins
import json
import re
from pathlib import Path

import numpy as np
import pytest
import torch

from getam.cli import main
from getam.data.digits import DIGIT_CLASSES, DigitScenes
from getam.engine.model import embedded_model, load_model
from getam.errors import InputError
from getam.labels.free import complete_without_saliency
from getam.maps.gradcam import gradcam
from getam.nets.segmenter import Segmenter
from getam.recipes.getam import GetamConfig
from getam.refine.crf import DEEPLAB, dense_crf
from getam.refine.scaled import refine_maps
from getam.verbs import demo as demo_verb
from getam.verbs.demo import CONFIG, demo, replacing, run_demo
from getam.verbs.demo_report import cat, cat_row, explain_photo, results_table
from getam.verbs.demo_score import METHODS, scene_batches, score

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


def test_scores_agree_with_a_slow_count(report: Path) -> None:
    net = load_model(report / "run")
    found = score(net, QUICK, seed=3, held_out=10, tuning=6)
    scenes = DigitScenes("test", 32, seed=3)
    counts = {
        "seg": np.zeros((11, 12)),
        "crf": np.zeros((11, 12)),
        "cam": np.zeros((11, 12)),
        "label": np.zeros((11, 12)),
    }
    right = exact = 0
    for index in range(10):
        scene = scenes.scene(index)
        image, tags = torch.from_numpy(scene.image).float()[None], torch.from_numpy(scene.tags)[None]
        with torch.no_grad():
            scores, logits = net(image)
        digits = tags[0].nonzero().flatten()
        threshold = found.methods["gradcam"].refined_threshold
        maps = refine_maps(image, gradcam(net, image, tags).values, iterations=QUICK.pamr_iterations)
        cam = torch.where(maps[0].amax(0) >= threshold, digits[maps[0].argmax(0)] + 1, 0)
        label = complete_without_saliency(
            maps, digits[None], image, foreground=threshold, background=threshold,
            iterations=QUICK.crf_iterations, opening=QUICK.opening or 0,
        )[0]  # fmt: skip
        crf = dense_crf(image, logits.softmax(1), parameters=DEEPLAB)[0].argmax(0)
        for name, mask in (("seg", logits[0].argmax(0)), ("crf", crf), ("cam", cam), ("label", label)):
            for true, said in zip(scene.mask.ravel().tolist(), mask.flatten().tolist()):
                counts[name][true, 11 if said == 255 else said] += 1
        agree = (scores[0] > 0) == (tags[0] > 0)
        right, exact = right + int(agree.sum()), exact + int(agree.all())
    assert found.segmentation_miou == pytest.approx(_miou(counts["seg"]))
    assert found.crf_miou == pytest.approx(_miou(counts["crf"]))
    assert found.methods["gradcam"].refined_miou == pytest.approx(_miou(counts["cam"]), abs=1e-3)
    assert found.methods["gradcam"].label_miou == pytest.approx(_miou(counts["label"]), abs=1e-3)
    assert found.tag_accuracy == pytest.approx(right / 100)
    assert found.exact_tags == pytest.approx(exact / 10)


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
