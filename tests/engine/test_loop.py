"""fit() learns, continues an interrupted run exactly, and does nothing on a finished one."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import pytest
import torch
from torch import Tensor

from getam.engine import loop
from getam.engine.loop import _batches, fit
from getam.engine.runfolder import RunFolder
from getam.nets.segmenter import Segmenter
from getam.recipes.getam import GetamConfig, GetamRecipe

SIZES: dict[str, Any] = {"backbone": "small-hybrid", "size": 32, "channels": (8, 8, 8, 8), "width": 8}
CONFIG = GetamConfig(**SIZES, batch_size=2, steps=7, joint_from=0.5, pamr_iterations=1, warmup=0.0)


class Halves:
    """Photos whose left half is red or blue, and the tag that says so; every epoch adds its own noise."""

    def __init__(self, count: int = 5) -> None:
        self.count, self.epoch = count, 0

    def __len__(self) -> int:
        return self.count

    def set_epoch(self, epoch: int) -> None:
        self.epoch = epoch

    def __getitem__(self, index: int) -> dict[str, Tensor]:
        generator = torch.Generator().manual_seed(1000 * self.epoch + index)
        image = torch.rand(3, 32, 32, generator=generator) * 60 + 90
        image[2 * (index % 2), :, :16] = 230
        tags = torch.nn.functional.one_hot(torch.tensor(index % 2), 2).float()
        return {"image": image, "tags": tags, "roi": torch.ones(32, 32, dtype=torch.bool)}


class StopError(Exception):
    pass


def train(
    path: Path, config: GetamConfig = CONFIG, stop_after: int | None = None
) -> tuple[Segmenter, list[int]]:
    """One call of fit; stopped by force after that many steps."""
    run, steps = RunFolder(path), []
    run.open(config.model_dump(mode="json"))

    def advance(step: int, losses: dict[str, float]) -> None:
        steps.append(step)
        if step == stop_after:
            raise StopError

    record = config.model_dump(mode="json")
    return fit(GetamRecipe(), config, Halves(), ("red", "blue"), run, record=record, advance=advance), steps


def test_the_classes_are_learned(tmp_path: Path) -> None:
    config = GetamConfig(**SIZES, batch_size=4, steps=25, joint_from=1.0, lr=3e-3)
    train(tmp_path / "run", config)
    logged = [json.loads(line) for line in (tmp_path / "run" / "metrics.jsonl").read_text().splitlines()]
    assert [entry["step"] for entry in logged] == [20, 25]
    assert logged[-1]["cls"] < 0.5 < 0.69
    assert {"lr", "photos_per_second", "cls"} < logged[0].keys()


@pytest.mark.parametrize("stop_after", [1, 3, 4])
def test_an_interrupted_run_ends_with_the_same_weights(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, stop_after: int
) -> None:
    whole, steps = train(tmp_path / "whole")
    assert steps == list(range(1, 8))
    monkeypatch.setattr(loop, "SAVE_EVERY_SECONDS", -1.0)
    with pytest.raises(StopError):
        train(tmp_path / "parts", stop_after=stop_after)
    torch.rand(5)  # whatever happened in between
    resumed, steps = train(tmp_path / "parts")
    assert steps == list(range(stop_after + 1, 8))
    for name, value in whole.state_dict().items():
        torch.testing.assert_close(resumed.state_dict()[name], value, rtol=0, atol=1e-6, msg=name)


def test_a_run_killed_between_its_files_is_whole_again(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(loop, "LOG_EVERY", 1)
    whole, _ = train(tmp_path / "whole")
    monkeypatch.setattr(loop, "SAVE_EVERY_SECONDS", -1.0)
    with pytest.raises(StopError):
        train(tmp_path / "parts", stop_after=3)
    run = tmp_path / "parts"
    older = (run / "state.pt").read_bytes()
    with pytest.raises(StopError):
        train(run, stop_after=5)
    (run / "state.pt").write_bytes(older)  # step 5 has its model file and its log, but not its state
    with (run / "metrics.jsonl").open("a") as file:
        file.write('{"step": 6, "cl')  # and was cut off while it logged
    resumed, steps = train(run)
    assert steps == [4, 5, 6, 7]
    logged = [json.loads(line)["step"] for line in (run / "metrics.jsonl").read_text().splitlines()]
    assert logged == [1, 2, 3, 4, 5, 6, 7]
    for name, value in whole.state_dict().items():
        torch.testing.assert_close(resumed.state_dict()[name], value, rtol=0, atol=1e-6, msg=name)


def test_a_finished_run_is_only_loaded(tmp_path: Path) -> None:
    first, _ = train(tmp_path / "run")
    files = {file.name: file.stat().st_mtime_ns for file in (tmp_path / "run").iterdir()}
    again, steps = train(tmp_path / "run")
    assert steps == []
    assert {file.name: file.stat().st_mtime_ns for file in (tmp_path / "run").iterdir()} == files
    assert all(torch.equal(again.state_dict()[k], v) for k, v in first.state_dict().items())
    assert not again.training


def test_a_resumed_run_asks_for_no_backbone_weights(tmp_path: Path) -> None:
    asked = []

    class Watched(GetamRecipe):
        def build(self, config: GetamConfig, classes: Any) -> Segmenter:
            asked.append(config.weights)
            return super().build(config, classes)

    config = CONFIG.model_copy(update={"steps": 1})
    for _ in range(2):
        run = RunFolder(tmp_path / "run")
        run.open(config.model_dump(mode="json"))
        fit(Watched(), config, Halves(), ("red", "blue"), run, record=config.model_dump(mode="json"))
    assert asked == [None, ""]


def test_batches_are_a_permutation_each_epoch_and_can_be_skipped() -> None:
    class Indices(Halves):
        def __getitem__(self, index: int) -> dict[str, Tensor]:
            return {"index": torch.tensor(index), "epoch": torch.tensor(self.epoch)}

    config = CONFIG.model_copy(update={"steps": 7})
    whole = [
        (step, b["index"].tolist(), b["epoch"].tolist()) for step, b in _batches(Indices(5), config, 0, 0)
    ]
    assert [step for step, _, _ in whole] == list(range(7))
    for first in range(0, 6, 2):  # 5 photos make two batches of 2 an epoch
        seen = whole[first][1] + whole[first + 1][1]
        assert len(set(seen)) == 4
        assert whole[first][2] == whole[first + 1][2] == [first // 2] * 2
    assert whole[0][1:2] + whole[1][1:2] != whole[2][1:2] + whole[3][1:2]
    later = [
        (step, b["index"].tolist(), b["epoch"].tolist()) for step, b in _batches(Indices(5), config, 3, 0)
    ]
    assert later == whole[3:]
    other = config.model_copy(update={"seed": 1})
    assert [b["index"].tolist() for _, b in _batches(Indices(5), other, 0, 0)] != [i for _, i, _ in whole]


def test_fewer_photos_than_a_batch_make_one_batch() -> None:
    config = CONFIG.model_copy(update={"batch_size": 16, "steps": 2})
    assert [len(b["image"]) for _, b in _batches(Halves(3), config, 0, 0)] == [3, 3]
