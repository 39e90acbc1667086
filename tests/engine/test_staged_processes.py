"""Recipes of several stages in two processes: every photo is labelled once, as one process would from that network."""

from __future__ import annotations

import shutil
import subprocess
import sys
from pathlib import Path

import pytest
import timm
from PIL import Image
from safetensors.torch import save_file

from getam.data.masks import read_mask
from getam.engine.model import load_model

SMALL = ("--size", "32", "--batch-size", "4", "--steps", "2")
# what a recipe's networks are, and its first label stage, which follows its first network alone
TRAINED: dict[str, tuple[tuple[str, ...], str]] = {
    "irn": (
        ("--backbone", "test_resnet", "--weights", "w.safetensors", "--options", "label_scales=[48]"),
        "2-seeds",
    ),
    "um-cam": (
        (
            *("--backbone", "small-hybrid", "--options"),
            *("classifier={backbone: test_resnet, weights: w.safetensors}", "label_scales=[64]", "label_flip=false"),
        ),
        "2-labels",
    ),
    "agreement": (
        (
            *("--backbone", "small-hybrid", "--options"),
            *("classifier={backbone: test_resnet, weights: w.safetensors}", "label_scales=[64]", "label_crf=1"),
        ),
        "2-labels",
    ),
    "i2crc": (
        (
            *("--backbone", "small-hybrid", "--saliency", "salient", "--options"),
            *("classifier={backbone: test_resnet, weights: w.safetensors}", "label_scales=[64]", "label_crf=1"),
        ),
        "2-labels",
    ),
}  # fmt: skip


@pytest.mark.slow
@pytest.mark.timeout(900)
@pytest.mark.parametrize("recipe", TRAINED)
def test_two_processes_make_the_labels_of_one(recipe: str, scenes: Path, tmp_path: Path) -> None:
    (tmp_path / "salient").mkdir()
    for mask in (scenes / "truth").glob("*.png"):
        Image.fromarray((read_mask(mask) > 0).astype("uint8") * 255).save(tmp_path / "salient" / mask.name)
    save_file(timm.create_model("test_resnet").state_dict(), tmp_path / "w.safetensors")
    options, labels = TRAINED[recipe]

    def train(out: str, *more: str) -> str:
        command = [
            *(sys.executable, "-m", "getam", "train", "--recipe", recipe, "--data", str(scenes / "photos")),
            *("--tags", str(scenes / "tags.csv"), *SMALL, "--out", out, *more, *options),
        ]
        done = subprocess.run(command, cwd=tmp_path, capture_output=True, text=True, timeout=400, check=False)
        assert done.returncode == 0, done.stderr[-3000:]
        return done.stderr

    given = () if recipe == "i2crc" else ("--saliency", "none")
    said = train("two", "--devices", "2", *given)
    assert " 3/3" in said  # of six photos the first process labels three, and speaks of those
    assert " 6/6" not in said
    made = sorted(tmp_path.glob("two/*labels*")) + sorted(tmp_path.glob("two/*seeds*"))
    assert made
    assert all(len(list(folder.glob("*.png"))) == 6 for folder in made)
    load_model(tmp_path / "two")

    shutil.copytree(tmp_path / "two", tmp_path / "one")
    for folder in (
        tmp_path / "one"
    ).iterdir():  # the first network stays, what followed from it is made again
        if folder.is_dir() and not folder.name.startswith("1-"):
            shutil.rmtree(folder)
    (tmp_path / "one" / "model.safetensors").unlink()
    train("one", *given)
    for file in (tmp_path / "two" / labels).glob("*.png"):
        assert file.read_bytes() == (tmp_path / "one" / labels / file.name).read_bytes()
