"""Two photos that recipes learn in no time, and a training on them that is interrupted."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import pytest
import torch
import torch.nn.functional as F
from torch import Tensor

from getam.engine import loop
from getam.engine.loop import fit
from getam.engine.runfolder import RunFolder

CLASSES = ("red", "blue")


class Halves:
    """Two photos, always the same: the left half red, or the right half blue; what is coloured is salient.

    Masks and beliefs say the same as saliency. Photos of the other domain are these, mirrored. With `all_tags` both
    photos have both tags, of which something can be drawn.
    """

    def __init__(self, side: int = 32, *, all_tags: bool = False) -> None:
        self.side, self.all_tags = side, all_tags

    def __len__(self) -> int:
        return 2

    def set_epoch(self, epoch: int) -> None: ...

    def name(self, index: int) -> str:
        return f"photo {index}"

    def __getitem__(self, index: int) -> dict[str, Tensor]:
        side, half = self.side, self.side // 2
        image, saliency = torch.full((3, side, side), 120.0), torch.zeros(side, side)
        coloured = slice(half * index, half * (index + 1))
        image[2 * index, :, coloured] = 250
        saliency[:, coloured] = 1
        tags = torch.ones(2) if self.all_tags else F.one_hot(torch.tensor(index), 2).float()
        return {
            "image": image,
            "tags": tags,
            **{f"{view}_image": image.flip(-1) for view in ("shot", "weak", "strong")},
            "shot_tags": tags,
            "saliency": saliency,
            "mask": saliency.long() * (index + 1),
            "belief": saliency * 0.9,
            "roi": torch.ones(side, side, dtype=torch.bool),
        }


class StopError(Exception):
    pass


def trained(recipe: Any, config: Any, data: Halves, path: Path, stop_after: int = 0) -> Any:
    """What `fit` gives; stopped by force after that many steps."""

    def advance(step: int, losses: dict[str, float]) -> None:
        if step == stop_after:
            raise StopError

    with RunFolder(path) as run:
        record = config.model_dump(mode="json")
        run.open(record)
        return fit(recipe, config, data, CLASSES, run, record=record, advance=advance)


def assert_resumed_exactly(
    recipe: Any, config: Any, data: Halves, folder: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """A run that is stopped after two steps and continued ends as one that never was."""
    whole = trained(recipe, config, data, folder / "whole")
    monkeypatch.setattr(loop, "SAVE_EVERY_SECONDS", -1.0)
    with pytest.raises(StopError):
        trained(recipe, config, data, folder / "parts", stop_after=2)
    torch.rand(5)  # whatever happened in between
    resumed = trained(recipe, config, data, folder / "parts")
    for name, value in whole.state_dict().items():
        torch.testing.assert_close(resumed.state_dict()[name], value, rtol=0, atol=1e-6, msg=name)
