"""Fabric's words are checked before any work, and compared with what a launcher has started."""

from __future__ import annotations

from typing import Any

import pytest
import torch

from getam.engine.hardware import Hardware, NotLaunchedError, require_processes
from getam.engine.processes import launched
from getam.engine.ranks import LAUNCHED
from getam.errors import InputError

CPU = Hardware("cpu")


@pytest.fixture
def no_accelerator(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(torch.cuda, "is_available", lambda: False)
    monkeypatch.setattr(torch.backends.mps, "is_available", lambda: False)


@pytest.mark.parametrize(
    ("options", "said"),
    [
        ({"accelerator": "tpu"}, "--accelerator tpu is none: choose one of auto, cpu, cuda, mps"),
        ({"precision": "16-true"}, "--precision 16-true is not for training, where weights and maps are float32"),
        ({"precision": "bf16"}, "choose one of 32-true, bf16-mixed, 16-mixed"),
        ({"accelerator": "cuda"}, "--accelerator cuda: torch finds no such device on this machine"),
    ],
)  # fmt: skip
def test_words_that_make_no_sense_are_refused(
    options: dict[str, str], said: str, no_accelerator: None
) -> None:
    with pytest.raises(InputError, match=said):
        Hardware(**options)


def test_auto_is_what_there_is(no_accelerator: None, monkeypatch: pytest.MonkeyPatch) -> None:
    assert (Hardware().kind, CPU.kind) == ("cpu", "cpu")
    monkeypatch.setattr(torch.cuda, "is_available", lambda: True)
    assert (Hardware().kind, CPU.kind) == ("cuda", "cpu")
    monkeypatch.setattr(torch.backends.mps, "is_available", lambda: True)  # as Fabric has it
    assert Hardware().kind == "mps"


@pytest.mark.parametrize(
    ("precision", "inside", "scales"),
    [
        ("32-true", torch.float32, False),
        ("bf16-mixed", torch.bfloat16, False),
        ("16-mixed", torch.float16, True),
    ],
)
def test_the_network_runs_in_the_precision_and_gives_float32(
    precision: str, inside: torch.dtype, scales: bool
) -> None:
    seen: dict[str, torch.Tensor] = {}

    class Net(torch.nn.Module):
        def __init__(self) -> None:
            super().__init__()
            self.linear = torch.nn.Linear(2, 2)

        def forward(self, photo: torch.Tensor) -> torch.Tensor:
            seen["photo"], seen["found"] = photo, self.linear(photo)
            return seen["found"]

    fabric = launched(Hardware("cpu", precision))
    model: Any = fabric.setup_module(Net())
    photo = torch.tensor([[201.3, 0.123456]])
    assert model(photo).dtype == torch.float32
    assert torch.equal(seen["photo"], photo)
    assert seen["found"].dtype == inside
    assert model.module.linear.weight.dtype == torch.float32
    assert (getattr(fabric.strategy.precision, "scaler", None) is not None) == scales
    assert fabric.device.type == "cpu"


def started(monkeypatch: pytest.MonkeyPatch, together: int, here: int) -> None:
    for name in LAUNCHED:
        monkeypatch.setenv(name, "0")
    monkeypatch.setenv("WORLD_SIZE", str(together))
    monkeypatch.setenv("LOCAL_WORLD_SIZE", str(here))


@pytest.mark.parametrize(
    ("devices", "nodes", "fits"),
    [(None, None, True), (2, 3, True), (2, None, True), (None, 3, True), (1, None, False), (6, None, False),
     (2, 1, False), (None, 2, False)],
)  # fmt: skip
def test_what_a_launcher_started_must_be_what_was_asked(
    devices: int | None, nodes: int | None, fits: bool, monkeypatch: pytest.MonkeyPatch
) -> None:
    started(monkeypatch, 6, 2)
    if fits:
        require_processes(CPU, devices, nodes)
        return
    with pytest.raises(InputError, match="the launcher has started 2 processes on 3: leave --devices"):
        require_processes(CPU, devices, nodes)


def test_one_process_is_what_there_is_without_a_launcher(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("LOCAL_WORLD_SIZE", "7")  # half a launcher is none
    require_processes(CPU, None, None)
    require_processes(CPU, 1, 1)
    with pytest.raises(
        NotLaunchedError, match=r"--nproc-per-node 3 PROGRAM.py, or use .* --devices 3"
    ) as told:
        require_processes(CPU, 3, None)
    assert told.value.processes == 3


@pytest.mark.parametrize(
    ("devices", "nodes", "said"),
    [
        (0, None, "--devices 0: give 1 or more"),
        (None, 0, "--num-nodes 0: give 1 or more"),
        (4, 2, r"--nnodes 2 --nproc-per-node 4 .* -m getam train"),
    ],
)
def test_numbers_that_cannot_be_are_refused(devices: int | None, nodes: int | None, said: str) -> None:
    with pytest.raises(InputError, match=said) as told:
        require_processes(CPU, devices, nodes)
    assert not isinstance(told.value, NotLaunchedError)


def test_every_process_has_a_device_of_its_own(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(torch.backends.mps, "is_available", lambda: False)
    monkeypatch.setattr(torch.cuda, "is_available", lambda: True)
    monkeypatch.setattr(torch.cuda, "device_count", lambda: 2)
    with pytest.raises(InputError, match="--devices 3: there are 2 cuda devices here"):
        require_processes(Hardware(), 3, None)
    with pytest.raises(NotLaunchedError):
        require_processes(Hardware(), 2, None)
