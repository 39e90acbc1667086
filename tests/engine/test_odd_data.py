"""Every recipe and stage trains on odd data: batches without a tag, classes that never occur, one class, one photo."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import pytest
import torch
from PIL import Image
from torch import Tensor
from two_processes import TRAINED, Pairs, options_of

import getam
from getam.engine import loop
from getam.engine.loop import fit
from getam.engine.runfolder import RunFolder
from getam.errors import InputError

COMPARE = ("bas", "ecacl")  # recipes whose losses set classes against each other


class Odd(Pairs):
    """Three photos, one without a tag; no photo has the second class, and nothing is seen but in that of the first."""

    def __init__(self, classes: int, photos: int) -> None:
        super().__init__(False)
        self.classes, self.photos = classes, photos

    def __len__(self) -> int:
        return self.photos

    def __getitem__(self, index: int) -> dict[str, Tensor]:
        item = super().__getitem__(0)
        tags = torch.zeros(self.classes)
        tags[0] = float(index < 2)
        item |= {"tags": tags, "shot_tags": tags, "index": torch.tensor(index)}
        if index == 2:
            item |= {name: torch.zeros_like(item[name]) for name in ("mask", "saliency", "belief")}
        return item


@pytest.mark.parametrize(
    ("classes", "photos", "batch"),
    [(("cat", "dog"), 3, 1), (("cat",), 3, 3), (("cat", "dog"), 1, 4)],
    ids=["batches without a tag", "one class", "one photo"],
)
@pytest.mark.parametrize("name", TRAINED)
def test_losses_and_weights_stay_finite(
    name: str, classes: tuple[str, ...], photos: int, batch: int, tmp_path: Path,
    monkeypatch: pytest.MonkeyPatch,
) -> None:  # fmt: skip
    monkeypatch.setattr(loop, "LOG_EVERY", 1)
    recipe: Any = TRAINED[name]
    config = recipe.config_type(size=32, batch_size=batch, steps=6, **options_of(name))
    with RunFolder(tmp_path / "run") as run:
        run.open({})
        if len(classes) == 1 and name in COMPARE:
            with pytest.raises(
                InputError, match=f"recipe {name} compares the classes .* learns nothing from one"
            ):
                fit(recipe, config, Odd(1, photos), classes, run, record={})
            return
        net = fit(recipe, config, Odd(len(classes), photos), classes, run, record={})
    lines = (tmp_path / "run" / "metrics.jsonl").read_text().splitlines()
    assert [json.loads(line)["step"] for line in lines] == list(range(1, 7))
    assert all(bool(value.isfinite().all()) for value in net.state_dict().values())


def test_a_batch_has_photos_of_any_size(tmp_path: Path) -> None:
    (tmp_path / "photos").mkdir()
    sizes = {"wide": (300, 9), "high": (7, 210), "dot": (1, 1), "large": (400, 380)}
    for number, (name, size) in enumerate(sizes.items()):
        Image.new("RGB", size, (60 * number, 90, 200)).save(tmp_path / "photos" / f"{name}.png")
    tags = tmp_path / "tags.csv"
    tags.write_text("image,tags\n" + "".join(f"{name}.png,{name[0]}\n" for name in sizes))
    getam.train(
        data=tmp_path / "photos", tags=tags, out=tmp_path / "run", backbone="small-hybrid", size=32, batch_size=4,
        steps=3, saliency="none",
    )  # fmt: skip
    (line,) = (tmp_path / "run" / "metrics.jsonl").read_text().splitlines()
    assert json.loads(line)["step"] == 3
