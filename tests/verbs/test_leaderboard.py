"""Systems are trained under one protocol, scored by their files, kept one by one; rows that differ by labels share."""

from __future__ import annotations

import json
import re
import shutil
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import timm
import torch
from PIL import Image
from safetensors.torch import save_file

import getam
from getam.data.masks import read_mask
from getam.engine import stages
from getam.errors import InputError
from getam.metrics.bootstrap import difference_interval, interval
from getam.metrics.confusion import ConfusionMatrix
from getam.nets.masks import segment
from getam.report.bench_photos import from_lines
from getam.verbs import leaderboard as verb
from getam.verbs import leaderboard_row
from getam.verbs.leaderboard_entry import read_entry

CNN = 'classifier[backbone=resnet10t,weights="",batch_size=3]'
ROWS = (
    f"{CNN}/gradcam:threshold",
    f"{CNN}/layercam:threshold",
    "supervised",
    "self-training",
    "getam",
    "bas",
)


@pytest.fixture(scope="module")
def tables(scenes: Path, tmp_path_factory: pytest.TempPathFactory) -> Path:
    """train.csv and test.csv of the scenes: four and two of them."""
    folder = tmp_path_factory.mktemp("tables")
    head, *lines = (scenes / "tags.csv").read_text().splitlines()
    for name, its in {"train": lines[:4], "test": lines[4:]}.items():
        (folder / f"{name}.csv").write_text("\n".join([head, *its]) + "\n")
    return folder


def run(scenes: Path, tables: Path, out: Path, **options: Any) -> dict[str, Any]:
    given = {
        "recipes": ("supervised", "getam"), "backbone": "small-hybrid", "size": 32, "batch_size": 2, "steps": 2,
        "second_steps": 3, "saliency": "none", "seed": 1, **options,
    }  # fmt: skip
    found = getam.leaderboard(
        data=scenes / "photos", tags=tables / "train.csv", test_tags=tables / "test.csv", truth=scenes / "truth",
        out=out, **given,
    )  # fmt: skip
    assert found == out
    return json.loads((out / "leaderboard.json").read_text())


@pytest.fixture(scope="module")
def done(scenes: Path, tables: Path, tmp_path_factory: pytest.TempPathFactory) -> Iterator[Path]:
    """The folder of a finished leaderboard of `ROWS`; treat it as read-only."""
    out = tmp_path_factory.mktemp("leaderboard") / "out"
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(verb, "draw_curves", lambda rows: b"<svg/>")
        run(scenes, tables, out, recipes=ROWS)
        yield out


def rows(folder: Path) -> dict[str, dict[str, Any]]:
    return {row["name"]: row for row in json.loads((folder / "leaderboard.json").read_text())["rows"]}


def entries(folder: Path) -> dict[str, Path]:
    return {name: verb.folders_of(folder, read_entry(name)).row for name in rows(folder)}


def test_the_ceiling_comes_first_and_what_does_not_fit_is_said(done: Path) -> None:
    assert list(rows(done)) == ["supervised", ROWS[0], ROWS[1], "self-training", "getam"]
    told = json.loads((done / "leaderboard.json").read_text())["not_measured"]
    assert list(told) == ["bas"]
    assert "small-hybrid" in told["bas"]
    assert "- `bas`: " in (done / "leaderboard.md").read_text()


def test_a_network_of_other_patches_than_the_second_is_followed_too(
    scenes: Path, tables: Path, tmp_path: Path
) -> None:
    """Crops of 40 suit the second stage; patches of 16 do not divide them."""
    name = 'classifier[backbone=test_vit,weights="",size=48]/gradcam:threshold'
    found = run(scenes, tables, tmp_path / "out", recipes=(name,), size=40)
    assert found["not_measured"] == {}
    assert [row["name"] for row in found["rows"]] == [name]


def test_segmentation_is_what_the_second_stage_predicts_on_the_test_photos(scenes: Path, done: Path) -> None:
    counts = {}
    for name, row in rows(done).items():
        net: Any = getam.load_model(entries(done)[name])
        matrix, each = ConfusionMatrix(2), []
        for number in (4, 5):
            pixels = np.asarray(Image.open(scenes / "photos" / f"scene{number}.png"))
            label = segment(net, torch.from_numpy(pixels.copy()).permute(2, 0, 1))
            assert np.array_equal(read_mask(entries(done)[name] / "masks" / f"scene{number}.png"), label)
            one = ConfusionMatrix(2)
            one.update(label, read_mask(scenes / "truth" / f"scene{number}.png"))
            matrix.merge(one)
            each.append(from_lines([row["photos"][number - 4]], 2)[0])
        assert row["miou"] == pytest.approx(matrix.compute().miou)
        assert row["iou"] == pytest.approx(dict(zip(("background", "blue", "red"), matrix.compute().iou)))
        counts[name] = np.stack(each)
        assert tuple(row["interval"]) == interval(counts[name])
        if name != "supervised":
            first = rows(done)["supervised"]
            assert row["compared_to"] == "supervised"
            assert row["ratio"] == pytest.approx(row["miou"] / first["miou"])
            assert row["difference"] == pytest.approx(row["miou"] - first["miou"])
            assert tuple(row["difference_interval"]) == difference_interval(
                counts[name], counts["supervised"]
            )
    assert rows(done)["supervised"]["ratio"] is None


def test_labels_are_scored_on_the_photos_they_are_of(scenes: Path, done: Path) -> None:
    found = rows(done)
    assert found["supervised"]["labels_miou"] is None
    for name, folder in {
        ROWS[0]: "1-labels",
        ROWS[1]: "1-labels",
        "self-training": "2-labels",
        "getam": "1-labels",
    }.items():
        matrix, undecided = ConfusionMatrix(2), []
        for number in range(4):
            label = read_mask(entries(done)[name] / folder / f"scene{number}.png")
            matrix.update(label, read_mask(scenes / "truth" / f"scene{number}.png"))
            undecided.append((label == 255).mean())
        assert found[name]["labels_miou"] == pytest.approx(matrix.compute().miou)
        assert found[name]["labels_iou"]["red"] == pytest.approx(matrix.compute().iou[2])
        assert found[name]["undecided"] == pytest.approx(np.mean(undecided))
        assert found[name]["labels_interval"] is not None


def test_rows_that_differ_by_their_labels_alone_share_a_network(done: Path) -> None:
    found = rows(done)
    one, other = (verb.folders_of(done, read_entry(name)) for name in ROWS[:2])
    assert one.network == other.network
    assert one.row != other.row
    assert [found[name]["labelled_by"] for name in ROWS[:2]] == ["gradcam:threshold", "layercam:threshold"]
    assert len(list((done / "networks").iterdir())) == 2  # and getam's
    assert found["getam"]["labelled_by"] == "getam+pamr:free"  # what completion is without saliency
    assert found["self-training"]["labelled_by"] == "its own stages"
    assert found["supervised"]["labelled_by"] == "true masks"


def test_every_second_stage_is_the_same(done: Path) -> None:
    for name, row in rows(done).items():
        (config,) = entries(done)[name].glob("*-second-stage/config.yaml")
        text = config.read_text()
        for line in ("backbone: small-hybrid", "steps: 3", "seed: 1", "batch_size: 2", "size: 32"):
            assert f"\n{line}\n" in text
        assert row["steps"]["second-stage"] == 3
    assert rows(done)["self-training"]["steps"] == {"getam": 2, "second-stage": 3}
    assert rows(done)[ROWS[0]]["steps"] == {"classifier": 2, "second-stage": 3}
    assert rows(done)[ROWS[0]]["options"]["batch_size"] == 3


def test_costs_and_curves(done: Path) -> None:
    for name, row in rows(done).items():
        assert row["cpu_seconds"] > 0
        assert row["megabytes"] > 0
        net: Any = getam.load_model(
            verb.folders_of(done, read_entry(name)).network if name in ROWS[:2] else entries(done)[name]
        )
        assert row["parameters"] == sum(parameter.numel() for parameter in net.parameters())
        assert [share for share, _ in row["miou_curve"]] == pytest.approx([1 / 3, 2 / 3, 1])
        assert len(row["tags_curve"]) == (3 if name == "supervised" else 2)
        assert row["miou_curve"][-1][1] == pytest.approx(row["miou"])  # both test photos are followed


def test_a_second_call_trains_nothing(
    scenes: Path, tables: Path, done: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    out = tmp_path / "out"
    shutil.copytree(done, out)
    monkeypatch.setattr(stages, "fit", lambda *_, **__: pytest.fail("trained again"))
    monkeypatch.setattr(verb, "draw_curves", lambda rows: b"<svg/>")
    again = run(scenes, tables, out, recipes=(ROWS[0], "getam"))
    assert len(again["rows"]) == 5
    with pytest.raises(InputError, match=r"another protocol \(second_steps, second_stage\.steps differ\)"):
        run(scenes, tables, out, second_steps=4)
    with pytest.raises(InputError, match=r"\(steps differ\)"):
        run(scenes, tables, out, steps=5)


def test_an_interrupted_row_goes_on(
    scenes: Path, tables: Path, done: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    out = tmp_path / "out"
    shutil.copytree(done, out)
    content = json.loads((out / "leaderboard.json").read_text())
    before = content["rows"].pop()
    (out / "leaderboard.json").write_text(json.dumps(content))
    (out / "rows" / "getam" / "masks" / "scene4.png").unlink()
    shutil.rmtree(out / "rows" / "getam" / "2-second-stage")
    trained: list[str] = []
    really = stages.fit
    monkeypatch.setattr(
        stages, "fit", lambda *given, **named: (trained.append(given[0].name), really(*given, **named))[1]
    )
    monkeypatch.setattr(verb, "draw_curves", lambda rows: b"<svg/>")
    monkeypatch.setattr(leaderboard_row, "step_cost", lambda *_: pytest.fail("planned again"))
    after = run(scenes, tables, out, recipes=("supervised", "getam"))["rows"][-1]
    assert trained.count("supervised") == 1
    assert {k: v for k, v in after.items() if k != "cpu_seconds"} == {
        k: v for k, v in before.items() if k != "cpu_seconds"
    }


def test_a_budget_is_divided_among_a_systems_own_trainings(
    scenes: Path, tables: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    from getam.engine.step_cost import StepCost

    monkeypatch.setattr(
        leaderboard_row, "step_cost", lambda recipe, config, data: StepCost(0.5, 0.25, 7_000_000, 3)
    )
    asked: list[int] = []

    def stop(contest: Any, entry: Any, folders: Any) -> Any:
        config, costs = leaderboard_row._planned(contest, entry, folders.row)
        asked.append(config.steps)
        assert costs == {"steps": config.steps, "cpu_seconds": 0.25, "megabytes": 7.0, "parameters": 3}
        raise InputError("enough")

    monkeypatch.setattr(verb, "measure_system", stop)
    names = ("getam", "self-training[rounds=2]", "getam[steps=9]")
    given = {"recipes": names, "steps": None, "budget": "6s"}
    run(scenes, tables, tmp_path / "out", **given)
    assert asked == [12, 6, 9]  # two trainings of the second count: the last one is the common second stage
    run(scenes, tables, tmp_path / "none", **{**given, "budget": None})
    assert asked[3:] == [500, 500, 9]  # as many as suit the photos


def test_some_photos_are_spread_over_all(
    scenes: Path, tables: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    seen: list[Any] = []

    def stop(contest: Any, entry: Any, folders: Any) -> Any:
        seen.append(contest)
        raise InputError("enough")

    monkeypatch.setattr(verb, "measure_system", stop)
    run(scenes, tables, tmp_path / "out", photos=2, test_photos=1, recipes=("getam",))
    assert [sample.name for sample in seen[0].train.samples] == ["scene0", "scene2"]
    assert [sample.name for sample in seen[0].test.samples] == ["scene4"]
    assert seen[0].given == {"backbone": "small-hybrid", "size": 32, "batch_size": 2, "seed": 1}
    assert seen[0].side == 320
    run(scenes, tables, tmp_path / "larger", size=320, recipes=("getam",))
    assert seen[1].side == 448
    for what in ("photos", "test_photos"):
        for count in (0, 9):
            with pytest.raises(InputError, match=f"{count} photos were asked for"):
                run(scenes, tables, tmp_path / "out", **{what: count})


def test_what_cannot_be_compared_is_refused_before_anything_is_trained(
    scenes: Path, tables: Path, tmp_path: Path
) -> None:
    def refused(match: str, **options: Any) -> None:
        with pytest.raises(InputError, match=match):
            getam.leaderboard(**{
                "data": scenes / "photos", "tags": tables / "train.csv", "test_tags": tables / "test.csv",
                "truth": scenes / "truth", "out": tmp_path / "out", "saliency": "none", **options,
            })  # fmt: skip
        assert not (tmp_path / "out").exists()

    refused("nothing to test on", test_tags=None)
    refused("choose one", steps=2, budget="2m")
    refused("2 photos are trained and tested on, the first is .*scene4", tags=tables / "test.csv")
    refused("--budget 20 is no time", budget="20")
    refused("--budget 0m is no time", budget="0m")
    refused("there is no recipe .gatem.", recipes=("gatem",))
    (tmp_path / "one.csv").write_text("image,tags\nscene0.png,blue\n")
    refused("the test photos blue, red", tags=tmp_path / "one.csv")
    masks = tmp_path / "truth"
    shutil.copytree(scenes / "truth", masks)
    (masks / "scene5.png").unlink()
    refused("1 of 2 test photos have no true mask, the first is .*scene5", truth=masks)
    (masks / "classes.txt").write_text("void\nblue\nred\n")
    refused("no background", truth=masks, tags=tables / "train.csv", test_photos=1)


def test_training_photos_without_masks_are_not_scored(
    scenes: Path, tables: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    masks = tmp_path / "truth"
    shutil.copytree(scenes / "truth", masks)
    (masks / "scene0.png").unlink()
    monkeypatch.setattr(verb, "draw_curves", lambda rows: b"<svg/>")
    out = getam.leaderboard(
        data=scenes / "photos", tags=tables / "train.csv", test_tags=tables / "test.csv", truth=masks, size=32,
        out=tmp_path / "out", recipes=("supervised", "getam/getam:threshold"), backbone="small-hybrid", steps=1,
        second_steps=1, saliency="none",
    )  # fmt: skip
    content = json.loads((out / "leaderboard.json").read_text())
    assert re.search(
        r"true masks of all photos, and .*scene0\.png has none", content["not_measured"]["supervised"]
    )
    (row,) = content["rows"]
    assert row["labels_miou"] is row["labels_iou"] is row["undecided"] is None
    assert row["compared_to"] is None


def test_times() -> None:
    assert [verb.read_time(text) for text in ("90s", "1.5h", " 2m ")] == [90, 5400, 120]


def test_records_name_the_weights_and_not_where_they_lie(
    scenes: Path, tables: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    weights = tmp_path / "somewhere" / "w.safetensors"
    weights.parent.mkdir()
    save_file(timm.create_model("test_resnet", num_classes=0).state_dict(), weights)
    monkeypatch.setattr(verb, "draw_curves", lambda rows: b"<svg/>")
    out = tmp_path / "out"
    rows = (f"classifier[backbone=test_resnet,weights={weights}]/gradcam:threshold",)
    content = run(scenes, tables, out, recipes=rows, steps=1, second_steps=1)
    assert content["rows"][0]["options"]["weights"] == "w.safetensors"
    folders = verb.folders_of(out, read_entry(rows[0]))
    for folder in (folders.network, folders.row):
        assert "\nweights: w.safetensors\n" in (folder / "config.yaml").read_text()


# Several processes


def test_shards_train_apart_and_the_end_is_the_table_of_one_call(
    scenes: Path, tables: Path, done: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(verb, "draw_curves", lambda rows: b"<svg/>")
    out, measured = tmp_path / "out", list[str]()
    measure = verb.measure_system
    monkeypatch.setattr(
        verb,
        "measure_system",
        lambda contest, entry, *a: (measured.append(entry.name), measure(contest, entry, *a))[1],
    )
    asked = ROWS[:3]
    for number in (2, 1):
        options: dict[str, Any] = {
            "recipes": asked, "backbone": "small-hybrid", "size": 32, "batch_size": 2, "steps": 2, "second_steps": 3,
            "saliency": "none", "seed": 1, "shard": f"{number}/2",
        }  # fmt: skip
        getam.leaderboard(
            data=scenes / "photos", tags=tables / "train.csv", test_tags=tables / "test.csv", truth=scenes / "truth",
            out=out, **options,
        )  # fmt: skip
    assert measured == [*ROWS[:2], "supervised"]  # what shares a network is one shard's
    assert not (out / "leaderboard.json").exists()
    assert not (out / "leaderboard.md").exists()
    found = {row["name"]: row for row in run(scenes, tables, out, recipes=asked)["rows"]}
    assert len(measured) == 3
    assert list(found) == ["supervised", *ROWS[:2]]
    costs = ("cpu_seconds", "megabytes")
    for name, row in found.items():
        assert {k: v for k, v in row.items() if k not in costs} == {
            k: v for k, v in rows(done)[name].items() if k not in costs
        }
    assert (out / "sheet.jpg").is_file()
