"""Where nobody names a method, refiners or rule, they are those of the recipe that trained the network."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import pytest

import getam
import tiny
from getam.engine.model_file import save_model
from getam.errors import InputError, WeightsError
from getam.opened.usual_chain import chosen_chain, usual_chain
from getam.pipeline import Pipeline
from getam.pipeline_text import parse_pipeline
from getam.recipes import RECIPES

GIVEN: dict[str, Any] = {"options": {}, "scales": (32,), "flip": False}


def written(folder: Path, **config: Any) -> Path:
    save_model(folder / "model.safetensors", tiny.hybrid_segmenter(), config)
    return folder


@pytest.mark.parametrize("name", RECIPES)
def test_each_recipe_is_read_as_it_says(name: str, tmp_path: Path) -> None:
    run = written(tmp_path, recipe=name)
    chain = getattr(RECIPES[name], "labelled_by", "")
    assert usual_chain(run) == (parse_pipeline(chain) if chain else Pipeline())
    assert usual_chain(run / "model.safetensors") == usual_chain(run)


def test_the_chains_are_there_and_differ() -> None:
    assert parse_pipeline(RECIPES["getam"].labelled_by) == Pipeline()
    assert parse_pipeline(RECIPES["classifier"].labelled_by).method == "layercam"
    assert parse_pipeline(RECIPES["bas"].labelled_by).method == "bas"
    assert parse_pipeline(RECIPES["afa"].labelled_by).refine == ("walk-afa", "par")


def test_what_says_nothing_is_read_by_getam(tmp_path: Path) -> None:
    assert (
        usual_chain(None) == usual_chain(tmp_path / "nothing") == usual_chain(written(tmp_path)) == Pipeline()
    )
    (tmp_path / "other.safetensors").write_bytes(b"x")
    with pytest.raises(WeightsError):
        usual_chain(tmp_path / "other.safetensors")


def test_what_is_given_replaces_its_part(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    run = written(tmp_path, recipe="afa")
    monkeypatch.setattr(
        RECIPES["afa"], "labelled_by", "acr[start=3]+walk-afa+par:afa[high=0.6]", raising=False
    )
    usual = chosen_chain(run, method=None, refine=None, labels=None, **GIVEN)
    assert usual == Pipeline("acr", ("walk-afa", "par"), "afa", (32,), False, {"start": 3}, {"high": 0.6})
    mine = chosen_chain(run, method="gradcam", refine=("none",), labels="irn", **GIVEN)
    assert mine == Pipeline("gradcam", (), "irn", (32,), False, {}, {})
    same = chosen_chain(
        run, method="acr", refine=("pamr",), labels=None, **{**GIVEN, "options": {"rows": "cls"}}
    )
    assert same == Pipeline("acr", ("pamr",), "afa", (32,), False, {"start": 3, "rows": "cls"}, {"high": 0.6})
    with pytest.raises(InputError, match="refine is none and pamr"):
        chosen_chain(run, method=None, refine=("none", "pamr"), labels=None, **GIVEN)


def test_label_reads_a_classifier_without_being_told_how(scenes: Path, tmp_path: Path) -> None:
    run = tmp_path / "run"
    getam.train(
        data=scenes / "photos", tags=scenes / "tags.csv", out=run, recipe="classifier", backbone="resnet10t",
        weights="", size=32, batch_size=2, steps=1,
    )  # fmt: skip
    given: dict[str, Any] = {
        "data": scenes / "photos",
        "tags": scenes / "tags.csv",
        "model": run,
        "scales": (32,),
    }
    getam.label(**given, out=tmp_path / "usual", saliency="none")
    getam.label(
        **given,
        out=tmp_path / "named",
        saliency="none",
        method="layercam",
        refine=("pamr",),
        labels="completion",
    )
    said = [
        json.loads((tmp_path / f / "protocol.jsonl").read_text().splitlines()[-1]) for f in ("usual", "named")
    ]
    assert said[0]["options"] == said[1]["options"]
    assert (said[0]["options"]["method"], said[0]["options"]["labels"]) == ("layercam", "free")
    for mask in (tmp_path / "usual").glob("*.png"):
        assert mask.read_bytes() == (tmp_path / "named" / mask.name).read_bytes()
