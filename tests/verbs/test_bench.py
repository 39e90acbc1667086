"""Rows are measured under one protocol, kept one by one, and what cannot be measured is said."""

import json
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch
from PIL import Image

import getam
from getam.cli import main
from getam.data.masks import read_mask, write_mask
from getam.errors import InputError
from getam.metrics.boundary import BoundaryScore
from getam.metrics.confusion import ConfusionMatrix
from getam.metrics.thresholds import DEFAULT_THRESHOLDS
from getam.verbs import bench as verb
from getam.verbs.bench_row import enlarge
from getam.verbs.pipeline import Pipeline, parse_pipeline

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
        assert (done / name).is_file()
        assert f"({name})" in page


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
        with pytest.raises(InputError, match=rf"another protocol \({key} differ"):
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
    monkeypatch.setattr(verb, "load_model", lambda _path: net)
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
