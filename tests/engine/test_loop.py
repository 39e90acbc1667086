"""fit() learns, continues an interrupted run exactly, and does nothing on a finished one."""

from __future__ import annotations

import copy
import json
import os
import signal
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest
import torch
from noisy_halves import CONFIG, SIZES, Halves
from safetensors.torch import load_file
from torch import Tensor
from torch.utils.data import get_worker_info

from getam.engine import loop
from getam.engine.loop import fit
from getam.engine.model_file import read_metadata
from getam.engine.runfolder import LOCK, RunFolder
from getam.engine.stopping import Stopped
from getam.errors import InputError
from getam.nets.segmenter import Segmenter
from getam.recipes.base import optimizer
from getam.recipes.getam import GetamConfig, GetamRecipe


@pytest.fixture(autouse=True)
def _hears_ctrl_c() -> Iterator[None]:
    """In the background of a shell Ctrl-C is ignored."""
    before = signal.signal(signal.SIGINT, signal.default_int_handler)
    yield
    signal.signal(signal.SIGINT, before)


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


def test_checks_and_pace_change_nothing_and_are_told(tmp_path: Path) -> None:
    whole, _ = train(tmp_path / "whole")
    seen: list[int] = []
    paces: list[float] = []
    told: list[float | None] = []

    def check(net: Any) -> dict[str, float]:
        seen.append(int(net.training))
        return {"known": len(seen) / 8}

    run = RunFolder(tmp_path / "run")
    run.open({})
    config = CONFIG.model_copy(update={"steps": 7})
    net = fit(
        GetamRecipe(), config, Halves(), ("red", "blue"), run, record={}, pace=paces.append, check=check,
        advance=lambda step, losses: told.append(losses.get("known")),
    )  # fmt: skip
    assert seen == [1] * 7
    assert told == [n / 8 for n in range(1, 8)]
    assert len(paces) == 1
    assert paces[0] > 0
    logged = [json.loads(line) for line in (tmp_path / "run" / "metrics.jsonl").read_text().splitlines()]
    assert [entry for entry in logged if "known" in entry] == [
        {"step": n, "known": n / 8} for n in range(1, 8)
    ]
    for name, value in whole.state_dict().items():
        assert torch.equal(net.state_dict()[name], value), name


def test_checks_come_at_tenths(tmp_path: Path) -> None:
    run = RunFolder(tmp_path / "run")
    run.open({})
    config = CONFIG.model_copy(update={"steps": 25, "joint_from": 1.0})
    fit(GetamRecipe(), config, Halves(), ("red", "blue"), run, record={}, check=lambda net: {"known": 1.0})
    logged = [json.loads(line) for line in (tmp_path / "run" / "metrics.jsonl").read_text().splitlines()]
    assert [entry["step"] for entry in logged if "known" in entry] == [3, 5, 8, 10, 13, 15, 18, 20, 23, 25]


def test_the_pace_is_of_what_is_left(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(loop, "SAVE_EVERY_SECONDS", -1.0)
    monkeypatch.setattr(loop, "seconds_a_step", lambda *_: 1000.0)
    with pytest.raises(StopError):
        train(tmp_path / "run", stop_after=3)
    paces: list[float] = []
    with RunFolder(tmp_path / "run") as run:
        run.open(CONFIG.model_dump(mode="json"))
        fit(
            GetamRecipe(), CONFIG, Halves(), ("red", "blue"), run, record=CONFIG.model_dump(mode="json"),
            pace=paces.append,
        )  # fmt: skip
    assert paces == [pytest.approx(4000, abs=100)]


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


@pytest.mark.parametrize("ema", [0.0, 0.5])
def test_the_average_of_the_weights_is_what_is_kept(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, ema: float
) -> None:
    seen: list[dict[str, Any]] = []
    stepped = loop._train_step

    def watched(recipe: Any, config: Any, fabric: Any, model: Any, *rest: Any) -> Any:
        if not seen:
            seen.append(copy.deepcopy(loop_net(model).state_dict()))
        found = stepped(recipe, config, fabric, model, *rest)
        seen.append(copy.deepcopy(loop_net(model).state_dict()))
        return found

    def loop_net(model: Any) -> Any:
        return model.module if hasattr(model, "module") else model

    monkeypatch.setattr(loop, "_train_step", watched)
    config = CONFIG.model_copy(update={"ema": ema})
    whole, _ = train(tmp_path / "whole", config)
    states = list(seen)
    for name, value in whole.state_dict().items():
        expected = states[0][name]
        for step, state in enumerate(states[1:], start=1):
            kept = min(ema, (1 + step) / (10 + step))
            expected = (
                kept * expected + (1 - kept) * state[name] if value.is_floating_point() else state[name]
            )
        torch.testing.assert_close(value, expected, rtol=1e-5, atol=1e-6, msg=name)
    file = load_file(tmp_path / "whole" / "model.safetensors")
    assert all(torch.equal(file[name], value) for name, value in whole.state_dict().items())
    again, steps = train(tmp_path / "whole", config)
    assert steps == []
    assert all(torch.equal(again.state_dict()[name], value) for name, value in whole.state_dict().items())

    monkeypatch.setattr(loop, "SAVE_EVERY_SECONDS", -1.0)
    with pytest.raises(StopError):
        train(tmp_path / "parts", config, stop_after=4)
    resumed, _ = train(tmp_path / "parts", config)
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

    def times() -> dict[str, int]:  # but for the lock, which filelock 3.13 writes anew
        run = (tmp_path / "run").iterdir()
        return {file.name: file.stat().st_mtime_ns for file in run if file.name != LOCK}

    files = times()
    again, steps = train(tmp_path / "run")
    assert steps == []
    assert files
    assert times() == files
    assert all(torch.equal(again.state_dict()[k], v) for k, v in first.state_dict().items())
    assert not again.training


class MovedFabric(loop.Fabric):
    """As Fabric on a machine with an accelerator, here the one without memory: `setup` moves the weights there."""

    optim: torch.optim.Optimizer

    def setup(self, net: Any, optim: Any) -> Any:
        before = torch.__future__.get_swap_module_params_on_conversion()
        torch.__future__.set_swap_module_params_on_conversion(
            True
        )  # the optimiser's weights move too, as on CUDA
        net.to("meta")
        torch.__future__.set_swap_module_params_on_conversion(before)
        MovedFabric.optim = optim
        return net, optim


@pytest.mark.filterwarnings("ignore:.*no-op:UserWarning")  # weights without memory are not copied
def test_the_optimiser_continues_on_the_device_of_the_weights(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(loop, "SAVE_EVERY_SECONDS", -1.0)
    with pytest.raises(StopError):
        train(tmp_path / "run", stop_after=2)

    def stop(*_: Any) -> Any:
        raise StopError

    monkeypatch.setattr(loop, "launched", lambda *_: MovedFabric(accelerator="cpu", devices=1))
    monkeypatch.setattr(GetamRecipe, "losses", stop)
    with pytest.raises(StopError):
        train(tmp_path / "run")
    moments = [
        (weight, value)
        for weight, values in MovedFabric.optim.state.items()
        for value in values.values()
        if value.shape == weight.shape
    ]
    assert len(moments) > 20
    assert {(w.device.type, v.device.type) for w, v in moments} == {("meta", "meta")}


def test_random_numbers_of_a_step_go_on(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """Dropout and the like: a recipe whose loss is drawn."""
    drawn: list[float] = []

    class Drawing(GetamRecipe):
        def losses(self, net: Any, batch: Any, progress: float, config: Any) -> dict[str, Tensor]:
            drawn.append(float(torch.rand(())))
            return {"cls": drawn[-1] * net(batch["image"])[0].mean()}

    monkeypatch.setitem(globals(), "GetamRecipe", Drawing)
    train(tmp_path / "whole")
    whole = drawn.copy()
    drawn.clear()
    monkeypatch.setattr(loop, "SAVE_EVERY_SECONDS", -1.0)
    with pytest.raises(StopError):
        train(tmp_path / "parts", stop_after=3)
    torch.rand(7)
    train(tmp_path / "parts")
    assert drawn == whole
    assert len(set(whole)) == 7


def test_states_of_the_first_version_continue(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """They kept the generator of the CPU alone, as "rng"."""
    whole, _ = train(tmp_path / "whole")
    monkeypatch.setattr(loop, "SAVE_EVERY_SECONDS", -1.0)
    with pytest.raises(StopError):
        train(tmp_path / "parts", stop_after=3)
    file = tmp_path / "parts" / "state.pt"
    state = torch.load(file, weights_only=True)
    state["rng"] = state.pop("random")["cpu"]
    torch.save(state, file)
    resumed, steps = train(tmp_path / "parts")
    assert steps == [4, 5, 6, 7]
    for name, value in whole.state_dict().items():
        torch.testing.assert_close(resumed.state_dict()[name], value, rtol=0, atol=1e-6, msg=name)


def test_a_run_with_a_damaged_state_continues_from_the_one_before(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(loop, "LOG_EVERY", 1)
    whole, _ = train(tmp_path / "whole")
    monkeypatch.setattr(loop, "SAVE_EVERY_SECONDS", -1.0)
    with pytest.raises(StopError):
        train(tmp_path / "parts", stop_after=4)  # the state of step 3 is whole, the one of step 4 is not
    file = tmp_path / "parts" / "state.pt"
    file.write_bytes(file.read_bytes()[:1000])
    resumed, steps = train(tmp_path / "parts")
    assert steps == [4, 5, 6, 7]
    logged = [
        json.loads(line)["step"] for line in (tmp_path / "parts" / "metrics.jsonl").read_text().splitlines()
    ]
    assert logged == [1, 2, 3, 4, 5, 6, 7]
    for name, value in whole.state_dict().items():
        torch.testing.assert_close(resumed.state_dict()[name], value, rtol=0, atol=1e-6, msg=name)


def strict(line: str) -> dict[str, float]:
    """JSON without NaN and infinity."""

    def refuse(name: str) -> float:
        raise AssertionError(name)

    return json.loads(line, parse_constant=refuse)


@pytest.mark.parametrize("lr", [1e6, 10.0])
def test_a_run_that_diverges_stops_and_leaves_finite_weights(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, lr: float
) -> None:
    monkeypatch.setattr(loop, "SAVE_EVERY_SECONDS", -1.0)
    monkeypatch.setattr(loop, "LOG_EVERY", 1)
    config = CONFIG.model_copy(update={"lr": lr, "steps": 40})
    with pytest.raises(
        InputError, match=r"(not finite|is (nan|inf)).*, .* nothing more can be learned; "
    ) as caught:
        train(tmp_path / "run", config)
    assert f"train with a smaller --lr than {lr:g} and another --out" in str(caught.value)
    for line in (tmp_path / "run" / "metrics.jsonl").read_text().splitlines():
        strict(line)
    weights = load_file(tmp_path / "run" / "model.safetensors")
    assert all(bool(value.isfinite().all()) for value in weights.values())
    state = torch.load(tmp_path / "run" / "state.pt", weights_only=True)
    assert all(bool(value.isfinite().all()) for value in state["model"].values())


class Breaking(GetamRecipe):
    """A recipe that goes wrong at one step, in one of three places."""

    at, where = 3, "loss"

    def losses(self, net: Any, batch: Any, progress: float, config: Any) -> dict[str, Tensor]:
        scores = net(batch["image"])[0].mean()
        if round(progress * config.steps) != self.at - 1:
            return {"cls": scores, "sal": scores * 0}
        if self.where == "gradient":
            return {"cls": scores, "sal": (scores - scores.detach()).sqrt()}  # √0 has no derivative
        if self.where == "weights":
            with torch.no_grad():
                net.classifier.bias[0] = torch.nan
            return {"cls": scores}
        return {"cls": scores, "sal": scores * torch.inf}


@pytest.mark.parametrize(
    ("where", "save_every", "message"),
    [
        (
            "loss",
            1e9,
            r"loss sal of step 3 is -?(inf|nan) \(photos of this step: photo \d, photo \d\), so that nothing more can "
            "be learned; nothing had been saved",
        ),
        (
            "loss",
            -1.0,
            "loss sal of step 3 is .*; what was saved after step 2 is kept: train with a smaller --lr",
        ),
        (
            "gradient",
            -1.0,
            r"gradients of the loss of step 3 \(cls .*, sal 0\) are not finite, first that of encoder.* \(photos of "
            r"this step: photo \d, photo \d\), .* saved after step 2 is kept",
        ),
        ("weights", -1.0, "weights after step 3 are not finite, .*; what was saved after step 2 is kept"),
    ],
)
def test_what_is_not_finite_is_named_and_the_last_good_state_kept(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, where: str, save_every: float, message: str
) -> None:
    monkeypatch.setattr(loop, "SAVE_EVERY_SECONDS", save_every)
    monkeypatch.setattr(Breaking, "where", where)
    monkeypatch.setitem(globals(), "GetamRecipe", Breaking)
    with pytest.raises(InputError, match=message):
        train(tmp_path / "run")
    state = RunFolder(tmp_path / "run").state()
    assert (state is None) == (save_every > 0)
    if state is not None:
        assert state["step"] == 2
        assert all(bool(value.isfinite().all()) for value in state["model"].values())
        assert (tmp_path / "run" / "model.safetensors").is_file()


def test_the_part_of_the_network_that_broke_is_named(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    class Overflowing(GetamRecipe):
        def losses(self, net: Any, batch: Any, progress: float, config: Any) -> dict[str, Tensor]:
            if progress:
                with torch.no_grad():
                    net.classifier.bias[0] = torch.inf
            return super().losses(net, batch, progress, config)

    monkeypatch.setitem(globals(), "GetamRecipe", Overflowing)
    with pytest.raises(InputError, match="is inf; classifier was the first part of the network to give it"):
        train(tmp_path / "run")


def test_a_resumed_run_that_diverges_says_what_it_began_with(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    with monkeypatch.context() as patch:
        patch.setattr(loop, "SAVE_EVERY_SECONDS", -1.0)
        with pytest.raises(StopError):
            train(tmp_path / "run", stop_after=2)
    monkeypatch.setitem(globals(), "GetamRecipe", Breaking)
    with pytest.raises(InputError, match=r"loss sal of step 3 .*; what was saved after step 2 is kept"):
        train(tmp_path / "run")


def test_the_last_weights_are_finite_or_an_error(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(Breaking, "where", "weights")
    monkeypatch.setattr(Breaking, "at", 7)
    monkeypatch.setitem(globals(), "GetamRecipe", Breaking)
    with pytest.raises(InputError, match="weights after step 7 are not finite"):
        train(tmp_path / "run")
    assert not (tmp_path / "run" / "model.safetensors").exists()


def test_the_network_is_in_training_mode_while_it_trains(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    modes: list[bool] = []

    class Asleep(GetamConfig):
        def build(self, classes: Any) -> Segmenter:
            return super().build(classes).eval()

    class Watched(GetamRecipe):
        def losses(self, net: Any, batch: Any, progress: float, config: Any) -> dict[str, Tensor]:
            modes.extend(module.training for module in net.modules())
            return super().losses(net, batch, progress, config)

    monkeypatch.setitem(globals(), "GetamRecipe", Watched)
    net, _ = train(tmp_path / "run", Asleep(**CONFIG.model_dump()))
    assert modes
    assert all(modes)
    assert not any(module.training for module in net.modules())


def test_the_learning_rates_follow_the_recipe(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(loop, "LOG_EVERY", 2)
    config = CONFIG.model_copy(update={"lr": 0.01, "joint_lr_factor": 0.5, "poly_power": 2.0, "steps": 8})
    train(tmp_path / "run", config)
    logged = [strict(line) for line in (tmp_path / "run" / "metrics.jsonl").read_text().splitlines()]
    assert [entry["step"] for entry in logged] == [2, 4, 6, 8]
    expected = [0.01 * (1 - done / 8) ** 2 * (0.5 if done >= 4 else 1) for done in (1, 3, 5, 7)]
    assert [entry["lr"] for entry in logged] == pytest.approx(expected)


def test_training_is_the_plain_loop(tmp_path: Path) -> None:
    """Eight lines of torch, without a run folder, give the same weights after two epochs and a half."""
    config = CONFIG.model_copy(update={"steps": 5, "seed": 3, "joint_lr_factor": 0.5, "lr": 0.01})
    found, _ = train(tmp_path / "run", config)
    torch.manual_seed(3)
    recipe, data = GetamRecipe(), Halves()
    net = config.build(("red", "blue")).to(memory_format=torch.channels_last).train()
    optim = optimizer(net, config)
    for step in range(5):
        epoch = step // 2  # five photos make two batches of two
        order = torch.randperm(5, generator=torch.Generator().manual_seed(3 * 1_000_003 + epoch)).tolist()
        data.set_epoch(epoch)
        items = [data[index] for index in order[2 * (step % 2) :][:2]]
        batch = {name: torch.stack([item[name] for item in items]) for name in items[0]}
        for group in optim.param_groups:
            group["lr"] = 0.01 * (1 - step / 5) ** 0.9 * (0.5 if step / 5 >= 0.5 else 1.0)
        optim.zero_grad()
        sum(recipe.losses(net, batch, step / 5, config).values()).backward()  # type: ignore[union-attr]
        optim.step()
    for name, value in net.state_dict().items():
        torch.testing.assert_close(found.state_dict()[name], value, rtol=0, atol=1e-6, msg=name)
    kernels = [p for p in found.parameters() if p.ndim == 4 and min(p.shape) > 1]
    assert all(p.is_contiguous(memory_format=torch.channels_last) for p in kernels)


def test_a_weight_that_a_step_does_not_reach_stays_as_it_is(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Neither moments nor decay move it: after the first step only the first layer is trained."""
    seen: list[Tensor] = []

    def losses(self: Any, net: Any, batch: Any, progress: float, config: Any) -> dict[str, Tensor]:
        seen.append(net.classifier.weight.detach().clone())
        if progress == 0:
            return {"cls": net(batch["image"])[0].mean()}
        return {"cls": next(net.encoder.parameters()).square().mean()}

    monkeypatch.setattr(GetamRecipe, "losses", losses)
    train(tmp_path / "run", CONFIG.model_copy(update={"steps": 4, "lr": 0.01}))
    assert not torch.equal(seen[0], seen[1])
    assert torch.equal(seen[1], seen[3])


def test_seeds_differ(tmp_path: Path) -> None:
    config = CONFIG.model_copy(update={"steps": 1})
    first, _ = train(tmp_path / "0", config)
    second, _ = train(tmp_path / "1", config.model_copy(update={"seed": 1}))
    assert not torch.equal(first.classifier.weight, second.classifier.weight)


def test_a_run_is_saved_every_two_minutes_and_at_its_end(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """On a clock where a step takes 50 seconds: 121 seconds and more after the last time."""
    clock, saved = [1000.0], []
    save = RunFolder.save

    def watched(self: RunFolder, net: Any, record: Any, state: Any) -> None:
        saved.append(state["step"])
        save(self, net, record, state)

    def losses(self: Any, net: Any, batch: Any, progress: float, config: Any) -> dict[str, Tensor]:
        clock[0] += 50
        return {"cls": net(batch["image"])[0].mean()}

    monkeypatch.setattr(loop.time, "monotonic", lambda: clock[0])
    monkeypatch.setattr(loop, "LOG_EVERY", 4)
    monkeypatch.setattr(RunFolder, "save", watched)
    monkeypatch.setattr(GetamRecipe, "losses", losses)
    train(tmp_path / "run", CONFIG.model_copy(update={"steps": 9}))
    assert saved == [3, 6, 9]
    logged = [strict(line) for line in (tmp_path / "run" / "metrics.jsonl").read_text().splitlines()]
    assert [(entry["step"], entry["photos_per_second"]) for entry in logged] == [
        (4, 0.04),
        (8, 0.04),
        (9, 0.04),
    ]
    assert loop.SAVE_EVERY_SECONDS == 120


def test_the_rate_of_a_resumed_run_counts_its_own_photos(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(loop, "SAVE_EVERY_SECONDS", -1.0)
    with pytest.raises(StopError):
        train(tmp_path / "run", stop_after=5)
    clock = [0.0]

    def losses(self: Any, net: Any, batch: Any, progress: float, config: Any) -> dict[str, Tensor]:
        clock[0] += 1
        return {"cls": net(batch["image"])[0].mean()}

    monkeypatch.setattr(loop.time, "monotonic", lambda: clock[0])
    monkeypatch.setattr(GetamRecipe, "losses", losses)
    train(tmp_path / "run")
    assert json.loads((tmp_path / "run" / "metrics.jsonl").read_text())["photos_per_second"] == 2.0


def test_the_model_file_says_what_was_configured(tmp_path: Path) -> None:
    config = CONFIG.model_copy(update={"steps": 1})
    train(tmp_path / "run", config)
    kind, classes, about = read_metadata(tmp_path / "run" / "model.safetensors")
    assert (kind, classes, about) == ("segmenter", ("red", "blue"), config.model_dump(mode="json"))


def test_photos_are_loaded_by_as_many_workers_as_asked(tmp_path: Path) -> None:
    class Telling(Halves):
        def __getitem__(self, index: int) -> dict[str, Tensor]:
            info = get_worker_info()
            raise InputError("no worker" if info is None else f"{info.num_workers} workers")

    for workers, said in ((0, "no worker"), (2, "2 workers")):
        run = RunFolder(tmp_path / str(workers))
        run.open({})
        with pytest.raises(InputError, match=f"^{said}$"):
            fit(GetamRecipe(), CONFIG, Telling(), ("red", "blue"), run, record={}, workers=workers)


def test_a_resumed_run_asks_for_no_backbone_weights(tmp_path: Path) -> None:
    asked = []

    class Watched(GetamConfig):
        def build(self, classes: Any) -> Segmenter:
            asked.append(self.weights)
            return super().build(classes)

    config = Watched(**{**CONFIG.model_dump(), "steps": 1})
    for _ in range(2):
        with RunFolder(tmp_path / "run") as run:
            run.open(config.model_dump(mode="json"))
            fit(GetamRecipe(), config, Halves(), ("red", "blue"), run, record=config.model_dump(mode="json"))
    assert asked == [None, ""]


@pytest.mark.parametrize("number", [signal.SIGINT, signal.SIGTERM])
def test_a_signal_ends_the_run_after_its_step(
    tmp_path: Path, capfd: pytest.CaptureFixture[str], number: signal.Signals
) -> None:
    whole, _ = train(tmp_path / "whole")
    before = signal.getsignal(number)
    with RunFolder(tmp_path / "run") as run:
        record = CONFIG.model_dump(mode="json")
        run.open(record)

        def advance(step: int, losses: dict[str, float]) -> None:
            if step == 3:
                os.kill(os.getpid(), number)

        with pytest.raises(
            Stopped, match="was stopped after step 3 of 7 and saved: the same command goes on"
        ) as caught:
            fit(GetamRecipe(), CONFIG, Halves(), ("red", "blue"), run, record=record, advance=advance)
        assert caught.value.number == number
        assert (run.state() or {})["step"] == 3
    assert signal.getsignal(number) == before
    assert "getam: stopping after this step" in capfd.readouterr().err
    again, steps = train(tmp_path / "run")
    assert steps == [4, 5, 6, 7]
    assert all(torch.equal(a, b) for a, b in zip(whole.state_dict().values(), again.state_dict().values()))


def test_a_signal_in_the_last_step_is_not_lost(tmp_path: Path) -> None:
    with RunFolder(tmp_path / "run") as run:
        record = CONFIG.model_dump(mode="json")
        run.open(record)
        with pytest.raises(Stopped, match="after step 7 of 7"):
            fit(
                GetamRecipe(), CONFIG, Halves(), ("red", "blue"), run, record=record,
                advance=lambda step, _: os.kill(os.getpid(), signal.SIGTERM) if step == 7 else None,
            )  # fmt: skip
        assert (run.state() or {})["step"] == 7


def test_a_second_signal_stops_at_once(tmp_path: Path) -> None:
    with RunFolder(tmp_path / "run") as run:
        record = CONFIG.model_dump(mode="json")
        run.open(record)

        def advance(step: int, losses: dict[str, float]) -> None:
            os.kill(os.getpid(), signal.SIGINT)
            os.kill(os.getpid(), signal.SIGTERM)

        with pytest.raises(Stopped, match="stopped at once") as caught:
            fit(GetamRecipe(), CONFIG, Halves(), ("red", "blue"), run, record=record, advance=advance)
        assert caught.value.number == signal.SIGTERM
        assert run.state() is None
