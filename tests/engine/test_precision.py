"""Half precision trains as float32 does; what float16 cannot hold leaves out a step, and does not end the training."""

from __future__ import annotations

import json
from functools import partial
from pathlib import Path
from typing import Any

import pytest
import torch
from noisy_halves import CONFIG, Halves
from torch import Tensor
from two_processes import SINGLE, Pairs, options_of

from getam.attention.calls import AttentionCall
from getam.engine import loop
from getam.engine.hardware import Hardware
from getam.engine.loop import fit
from getam.engine.runfolder import RunFolder
from getam.errors import InputError
from getam.recipes import RECIPES
from getam.recipes import getam as recipe
from getam.recipes.getam import GetamRecipe

WHOLE = torch.amp.GradScaler


class StopError(Exception):
    pass


def train(out: Path, precision: str, stop_after: int = 0, its: Any = None) -> Any:
    """The GETAM recipe, three classification steps and four joint ones; stopped by force after that many."""

    def advance(done: int, losses: dict[str, float]) -> None:
        if done == stop_after:
            raise StopError

    with RunFolder(out) as run:
        run.open({"precision": precision})
        return fit(
            its or GetamRecipe(), CONFIG, Halves(), ("red", "blue"), run, record={}, advance=advance,
            hardware=Hardware("cpu", precision),
        )  # fmt: skip


@pytest.fixture(scope="module")
def single(tmp_path_factory: pytest.TempPathFactory) -> list[dict[str, float]]:
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(loop, "LOG_EVERY", 1)
        out = tmp_path_factory.mktemp("single")
        train(out, "32-true")
    return logged(out)


def logged(out: Path) -> list[dict[str, float]]:
    return [json.loads(line) for line in (out / "metrics.jsonl").read_text().splitlines()]


@pytest.mark.parametrize(("precision", "half"), [("bf16-mixed", torch.bfloat16), ("16-mixed", torch.float16)])
def test_losses_are_those_of_float32_and_maps_too(
    precision: str, half: torch.dtype, single: list[dict[str, float]], tmp_path: Path,
    monkeypatch: pytest.MonkeyPatch,
) -> None:  # fmt: skip
    monkeypatch.setattr(loop, "LOG_EVERY", 1)
    seen: set[tuple[torch.dtype, ...]] = set()
    attribute = recipe.attribute

    def watched(tap: Any, scores: Tensor, *rest: Any, **options: Any) -> Tensor:
        maps = attribute(tap, scores, *rest, **options)
        call = tap.blocks[-1]
        seen.add((call.output.dtype, scores.dtype, maps.dtype, call.attention(slice(0, 1)).dtype))
        return maps

    monkeypatch.setattr(recipe, "attribute", watched)
    net = train(tmp_path / "run", precision)
    assert seen == {(half, torch.float32, torch.float32, torch.float32)}
    assert {weight.dtype for weight in net.parameters()} == {torch.float32}
    found = logged(tmp_path / "run")
    assert [line["step"] for line in found] == [line["step"] for line in single]
    for one, other in zip(single, found, strict=True):
        assert one.keys() == other.keys()
        for name in {"cls", "fg", "bg"} & one.keys():
            assert other[name] == pytest.approx(one[name], rel=0.05), (name, one["step"])
    assert any(line["cls"] != other["cls"] for line, other in zip(single, found, strict=True))


def test_steps_that_float16_cannot_hold_are_left_out_and_resumed(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(loop, "SAVE_EVERY_SECONDS", -1.0)
    monkeypatch.setattr(torch.amp, "GradScaler", partial(WHOLE, init_scale=2.0**20))
    whole = train(tmp_path / "whole", "16-mixed")
    with pytest.raises(StopError):
        train(tmp_path / "parts", "16-mixed", stop_after=1)
    state = RunFolder(tmp_path / "parts").state()
    assert state is not None
    assert state["scaler"]["scale"] == 2.0**19  # the first step was one of them
    assert not state["optimizer"]["state"]
    resumed = train(tmp_path / "parts", "16-mixed")
    last = RunFolder(tmp_path / "whole").state()
    assert last is not None
    assert 2.0**12 < last["scaler"]["scale"] < 2.0**19
    assert last["optimizer"]["state"]
    for name, weight in whole.state_dict().items():
        torch.testing.assert_close(resumed.state_dict()[name], weight, rtol=0, atol=1e-6, msg=name)


class Broken:
    """A recipe whose loss is 0 and has no derivative, or is not finite."""

    name = "broken"

    def __init__(self, finite: bool) -> None:
        self.finite = finite
        self.steps = 0

    def losses(self, net: Any, batch: Any, progress: float, config: Any) -> dict[str, Tensor]:
        self.steps += 1
        scores = net(batch["image"])[0].mean()
        return {"cls": (scores - scores.detach()).sqrt() if self.finite else scores * torch.inf}


def test_gradients_that_no_scale_makes_finite_end_it(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(torch.amp, "GradScaler", partial(WHOLE, init_scale=4.0))
    broken = Broken(finite=True)
    with pytest.raises(InputError, match=r"gradients of the loss of step 3 .*are not finite"):
        train(tmp_path / "run", "16-mixed", its=broken)
    assert broken.steps == 3  # at 4, 2, and 1


@pytest.mark.parametrize(
    ("precision", "remedy"),
    [("16-mixed", "than 0.0005 or --precision 32-true, and another"), ("32-true", "than 0.0005 and another")],
)
def test_a_loss_that_is_not_finite_ends_it_at_once(tmp_path: Path, precision: str, remedy: str) -> None:
    with pytest.raises(InputError, match=f"loss cls of step 1 is .*with a smaller --lr {remedy} --out"):
        train(tmp_path / "run", precision, its=Broken(finite=False))


def test_another_precision_is_refused_and_none_is_float32(tmp_path: Path) -> None:
    for name, recorded in (("old", {}), ("new", {"precision": "32-true"})):
        with RunFolder(tmp_path / name) as run:
            run.open(recorded)
            run.log({"step": 1})
        with RunFolder(tmp_path / name) as run:
            run.open({"precision": "32-true"})
        with (
            RunFolder(tmp_path / name) as run,
            pytest.raises(
                InputError, match="precision='32-true', now precision='bf16-mixed' was asked: give another"
            ),
        ):
            run.open({"precision": "bf16-mixed"})


@pytest.mark.parametrize("dtype", [torch.float16, torch.bfloat16])
def test_products_of_attention_are_float32_under_autocast(dtype: torch.dtype) -> None:
    query, key, value, output = (torch.randn(1, 2, 5, 4).to(dtype) for _ in range(4))
    call = AttentionCall("attn", query, key, value, output, 0.5, None)
    rows = slice(1, 3)
    with torch.autocast("cpu", dtype):
        found = call.attention(rows), call.gradient(output, rows)
    assert torch.equal(found[0], call.attention(rows))
    assert torch.equal(found[1], call.gradient(output, rows))


@pytest.mark.parametrize("name", SINGLE)
def test_every_recipe_learns_the_same_in_bfloat16(
    name: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(loop, "LOG_EVERY", 1)
    config = RECIPES[name].config_type(
        size=32, batch_size=4, steps=2, warmup=0.0, lr=1e-5, **options_of(name)
    )
    lines = []
    for precision in ("32-true", "bf16-mixed"):
        with RunFolder(tmp_path / precision) as run:
            run.open({})
            fit(
                RECIPES[name], config, Pairs(False), ("cat", "dog"), run, record={},
                hardware=Hardware("cpu", precision),
            )  # fmt: skip
        lines.append(logged(tmp_path / precision))
    for one, other in zip(*lines, strict=True):
        assert other.keys() == one.keys()
        for loss in one.keys() - {"photos_per_second"}:
            assert other[loss] == pytest.approx(one[loss], rel=0.1, abs=0.02), loss
