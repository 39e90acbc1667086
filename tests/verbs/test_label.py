"""`getam label`: each mask is what the pipeline of the same options makes, and every option changes something."""

from __future__ import annotations

import inspect
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
from getam.data.masks import read_mask
from getam.data.photos import as_tensor, read_photo
from getam.engine.model_file import save_model
from getam.errors import InputError
from getam.opened.lists import without_none
from getam.pipeline import LABEL_SCALES, Pipeline
from getam.verbs.label import label

PLAIN: dict[str, Any] = {"scales": (48,), "flip": False}


@pytest.fixture
def data(trained: Path, tmp_path: Path) -> dict[str, Any]:
    """Three photos of coloured blots, and a model with weights large enough to see them."""
    photos = tmp_path / "photos"
    photos.mkdir()
    random = np.random.default_rng(4)
    for index in range(3):
        blots = Image.fromarray(random.integers(0, 255, (5, 6, 3)).astype(np.uint8))
        blots.resize((48, 40), Image.Resampling.BICUBIC).save(photos / f"scene{index}.png")
    config = yaml.safe_load((trained / "config.yaml").read_text())
    save_model(tmp_path / "awake.safetensors", tiny.awake(getam.load_model(trained)), config)
    (photos / "tags.csv").write_text("image,tags\nscene0.png,red\nscene1.png,\nscene2.png,red;blue\n")
    return {"data": photos, "model": tmp_path / "awake.safetensors"}


def labelled(data: dict[str, Any], out: Path, **options: Any) -> dict[str, np.ndarray]:
    folder = label(out=out, **data, **{**PLAIN, **options})
    return {name: read_mask(folder / f"{name}.png") for name in ("scene0", "scene1", "scene2")}


def by_hand(
    data: dict[str, Any], pipeline: Pipeline, saliency: torch.Tensor | None = None
) -> dict[str, np.ndarray]:
    net = getam.load_model(data["model"])  # blue is 0, red 1
    tags = {"scene0": [1], "scene1": [], "scene2": [0, 1]}
    return {
        name: pipeline.label(
            net, as_tensor(read_photo(data["data"] / f"{name}.png")), present, saliency
        ).numpy()
        for name, present in tags.items()
    }


@pytest.mark.parametrize(
    "options",
    [
        {"scales": (32, 64)}, {"flip": True}, {"method": "gradcam"}, {"refine": ()}, {"refine": ("par", "pamr")},
        {"labels": "irn"}, {"coupling": "grad"}, {"start": 1}, {"rows": "patches"},
        {"method": "multi-layer", "weighting": "positive", "aggregate": "none", "layers": ("encoder.stem.layers.1",)},
        {"method": "multi-layer", "aggregate": "uncertainty"},
    ],
)  # fmt: skip
def test_every_option_of_the_pipeline_arrives(
    options: dict[str, Any], data: dict[str, Any], tmp_path: Path
) -> None:
    found = labelled(data, tmp_path / "out", **options)
    own = {"method", "refine", "labels", "scales", "flip"}
    given = {**PLAIN, **options}
    pipeline = Pipeline(
        **{key: value for key, value in given.items() if key in own},
        options={key: value for key, value in given.items() if key not in own},
    )
    wanted = by_hand(data, pipeline)
    for name, mask in wanted.items():
        np.testing.assert_array_equal(found[name], mask)
    plain = by_hand(data, Pipeline(**PLAIN, method=options.get("method", "getam")))
    if set(options) != {"method"}:
        assert any((plain[name] != wanted[name]).any() for name in wanted)
    record = json.loads((tmp_path / "out" / "protocol.jsonl").read_text())
    for key, value in options.items():
        assert record["options"][key] == json.loads(json.dumps(value))


def test_the_defaults(data: dict[str, Any], tmp_path: Path) -> None:
    out = label(out=tmp_path / "out", **data)
    wanted = by_hand(data, Pipeline("getam", ("pamr",), "completion", LABEL_SCALES, True))
    for name, mask in wanted.items():
        np.testing.assert_array_equal(read_mask(out / f"{name}.png"), mask)
    record = json.loads((out / "protocol.jsonl").read_text())
    assert record["options"] == {
        "data": str(data["data"]), "model": str(data["model"]), "saliency": None, "method": "getam",
        "refine": ["pamr"], "labels": "free", "scales": list(LABEL_SCALES), "flip": True, "coupling": "attn_grad",
    }  # fmt: skip
    assert (record["split"], record["photos"], record["tags_at_test_time"]) == (None, 3, True)
    assert inspect.signature(label).parameters["out"].default == Path("labels")
    assert "Pseudo label (" in (tmp_path / "out" / "first-look.html").read_text()


def test_saliency_says_what_is_background(data: dict[str, Any], tmp_path: Path) -> None:
    saliency = tmp_path / "saliency"
    saliency.mkdir()
    half = np.zeros((40, 48), np.uint8)
    half[:20] = 255
    for index in range(3):
        Image.fromarray(half).save(saliency / f"scene{index}.png")
    found = labelled(data, tmp_path / "out", saliency=saliency)
    wanted = by_hand(data, Pipeline(**PLAIN), torch.from_numpy(half).float() / 255)
    for name, mask in wanted.items():
        np.testing.assert_array_equal(found[name], mask)
    without = by_hand(data, Pipeline(**PLAIN))
    assert (found["scene0"] != without["scene0"]).any()
    record = json.loads((tmp_path / "out" / "protocol.jsonl").read_text())
    assert record["options"]["labels"] == "completion"


def test_tags_elsewhere_classes_and_split_choose_what_is_labelled(
    data: dict[str, Any], tmp_path: Path
) -> None:
    (tmp_path / "mine.csv").write_text("image,tags\nscene0.png,blue\nscene2.png,red;blue\n")
    (data["data"] / "val.txt").write_text("scene2\n")
    out = label(out=tmp_path / "a", tags=tmp_path / "mine.csv", **data, **PLAIN)
    assert set(np.unique(read_mask(out / "scene0.png"))) <= {0, 1, 255}
    assert not (out / "scene1.png").exists()
    out = label(out=tmp_path / "b", classes=("red",), **data, **PLAIN)
    assert set(np.unique(read_mask(out / "scene2.png"))) <= {0, 2, 255}
    assert (read_mask(out / "scene2.png") == 2).any()
    assert (out / "classes.txt").read_text().split() == ["background", "blue", "red"]  # the model's numbers
    out = label(out=tmp_path / "c", split="val", **data, **PLAIN)
    assert [file.name for file in out.glob("*.png")] == ["scene2.png"]
    record = json.loads((out / "protocol.jsonl").read_text())
    assert (record["split"], record["photos"]) == ("val", 1)
    from getam.data.collection import names_hash

    assert record["split_sha256"] == names_hash(["scene2"])


def test_nothing_is_overwritten_unasked(data: dict[str, Any], tmp_path: Path) -> None:
    labelled(data, tmp_path / "out")
    with pytest.raises(InputError, match=r"scene0\.png exists"):
        labelled(data, tmp_path / "out")
    (tmp_path / "out" / "scene0.png").write_bytes(b"")
    assert labelled(data, tmp_path / "out", overwrite=True)["scene0"].shape == (40, 48)


def test_several_tags_need_maps_of_their_own_and_one_tag_does_not(
    data: dict[str, Any], tmp_path: Path
) -> None:
    with pytest.raises(InputError, match="rollout gives all tags of a photo the same map"):
        labelled(data, tmp_path / "out", method="rollout")
    assert not (tmp_path / "out").exists()
    (data["data"] / "tags.csv").write_text("image,tags\nscene0.png,red\nscene1.png,\nscene2.png,blue\n")
    labelled(data, tmp_path / "out", method="rollout")


def test_no_refiner_is_said_alone() -> None:
    assert without_none(("none", "none"), "refine") == ()
    assert without_none((), "refine") == ()
    with pytest.raises(InputError, match="refine is none and par at once"):
        without_none(("none", "par"), "refine")
