"""`getam label --calibrate`: thresholds that true masks ask for are found, used, recorded and repeatable."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch
import yaml
from PIL import Image

import getam
import tiny
from getam.data.confidences import read_confidences
from getam.data.masks import read_mask, write_classes, write_mask
from getam.data.photos import as_tensor, read_photo
from getam.engine.model_file import save_model
from getam.errors import InputError
from getam.metrics.cross_validation import CrossValidated
from getam.pipeline import Pipeline
from getam.pipeline_text import parse_pipeline
from getam.verbs.calibrate import Calibration
from getam.verbs.label import label

PLAIN: dict[str, Any] = {"scales": (48,), "flip": False, "refine": (), "labels": "threshold"}
PHOTOS = 9
WANTED = {"high": 0.7, "low": 0.7}


@pytest.fixture
def data(trained: Path, tmp_path: Path) -> dict[str, Any]:
    """Nine photos of coloured blots, of which the last has no tag, and a model that sees them."""
    photos = tmp_path / "photos"
    photos.mkdir()
    random = np.random.default_rng(4)
    for index in range(PHOTOS):
        blots = Image.fromarray(random.integers(0, 255, (5, 6, 3)).astype(np.uint8))
        blots.resize((48, 40), Image.Resampling.BICUBIC).save(photos / f"scene{index}.png")
    config = yaml.safe_load((trained / "config.yaml").read_text())
    save_model(tmp_path / "awake.safetensors", tiny.awake(getam.load_model(trained)), config)
    tags = "".join(
        f"scene{index}.png,{'' if index == PHOTOS - 1 else ('red', 'red;blue')[index % 2]}\n"
        for index in range(PHOTOS)
    )
    (photos / "tags.csv").write_text(f"image,tags\n{tags}")
    return {"data": photos, "model": tmp_path / "awake.safetensors"}


def truths(data: dict[str, Any], folder: Path, options: dict[str, float], photos: int = PHOTOS) -> Path:
    """True masks: what the rule makes with those options; class list in another order than the model's."""
    net = getam.load_model(data["model"])  # blue is 0, red 1
    pipeline = Pipeline("getam", (), "threshold", (48,), False, label_options=options)
    write_classes(folder, ("red", "blue"))
    for index in range(photos):
        present = [] if index == PHOTOS - 1 else ([1], [0, 1])[index % 2]
        photo = as_tensor(read_photo(data["data"] / f"scene{index}.png"))
        made = pipeline.label(net, photo, present, None).numpy()
        write_mask(folder / f"scene{index}.png", np.array([0, 2, 1] + [255] * 253, np.uint8)[made])
    return folder


def test_thresholds_that_are_clearly_better_are_used_recorded_and_repeatable(
    data: dict[str, Any], tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    true = truths(data, tmp_path / "true", WANTED)
    out = label(out=tmp_path / "out", calibrate=true, **data, **PLAIN)
    said = capsys.readouterr().err
    assert f"{PHOTOS} true masks; best on all of them: threshold[high=0.7,low=0.7]" in said
    assert "mIoU 1.000 cross-validated" in said
    assert "chance alone gives as much in" in said
    assert "they are used" in said
    assert '--labels "threshold[high=0.7,low=0.7]"' in said
    record = json.loads((out / "protocol.jsonl").read_text())
    assert record["options"]["labels"] == "threshold[high=0.7,low=0.7]"
    assert record["calibration"]["masks"] == PHOTOS
    assert record["calibration"]["best_on_all"] == WANTED
    assert record["calibration"]["miou_cross_validated"] == 1
    assert record["calibration"]["chance"] <= 0.05
    again = label(out=tmp_path / "again", **data, **{**PLAIN, "labels": record["options"]["labels"]})
    plain = label(out=tmp_path / "plain", **data, **PLAIN)
    differs = 0
    for index in range(PHOTOS):
        mask = read_mask(out / f"scene{index}.png")
        np.testing.assert_array_equal(mask, read_mask(again / f"scene{index}.png"))
        differs += (mask != read_mask(plain / f"scene{index}.png")).any()
    assert differs
    assert "calibration" not in json.loads((plain / "protocol.jsonl").read_text())


def test_few_masks_and_good_defaults_keep_the_defaults(
    data: dict[str, Any], tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    few = truths(data, tmp_path / "few", WANTED, photos=4)
    out = label(out=tmp_path / "a", calibrate=few, **data, **PLAIN)
    assert "fewer than 6 masks cannot show that other thresholds are better" in capsys.readouterr().err
    assert json.loads((out / "protocol.jsonl").read_text())["options"]["labels"] == "threshold"
    same = truths(data, tmp_path / "same", {})
    label(out=tmp_path / "b", calibrate=same, **data, **PLAIN)
    said = capsys.readouterr().err
    assert "is not sure: the defaults are kept" in said
    assert '--labels "threshold"' in said


@pytest.mark.parametrize(
    ("photos", "interval", "chance", "used"),
    [(6, (0.01, 0.1), 0.05, True), (5, (0.01, 0.1), 0.05, False), (6, (-0.01, 0.1), 0.01, False),
     (6, (0.0, 0.1), 0.01, False), (6, (-0.2, -0.1), 0.01, False), (6, None, 0.01, False),
     (6, (0.01, 0.1), 0.051, False)],
)  # fmt: skip
def test_what_is_used(photos: int, interval: tuple[float, float] | None, chance: float, used: bool) -> None:
    found = CrossValidated(1, (1,) * photos, 0.5, 0.6, 0.4, interval, chance)
    made = Calibration("free", {"foreground": 0.4}, photos, found)
    assert made.used == ({"foreground": 0.4} if used else {})


def test_maps_are_made_once_a_photo(
    data: dict[str, Any], tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    true = truths(data, tmp_path / "true", {})
    calls, maps = [], Pipeline.maps

    def counted(self: Pipeline, *given: Any, **named: Any) -> Any:
        calls.append(1)
        return maps(self, *given, **named)

    monkeypatch.setattr(Pipeline, "maps", counted)
    label(out=tmp_path / "plain", **data, **PLAIN)
    plain = len(calls)
    calls.clear()
    label(out=tmp_path / "out", calibrate=true, **data, **PLAIN)
    assert len(calls) == plain + PHOTOS - 1  # the photo without a tag has none


def test_bad_masks_get_one_sentence_each(data: dict[str, Any], tmp_path: Path) -> None:
    true = truths(data, tmp_path / "true", {})

    def refused(message: str, **options: Any) -> None:
        with pytest.raises(InputError, match=message):
            label(out=tmp_path / "out", calibrate=true, **data, **{**PLAIN, **options})
        assert not (tmp_path / "out").exists()

    refused(r"leave one of them out", labels="threshold[high=0.5]")
    with pytest.raises(InputError, match="does not exist or is no folder"):
        label(out=tmp_path / "out", calibrate=tmp_path / "nowhere", **data, **PLAIN)
    write_mask(true / "other.png", np.zeros((40, 48), np.uint8))
    refused(r"1 of 10 masks in .*true belong to no tagged photo, the first is other\.png: call masks like")
    (true / "other.png").unlink()
    write_mask(true / "scene0.png", np.zeros((20, 48), np.uint8))
    refused(r"scene0\.png is 48×20 but its photo is 48×40")
    write_mask(true / "scene0.png", np.full((40, 48), 9, np.uint8))
    refused(r"scene0\.png: label 9 is beyond the 2 classes")
    write_classes(true, ("red", "green"))
    refused(r"know red, green but not 'blue', with which photos are tagged: complete its classes\.txt")
    for index in range(1, PHOTOS):
        (true / f"scene{index}.png").unlink()
    refused(r"holds 1 masks, and cross-validation needs 2 at least")


def test_a_pipeline_with_numbers_is_read_as_it_is_written() -> None:
    text = "acr[start=9]+par:free[foreground=0.4,background=0.3]"
    pipeline = parse_pipeline(text)
    assert pipeline.label_options == {"foreground": 0.4, "background": 0.3}
    assert str(pipeline) == text
    for wrong in ("getam:free[foreground=1", "getam:free[", "getam:free[x=1]", "getam:free]"):
        with pytest.raises(InputError):
            parse_pipeline(wrong)


def test_saliency_has_a_level_of_its_own(data: dict[str, Any]) -> None:
    net = getam.load_model(data["model"])
    photo = as_tensor(read_photo(data["data"] / "scene0.png"))
    saliency = torch.linspace(0, 1, 48).expand(40, 48).contiguous()
    plain = Pipeline("getam", (), scales=(48,), flip=False)
    made = {
        level: Pipeline(
            "getam",
            (),
            scales=(48,),
            flip=False,
            label_options={"salient": level, "opening": 0, "quantile": 0.99},
        ).label(net, photo, [1], saliency)
        for level in (0.25, 0.75)
    }
    assert (made[0.25] != 0).float().mean() > (made[0.75] != 0).float().mean()
    evidence = plain.evidence(net, photo, [1], saliency)
    np.testing.assert_array_equal(
        plain.decide(evidence).numpy(), plain.label(net, photo, [1], saliency).numpy()
    )


def test_label_notes_how_sure_it_is(data: dict[str, Any], tmp_path: Path) -> None:
    out = label(out=tmp_path / "out", to="label-studio", **data, **PLAIN)
    net = getam.load_model(data["model"])
    pipeline = Pipeline("getam", (), "threshold", (48,), False)
    photo = as_tensor(read_photo(data["data"] / "scene1.png"))
    maps = pipeline.evidence(net, photo, [0, 1], None).maps[0].numpy()  # type: ignore[index]
    mask, noted = read_mask(out / "scene1.png"), read_confidences(out / "scene1.png")
    assert (
        set(noted) == {name for number, name in ((1, "blue"), (2, "red")) if (mask == number).any()} != set()
    )
    for name, confidence in noted.items():
        own = ("blue", "red").index(name)
        share = maps[own] / (0.3 + maps.sum(0))
        assert confidence == pytest.approx(share[mask == own + 1].mean(), abs=1e-4)
    assert read_confidences(out / f"scene{PHOTOS - 1}.png") == {}
    tasks = json.loads((tmp_path / "out-label-studio" / "tasks.json").read_text())
    scores = [each.get("score") for task in tasks for made in task["predictions"] for each in made["result"]]
    assert set(noted.values()) <= set(scores)
    assert "median confidence" in (out / "first-look.html").read_text()
