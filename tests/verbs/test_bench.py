"""Rows are measured under one protocol, kept one by one, and what cannot be measured is said."""

import hashlib
import json
import shutil
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch
from PIL import Image
from safetensors import safe_open
from safetensors.torch import save_file

import getam
from getam.cli import main
from getam.data.collection import Collection, Sample
from getam.data.masks import read_mask, write_mask
from getam.engine.weights_hash import weights_hash
from getam.errors import InputError
from getam.metrics.bootstrap import difference_interval, interval
from getam.metrics.boundary import BoundaryScore
from getam.metrics.confusion import ConfusionMatrix
from getam.metrics.thresholds import DEFAULT_THRESHOLDS
from getam.nets.embedded import embedded_model
from getam.pipeline import Pipeline
from getam.pipeline_text import parse_pipeline
from getam.report.bench_photos import from_lines
from getam.verbs import bench as verb
from getam.verbs.bench_row import enlarge

ROWS = ("getam", "gradcam+pamr", "getam:threshold")
SIZE = 32


def run(scenes: Path, trained: Path, out: Path, **options: Any) -> dict[str, Any]:
    given = {"compare": ROWS, "photos": 3, "perturbed": 1, "size": SIZE, **options}
    found = getam.bench(
        data=scenes / "photos",
        tags=scenes / "tags.csv",
        truth=scenes / "truth",
        model=trained,
        out=out,
        **given,
    )
    assert found == out
    return json.loads((out / "bench.json").read_text())


@pytest.fixture(autouse=True)
def _no_pictures(monkeypatch: pytest.MonkeyPatch) -> None:
    """Drawing takes longer than measuring; `done` has pictures, being made before."""
    monkeypatch.setattr(verb, "draw", lambda rows, fixed: {})


@pytest.fixture(scope="module")
def done(scenes: Path, trained: Path, tmp_path_factory: pytest.TempPathFactory) -> Path:
    """The folder of a finished bench of `ROWS` on three photos; treat it as read-only."""
    out = tmp_path_factory.mktemp("bench") / "out"
    run(scenes, trained, out)
    return out


def row(folder: Path, name: str) -> dict[str, Any]:
    return next(r for r in json.loads((folder / "bench.json").read_text())["rows"] if r["name"] == name)


def photo_and_truth(scenes: Path, number: int) -> tuple[torch.Tensor, np.ndarray, list[int]]:
    pixels = np.asarray(Image.open(scenes / "photos" / f"scene{number}.png"))
    present = [[0], [1], [0, 1]][number % 3]
    return (
        torch.from_numpy(pixels.copy()).permute(2, 0, 1),
        read_mask(scenes / "truth" / f"scene{number}.png"),
        present,
    )


def test_map_rows_agree_with_thresholding_by_hand(scenes: Path, trained: Path, done: Path) -> None:
    net: Any = getam.load_model(trained)
    assert net.classes == ("blue", "red")
    found = row(done, "gradcam+pamr")
    pipeline = parse_pipeline("gradcam+pamr", scales=(SIZE,), flip=False)
    matrix, boundary, fixed = ConfusionMatrix(2), BoundaryScore(2), ConfusionMatrix(2)
    for number in range(3):
        photo, truth, present = photo_and_truth(scenes, number)
        maps = enlarge(pipeline.maps(net, photo, present), truth.shape)
        winner = np.array(present, np.uint8)[maps.argmax(0)] + 1
        crossed = np.where(maps.max(0) >= found["thresholds"][number % 2], winner, 0)
        matrix.update(crossed, truth)
        boundary.update(crossed, truth)
        fixed.update(np.where(maps.max(0) >= 0.3, winner, 0), truth)
    scores = matrix.compute()
    assert found["miou"] == pytest.approx(scores.miou)
    assert found["false_positive_rate"] == pytest.approx(scores.false_positive_rate)
    assert found["iou"] == pytest.approx(dict(zip(("background", *net.classes), scores.iou)))
    assert found["boundary_f"] == pytest.approx(boundary.compute().f)
    assert found["miou_fixed"] == pytest.approx(fixed.compute().miou)
    assert len(found["curve"]) == len(DEFAULT_THRESHOLDS)
    assert found["peak"] == max(found["curve"])
    assert 0 <= found["deletion"] <= 1
    assert found["megabytes"] > 0
    assert found["undecided"] is None


def test_label_rows_agree_with_labelling_by_hand(scenes: Path, trained: Path, done: Path) -> None:
    net: Any = getam.load_model(trained)
    found = row(done, "getam:threshold")
    pipeline = parse_pipeline("getam:threshold", scales=(SIZE,), flip=False)
    matrix, undecided = ConfusionMatrix(2), []
    for number in range(3):
        photo, truth, present = photo_and_truth(scenes, number)
        label = pipeline.label(net, photo, present, None).numpy()
        matrix.update(label, truth)
        undecided.append((label == 255).mean())
    assert found["miou"] == pytest.approx(matrix.compute().miou)
    assert found["undecided"] == pytest.approx(np.mean(undecided))
    assert found["curve"] is None
    assert found["deletion"] is None


def test_the_folder_holds_page_and_protocol(done: Path) -> None:
    content = json.loads((done / "bench.json").read_text())
    assert content["protocol"]["photos"] == 3
    assert content["protocol"]["perturbed"] == 1
    assert content["protocol"]["classes"] == ["blue", "red"]
    assert content["not_measured"] == {}
    page = (done / "bench.md").read_text()
    for name in ROWS:
        assert f"|`{name}`|" in page


def test_pictures_are_drawn(done: Path) -> None:
    pytest.importorskip("matplotlib", reason="the pictures are an optional extra")
    page = (done / "bench.md").read_text()
    for name in ("curves.svg", "tradeoff.svg"):
        assert f"({name})" in page
        picture = (done / name).read_text()
        for row in ROWS[:2]:
            assert row in picture  # matplotlib leaves texts as comments beside their outlines
    assert ROWS[2] in picture
    assert "0.3, set beforehand" in (done / "curves.svg").read_text()


def test_without_matplotlib_the_last_line_says_what_to_install(
    scenes: Path,
    trained: Path,
    tmp_path: Path,
    monkeypatch: pytest.MonkeyPatch,
    capsys: pytest.CaptureFixture[str],
) -> None:
    monkeypatch.setattr("getam.report.bench_plots.find_spec", lambda name: None)
    run(scenes, trained, tmp_path, compare=("rollout",))
    assert "getam[bench]" in capsys.readouterr().err.splitlines()[-1]
    assert "getam[bench]" in (tmp_path / "bench.md").read_text().splitlines()[-1]
    assert not (tmp_path / "curves.svg").exists()


def test_by_default_every_method_is_measured_or_said_why_not(
    scenes: Path, trained: Path, tmp_path: Path
) -> None:
    content = run(scenes, trained, tmp_path, compare=None, perturbed=0, photos=2)
    measured = {r["name"] for r in content["rows"]}
    assert {"getam", "gradcam"} <= measured
    assert "last-stage" in content["not_measured"]
    assert measured | set(content["not_measured"]) == set(getam.maps.registry.REGISTRY)
    assert "\n" not in content["not_measured"]["last-stage"]
    assert "- `last-stage`: " in (tmp_path / "bench.md").read_text()


def test_only_rows_that_are_not_there_are_measured(
    scenes: Path, trained: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    measured = []

    def measure(subject: Any, name: str, *given: Any, **options: Any) -> Any:
        if name == "rollout" and name not in measured:
            measured.append(name)
            raise KeyboardInterrupt
        measured.append(name)
        return original(subject, name, *given, **options)

    original = verb.measure_row
    monkeypatch.setattr(verb, "measure_row", measure)
    rows = ("gradcam", "rollout")
    with pytest.raises(KeyboardInterrupt):
        run(scenes, trained, tmp_path, compare=rows, perturbed=0)
    assert [r["name"] for r in json.loads((tmp_path / "bench.json").read_text())["rows"]] == ["gradcam"]
    content = run(scenes, trained, tmp_path, compare=rows, perturbed=0)
    assert measured == ["gradcam", "rollout", "rollout"]
    assert [r["name"] for r in content["rows"]] == ["gradcam", "rollout"]

    with pytest.raises(InputError, match=r"measured under another protocol \(fixed_threshold differ"):
        run(scenes, trained, tmp_path, compare=rows, perturbed=0, fixed=0.4)
    content = run(scenes, trained, tmp_path, compare=("gradcam",), perturbed=0, fixed=0.4, overwrite=True)
    assert [r["name"] for r in content["rows"]] == ["gradcam"]


def sha(*parts: bytes) -> str:
    return hashlib.sha256(b"".join(parts)).hexdigest()


def listed(content: dict[str, str]) -> str:
    """sha256 of names with what belongs to each: the digest of a data set's files, or of its tags."""
    return sha(*(f"{json.dumps([name, its])}\n".encode() for name, its in content.items()))


def files(folder: Path, count: int = 3) -> dict[str, str]:
    names = [f"scene{number}" for number in range(count)]
    return {name: sha((folder / f"{name}.png").read_bytes()) for name in names}


def test_the_protocol_names_everything_by_content(scenes: Path, trained: Path, done: Path) -> None:
    protocol = json.loads((done / "bench.json").read_text())["protocol"]
    tags = {"scene0": '["blue"]', "scene1": '["red"]', "scene2": '["blue", "red"]'}
    expected = {
        "photos": 3, "split": None, "ids_sha256": sha(b"scene0\nscene1\nscene2\n"),
        "tags_sha256": listed(tags), "photos_sha256": listed(files(scenes / "photos")),
        "truth_sha256": listed(files(scenes / "truth")),
        "saliency_sha256": None, "classes": ["blue", "red"], "background": [], "tags_at_test_time": True,
        "size": SIZE, "flip": False, "fixed_threshold": 0.3, "boundary_tolerance": 0.0075, "perturbed": 1,
        "deletion_steps": 16, "deletion_blur": 10 / 224, "threads": 1, "weights_sha256": weights_hash(trained),
        "intervals": {"method": "percentile bootstrap over photos", "resamples": 2000, "level": 0.95, "seed": 0},
        "threshold_rule": "sorted ids dealt into two halves; the best threshold of each half scores the other one",
    }  # fmt: skip
    assert {key: protocol[key] for key in expected} == expected
    assert "started" not in protocol["environment"]
    assert "torch" in protocol["environment"]["versions"]


def copy_scenes(scenes: Path, copy: Path) -> Path:
    shutil.copytree(scenes, copy)
    (copy / "saliency").mkdir()
    random = np.random.default_rng(0)
    for number in range(6):
        pixels = random.choice([0, 255], (40, 48)).astype(np.uint8)
        Image.fromarray(pixels).save(copy / "saliency" / f"scene{number}.png")
    return copy


@pytest.fixture
def copied(scenes: Path, tmp_path: Path) -> Path:
    """The scenes in a folder that may be changed, with a saliency map each."""
    return copy_scenes(scenes, tmp_path / "scenes")


@pytest.fixture(scope="module")
def done_with_saliency(scenes: Path, trained: Path, tmp_path_factory: pytest.TempPathFactory) -> bytes:
    """bench.json of one row on the scenes as `copied`."""
    folder = copy_scenes(scenes, tmp_path_factory.mktemp("saliency") / "scenes")
    out = folder.parent / "out"
    run(folder, trained, out, saliency=folder / "saliency", compare=("gradcam",))
    return (out / "bench.json").read_bytes()


def exchange_tags(folder: Path, options: dict[str, Any]) -> None:
    text = (folder / "tags.csv").read_text()
    (folder / "tags.csv").write_text(text.replace("scene0.png,blue", "scene0.png,red"))


def exchange_truth(folder: Path, options: dict[str, Any]) -> None:
    label = read_mask(folder / "truth" / "scene2.png")
    write_mask(folder / "truth" / "scene2.png", label[::-1])


def exchange_saliency(folder: Path, options: dict[str, Any]) -> None:
    Image.new("L", (48, 40)).save(folder / "saliency" / "scene1.png")


def retrain(folder: Path, options: dict[str, Any]) -> None:
    trained, options["model"] = options["model"], folder / "run"
    shutil.copytree(trained, folder / "run")
    net: Any = getam.load_model(folder / "run")
    with torch.no_grad():
        next(net.parameters()).add_(1)
    file = folder / "run" / "model.safetensors"
    with safe_open(file, "pt") as opened:
        metadata = opened.metadata()
    save_file({name: value.contiguous() for name, value in net.state_dict().items()}, file, metadata)


@pytest.mark.parametrize(
    ("change", "keys"),
    [
        (exchange_tags, "tags_sha256"),
        (exchange_truth, "truth_sha256"),
        (exchange_saliency, "saliency_sha256"),
        (retrain, "weights_sha256"),
        ({"saliency": None}, "saliency_sha256"),
        ({"photos": 4}, "photos, ids_sha256, tags_sha256, truth_sha256, saliency_sha256"),
        ({"size": 48}, "size"),
        ({"fixed": 0.31}, "fixed_threshold"),
        ({"perturbed": 0}, "perturbed"),
        ({"classes": ("red", "blue")}, "classes"),
    ],
)
def test_what_was_measured_otherwise_is_not_continued(
    copied: Path, trained: Path, done_with_saliency: bytes, change: Any, keys: str
) -> None:
    out = copied.parent / "out"
    out.mkdir()
    (out / "bench.json").write_bytes(done_with_saliency)
    options: dict[str, Any] = {"saliency": copied / "saliency", "compare": ("gradcam",), "model": trained}
    if callable(change):
        change(copied, options)
    else:
        options |= change
    with pytest.raises(InputError, match="measured under another protocol") as caught:
        run(copied, options.pop("model"), out, **options)
    said = str(caught.value).partition("(")[2].partition(" differ")[0].split(", ")
    assert set(said) >= set(keys.split(", "))
    assert (out / "bench.json").read_bytes() == done_with_saliency


def test_what_was_measured_alike_is_continued(
    copied: Path, trained: Path, done_with_saliency: bytes, monkeypatch: pytest.MonkeyPatch
) -> None:
    out = copied.parent / "out"
    out.mkdir()
    (out / "bench.json").write_bytes(done_with_saliency)
    monkeypatch.setattr(verb, "measure_row", None)
    content = run(copied, trained, out, saliency=copied / "saliency", compare=("gradcam",))
    assert content == json.loads(done_with_saliency)


def by_hand(folder: Path, trained: Path, numbers: list[int], size: int = SIZE) -> float:
    """mIoU of the row gradcam:threshold on these photos."""
    net, matrix = getam.load_model(trained), ConfusionMatrix(2)
    pipeline = parse_pipeline("gradcam:threshold", scales=(size,), flip=False)
    for number in numbers:
        photo, truth, present = photo_and_truth(folder, number)
        matrix.update(pipeline.label(net, photo, present, None).numpy(), truth)
    return matrix.compute().miou


@pytest.mark.parametrize(
    ("options", "numbers", "size"),
    [
        ({"photos": None}, [0, 1, 2, 3, 4, 5], SIZE),
        ({"photos": 4}, [0, 1, 2, 3], SIZE),
        ({"split": "some", "photos": None}, [1, 4, 5], SIZE),
        ({"split": "some", "photos": 2}, [1, 4], SIZE),
        ({"size": 64}, [0, 1, 2], 64),
    ],
)
def test_photos_split_and_size_choose_what_is_measured(
    copied: Path, trained: Path, options: dict[str, Any], numbers: list[int], size: int
) -> None:
    (copied / "photos" / "some.txt").write_text("scene5\nscene1\nscene4\n")
    out = copied.parent / "out"
    content = run(copied, trained, out, compare=("gradcam:threshold",), **options)
    assert row(out, "gradcam:threshold")["miou"] == by_hand(copied, trained, numbers, size)
    assert content["protocol"]["photos"] == len(numbers)
    assert content["protocol"]["split"] == options.get("split")
    assert content["protocol"]["ids_sha256"] == sha(*(f"scene{number}\n".encode() for number in numbers))


@pytest.mark.parametrize(
    ("options", "other"),
    [({"background": ("red",)}, 0), ({}, 255)],
    ids=["counts as background", "is ignored"],
)
def test_a_class_that_is_not_scored(copied: Path, trained: Path, options: dict[str, Any], other: int) -> None:
    out = copied.parent / "out"
    content = run(
        copied, trained, out, compare=("gradcam:threshold",), classes=("blue",), photos=6, **options
    )
    net, matrix = getam.load_model(trained), ConfusionMatrix(1)
    pipeline = parse_pipeline("gradcam:threshold", scales=(SIZE,), flip=False)
    for number in range(6):
        photo, truth, present = photo_and_truth(copied, number)
        blue = [c for c in present if c == 0]
        matrix.update(pipeline.label(net, photo, blue, None).numpy(), np.where(truth == 2, other, truth))
    assert content["rows"][0]["miou"] == matrix.compute().miou
    assert content["protocol"]["classes"] == ["blue"]
    assert content["protocol"]["background"] == list(options.get("background", ()))


def test_a_class_that_the_model_does_not_know_is_named(copied: Path, trained: Path) -> None:
    for file in (copied / "tags.csv", copied / "truth" / "classes.txt"):
        file.write_text(file.read_text().replace("red", "green"))
    with pytest.raises(InputError, match="does not know the class 'green': it knows blue, red"):
        run(copied, trained, copied.parent / "out", classes=("blue", "green"))


def test_one_photo_cannot_judge_itself(copied: Path, trained: Path) -> None:
    (copied / "photos" / "one.txt").write_text("scene3\n")
    with pytest.raises(InputError, match="there is one photo only"):
        run(copied, trained, copied.parent / "out", split="one", photos=None)


def test_rules_for_one_tag_a_photo_are_refused_where_photos_have_several(copied: Path, trained: Path) -> None:
    """Of the chosen photos, not of all: the first two have one tag each."""
    content = run(copied, trained, copied.parent / "out", compare=("rollout:threshold",), photos=2)
    assert [r["name"] for r in content["rows"]] == ["rollout:threshold"]
    with pytest.raises(InputError, match="rollout gives all tags of a photo the same map"):
        run(copied, trained, copied.parent / "other", compare=("rollout:threshold",), photos=3)
    assert run(copied, trained, copied.parent / "maps", compare=("rollout",), photos=3)["rows"]


def test_saliency_maps_reach_the_labeller(copied: Path, trained: Path) -> None:
    out = copied.parent / "out"
    given = {"compare": ("gradcam:completion",), "perturbed": 0}
    found = run(copied, trained, out, saliency=copied / "saliency", **given)
    assert [r["name"] for r in found["rows"]] == ["gradcam:completion"]
    net, matrix = getam.load_model(trained), ConfusionMatrix(2)
    pipeline = parse_pipeline("gradcam:completion", scales=(SIZE,), flip=False)
    for number in range(3):
        photo, truth, present = photo_and_truth(copied, number)
        saliency = np.asarray(Image.open(copied / "saliency" / f"scene{number}.png")) / np.float32(255)
        matrix.update(pipeline.label(net, photo, present, torch.from_numpy(saliency)).numpy(), truth)
    assert found["rows"][0]["miou"] == matrix.compute().miou
    assert found["protocol"]["saliency_sha256"] == listed(files(copied / "saliency"))


def test_tags_lie_with_the_photos_when_left_out(copied: Path, trained: Path) -> None:
    lines = (copied / "tags.csv").read_text().replace("scene0.png,blue", "scene0.png,red")
    (copied / "photos" / "tags.csv").write_text(lines)
    given = {"data": copied / "photos", "truth": copied / "truth", "model": trained, "compare": ("gradcam",)}
    getam.bench(out=copied.parent / "a", photos=2, size=SIZE, **given)
    getam.bench(out=copied.parent / "b", photos=2, size=SIZE, tags=copied / "tags.csv", **given)
    hashes = [
        json.loads((copied.parent / name / "bench.json").read_text())["protocol"]["tags_sha256"]
        for name in ("a", "b")
    ]
    assert hashes == [listed({"scene0": f'["{tag}"]', "scene1": '["red"]'}) for tag in ("red", "blue")]


def test_without_a_model_the_embedded_one_is_measured(copied: Path) -> None:
    for file in (copied / "tags.csv", copied / "truth" / "classes.txt"):
        file.write_text(file.read_text().replace("blue", "cat").replace("red", "dog"))
    getam.bench(
        data=copied / "photos", tags=copied / "tags.csv", truth=copied / "truth", classes=("cat", "dog"),
        out=copied.parent / "out", compare=("gradcam",), photos=2, perturbed=0, size=64,
    )  # fmt: skip
    content = json.loads((copied.parent / "out" / "bench.json").read_text())
    assert content["protocol"]["weights_sha256"] == weights_hash(embedded_model())
    assert content["rows"][0]["name"] == "gradcam"


@pytest.mark.parametrize(
    ("count", "chosen"),
    [(0, []), (1, [0]), (2, [0, 2]), (3, [0, 1, 2]), (4, [0, 1, 2, 3]), (9, [0, 1, 2, 3])],
)
def test_perturbed_photos_are_spread_evenly_over_those_with_tags(count: int, chosen: list[int]) -> None:
    named = [Sample(f"p{number}", Path(f"p{number}.jpg"), ("cat",)) for number in range(4)]
    samples = (named[0], Sample("bare", Path("bare.jpg"), ()), *named[1:])
    assert verb._perturbed(Collection(("cat",), samples), count) == {f"p{number}" for number in chosen}


def test_every_row_has_its_difference_to_the_row_measured_first(done: Path) -> None:
    first, *others = json.loads((done / "bench.json").read_text())["rows"]
    assert first["name"] == ROWS[0]
    assert (first["compared_to"], first["difference"], first["difference_interval"]) == (None, None, None)
    theirs = from_lines(first["photos"], 2)
    for other in others:
        assert other["compared_to"] == ROWS[0]
        assert other["difference"] == pytest.approx(other["miou"] - first["miou"])
        expected = difference_interval(from_lines(other["photos"], 2), theirs)
        assert other["difference_interval"] == list(expected or ())
        assert other["interval"] == list(interval(from_lines(other["photos"], 2)) or ())
    page = (done / "bench.md").read_text()
    assert page.count(f"|− `{ROWS[0]}`|") == 2
    low, high = (100 * end for end in first["interval"])
    assert f"{100 * first['miou']:.1f}" in page
    assert f" [{low:.1f}, {high:.1f}]|—|" in page


def test_a_row_that_comes_later_is_compared_to_the_same_one(
    scenes: Path, trained: Path, done: Path, tmp_path: Path
) -> None:
    shutil.copytree(done, tmp_path / "out")
    content = run(scenes, trained, tmp_path / "out", compare=("rollout", ROWS[1]))
    assert [r["name"] for r in content["rows"]] == [*ROWS, "rollout"]
    last = content["rows"][-1]
    assert last["compared_to"] == ROWS[0]
    assert last["difference"] == pytest.approx(last["miou"] - content["rows"][0]["miou"])


@pytest.mark.parametrize("lost", ["interval", "photos"])
def test_results_without_intervals_are_refused(
    scenes: Path, trained: Path, done: Path, tmp_path: Path, lost: str
) -> None:
    content = json.loads((done / "bench.json").read_text())
    for each in content["rows"]:
        del each[lost]
    (tmp_path / "bench.json").write_text(json.dumps(content))
    with pytest.raises(InputError, match=r"bench\.json was not written by this version"):
        run(scenes, trained, tmp_path)


def test_unreadable_counts_are_refused(scenes: Path, trained: Path, done: Path, tmp_path: Path) -> None:
    content = json.loads((done / "bench.json").read_text())
    for broken in (["0:1/x", "", ""], ["9:1/2", "", ""], [7, 7, 7], None, 5):
        content["rows"][1]["photos"] = broken
        (tmp_path / "bench.json").write_text(json.dumps(content))
        with pytest.raises(InputError, match=r"bench\.json was not written by this version"):
            run(scenes, trained, tmp_path)


def test_a_file_in_place_of_the_folder_is_named(scenes: Path, trained: Path, tmp_path: Path) -> None:
    (tmp_path / "out").write_text("mine")
    with pytest.raises(InputError, match="out is a file: give a folder"):
        run(scenes, trained, tmp_path / "out")


def values_otherwise(protocol: dict[str, Any]) -> list[tuple[str, dict[str, Any]]]:
    """Protocols that differ in one value, or lack one key, or have one more."""
    changed = [(key, {**protocol, key: "something else"}) for key in protocol]
    lacking = [(key, {k: v for k, v in protocol.items() if k != key}) for key in protocol]
    return [*changed, *lacking, ("mirrored", {**protocol, "mirrored": None})]


def test_no_part_of_the_protocol_may_differ(scenes: Path, trained: Path, done: Path, tmp_path: Path) -> None:
    results = tmp_path / "bench.json"
    before = json.loads((done / "bench.json").read_text())
    for key, protocol in values_otherwise(before["protocol"]):
        text = json.dumps({**before, "protocol": protocol})
        results.write_text(text)
        with pytest.raises(InputError, match=rf"another protocol \({key}[\w.,\- ]* differ"):
            verb._Results(tmp_path, before["protocol"], overwrite=False)
        assert results.read_text() == text
    results.write_text(json.dumps(before))
    assert list(verb._Results(tmp_path, before["protocol"], overwrite=False).rows) == list(ROWS)
    assert not verb._Results(tmp_path, {}, overwrite=True).rows


@pytest.mark.parametrize("labels", ["", ":threshold"])
def test_a_network_that_has_diverged_is_said_and_not_scored(
    scenes: Path, trained: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch, labels: str
) -> None:
    net = getam.load_model(trained)
    with torch.no_grad():
        next(net.parameters()).fill_(float("nan"))
    monkeypatch.setattr(verb, "load_model", lambda _path, **_options: net)
    monkeypatch.setattr(Pipeline, "check", lambda *_given, **_options: None)
    content = run(scenes, trained, tmp_path, compare=("gradcam" + labels,), perturbed=0)
    assert content["rows"] == []
    assert "not finite" in content["not_measured"]["gradcam" + labels]


def test_maps_that_are_not_finite_are_said_and_not_scored(
    scenes: Path, trained: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    def maps(*given: Any) -> torch.Tensor:
        found = original(*given)
        found[..., 0, 0] = float("nan")
        return found

    original = Pipeline.maps
    monkeypatch.setattr(Pipeline, "maps", maps)
    content = run(scenes, trained, tmp_path, compare=("gradcam",), perturbed=0)
    assert content["rows"] == []
    assert "scene0.png: the network's scores or its maps are not finite" in content["not_measured"]["gradcam"]


def test_a_photo_without_tags_is_background(scenes: Path, trained: Path, tmp_path: Path) -> None:
    lines = (scenes / "tags.csv").read_text().splitlines()
    (tmp_path / "tags.csv").write_text("\n".join([*lines[:3], "scene2.png,", *lines[4:]]) + "\n")
    getam.bench(
        data=scenes / "photos", tags=tmp_path / "tags.csv", truth=scenes / "truth", model=trained, out=tmp_path / "o",
        compare=("gradcam", "gradcam:threshold"), photos=3, perturbed=5, size=SIZE,
    )  # fmt: skip
    found = row(tmp_path / "o", "gradcam:threshold")
    assert found["false_negative_rate"] > 0
    assert json.loads((tmp_path / "o" / "bench.json").read_text())["protocol"]["perturbed"] == 2


def test_completion_without_saliency_is_called_what_it_is(
    scenes: Path, trained: Path, tmp_path: Path
) -> None:
    content = run(scenes, trained, tmp_path, compare=("getam+pamr:completion",), photos=2)
    assert [r["name"] for r in content["rows"]] == ["getam+pamr:free"]


@pytest.mark.parametrize(
    ("options", "message"),
    [
        ({"compare": ("getam", "gradcamm")}, "no map method 'gradcamm'"),
        ({"compare": ("getam+pamr+walk-afa",)}, "put walk-afa first"),
        ({"compare": ("getam:saliency-fusion",)}, "need saliency maps"),
        ({"compare": ("rollout:threshold",)}, "rollout gives all tags of a photo the same map"),
        ({"compare": ("getam", "last-stage")}, "--compare last-stage: the last attention is 17×17"),
        ({"compare": ()}, "names no row"),
        ({"fixed": 0.333}, "--fixed 0.333 must be one of"),
        ({"photos": 1}, "at least two"),
        ({"size": 0}, "--size 0 must be positive"),
        ({"perturbed": -1}, "--perturbed -1 not negative"),
        ({"background": ("sky",)}, "'sky' cannot count as background"),
        ({"classes": ("blue", "green")}, "green"),
    ],
)
def test_what_cannot_work_is_said_before_anything_is_measured(
    scenes: Path, trained: Path, tmp_path: Path, options: dict[str, Any], message: str
) -> None:
    with pytest.raises(getam.GetamError, match=message) as caught:
        run(scenes, trained, tmp_path / "out", **options)
    assert "\n" not in str(caught.value)
    assert not (tmp_path / "out").exists()


def test_masks_must_be_complete_and_have_background(scenes: Path, trained: Path, tmp_path: Path) -> None:
    (tmp_path / "truth").mkdir()
    for number in range(2):
        write_mask(
            tmp_path / "truth" / f"scene{number}.png", read_mask(scenes / "truth" / f"scene{number}.png")
        )
    given = {
        "data": scenes / "photos",
        "tags": scenes / "tags.csv",
        "model": trained,
        "out": tmp_path / "out",
    }
    (tmp_path / "truth" / "classes.txt").write_text("background\nblue\nred\n")
    with pytest.raises(InputError, match=r"4 of 6 photos have no true mask, the first is .*scene2\.png"):
        getam.bench(truth=tmp_path / "truth", **given)
    (tmp_path / "truth" / "classes.txt").write_text("void\nblue\nred\n")
    with pytest.raises(InputError, match="the true masks have no background"):
        getam.bench(truth=tmp_path / "truth", photos=2, **given)
    with pytest.raises(InputError, match="no true mask"):
        getam.bench(**given)
    (tmp_path / "out").mkdir()
    (tmp_path / "out" / "bench.json").write_text("{}")
    with pytest.raises(InputError, match=r"bench\.json was not written by this version"):
        run(scenes, trained, tmp_path / "out")


def test_the_command_line_takes_rows_with_commas(scenes: Path, trained: Path, tmp_path: Path) -> None:
    arguments = ["bench", "--data", str(scenes / "photos"), "--tags", str(scenes / "tags.csv"), "--truth",
                 str(scenes / "truth"), "--model", str(trained), "--out", str(tmp_path), "--size", "32", "--photos",
                 "2", "--perturbed", "0", "--compare", "rollout,gradcam:threshold"]  # fmt: skip
    assert main(arguments) == 0
    rows = json.loads((tmp_path / "bench.json").read_text())["rows"]
    assert [r["name"] for r in rows] == ["rollout", "gradcam:threshold"]


def test_photos_of_other_content_are_another_protocol(scenes: Path, trained: Path, tmp_path: Path) -> None:
    """Noise under the names of the photos, other tags, other masks: none of them goes into one table with the first."""
    shutil.copytree(scenes, tmp_path / "scenes")
    given: dict[str, Any] = {"compare": ("gradcam",), "perturbed": 0}
    run(tmp_path / "scenes", trained, tmp_path / "out", **given)
    photo = tmp_path / "scenes" / "photos" / "scene1.png"
    before = photo.read_bytes()
    Image.fromarray(np.random.default_rng(0).integers(0, 255, (40, 48, 3), dtype=np.uint8)).save(photo)
    with pytest.raises(InputError, match=r"measured under another protocol \(photos_sha256 differ"):
        run(tmp_path / "scenes", trained, tmp_path / "out", **given)
    photo.write_bytes(before)
    run(tmp_path / "scenes", trained, tmp_path / "out", **given)
    mask = tmp_path / "scenes" / "truth" / "scene1.png"
    before = mask.read_bytes()
    write_mask(mask, np.zeros((40, 48), np.uint8))
    with pytest.raises(InputError, match=r"\(truth_sha256 differ"):
        run(tmp_path / "scenes", trained, tmp_path / "out", **given)
    mask.write_bytes(before)
    tags = tmp_path / "scenes" / "tags.csv"
    tags.write_text(tags.read_text().replace("scene0.png,blue", "scene0.png,red"))
    with pytest.raises(InputError, match=r"\(tags_sha256 differ"):
        run(tmp_path / "scenes", trained, tmp_path / "out", **given)


def test_results_without_the_content_of_the_photos_are_refused(
    scenes: Path, trained: Path, done: Path, tmp_path: Path
) -> None:
    shutil.copytree(done, tmp_path / "out")
    content = json.loads((done / "bench.json").read_text())
    del content["protocol"]["photos_sha256"]
    (tmp_path / "out" / "bench.json").write_text(json.dumps(content))
    with pytest.raises(InputError, match=r"measured under another protocol \(photos_sha256 differ"):
        run(scenes, trained, tmp_path / "out")


# Several processes


def test_shards_of_rows_and_the_end_make_one_table(
    scenes: Path, trained: Path, tmp_path: Path, done: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    measured = list[str]()
    measure = verb.measure_row
    monkeypatch.setattr(
        verb,
        "measure_row",
        lambda subject, name, *a, **o: (measured.append(name), measure(subject, name, *a, **o))[1],
    )
    out = tmp_path / "out"
    for number in (3, 2):
        getam.bench(
            data=scenes / "photos", tags=scenes / "tags.csv", truth=scenes / "truth", model=trained, out=out,
            compare=ROWS, photos=3, perturbed=1, size=SIZE, shard=f"{number}/3",
        )  # fmt: skip
        assert (out / f"bench-{number}-of-3.json").is_file()
    assert measured == [ROWS[2], ROWS[1]]
    assert not (out / "bench.json").exists()
    assert not (out / "bench.md").exists()
    with pytest.raises(InputError, match="--overwrite would forget what other shards measure"):
        getam.bench(
            data=scenes / "photos", tags=scenes / "tags.csv", truth=scenes / "truth", model=trained, out=out,
            compare=ROWS, photos=3, perturbed=1, size=SIZE, shard="1/3", overwrite=True,
        )  # fmt: skip
    found = run(scenes, trained, out)
    assert measured == [ROWS[2], ROWS[1], ROWS[0]]
    assert [row["name"] for row in found["rows"]] == list(ROWS)
    whole = json.loads((done / "bench.json").read_text())
    for row, expected in zip(found["rows"], whole["rows"], strict=True):
        for key in ("miou", "interval", "photos", "compared_to", "difference", "difference_interval"):
            assert row[key] == expected[key]
    assert (out / "bench.md").is_file()
    assert [file.name for file in out.glob("bench*.json")] == ["bench.json"]
    assert run(scenes, trained, out) == found
    (out / "bench.json").rename(out / "bench-1-of-2.json")
    again = run(scenes, trained, out, compare=ROWS[1:2])  # rows that were asked for before stay
    assert [row["name"] for row in again["rows"]] == [ROWS[1], ROWS[0], ROWS[2]]
