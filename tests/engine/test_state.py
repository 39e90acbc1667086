"""The last two states of a run: whole, or known to be damaged; and the random numbers of every device."""

import logging
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch

from getam.engine import state as module
from getam.engine.state import random_state, read_state, restore_random, write_state
from getam.errors import InputError


def state(step: int) -> dict[str, Any]:
    weights = torch.full((40, 5), float(step))
    return {"step": step, "model": {"w": weights}, "optimizer": {"state": {0: {"exp_avg": weights}}}}


def test_what_was_written_last_is_read(tmp_path: Path, caplog: pytest.LogCaptureFixture) -> None:
    assert read_state(tmp_path) is None
    for step in (1, 2, 3):
        write_state(tmp_path, state(step))
        found = read_state(tmp_path)
        assert found is not None
        assert found["step"] == step
        assert torch.equal(found["model"]["w"], state(step)["model"]["w"])
    assert sorted(file.name for file in tmp_path.iterdir()) == ["state-before.pt", "state.pt"]
    assert not caplog.records


@pytest.mark.parametrize(
    "damage",
    [lambda content: b"", lambda content: content[: len(content) // 2], lambda content: b"\0" * len(content),
     lambda content: content[:-1], lambda content: b"not a state", lambda content: np.savez.__doc__.encode()],
    ids=["empty", "half", "NUL bytes", "all but a byte", "text", "more text"],
)  # fmt: skip
def test_a_damaged_state_gives_way_to_the_one_before(
    tmp_path: Path, caplog: pytest.LogCaptureFixture, damage: Any
) -> None:
    write_state(tmp_path, state(1))
    write_state(tmp_path, state(2))
    file = tmp_path / "state.pt"
    file.write_bytes(damage(file.read_bytes()))
    found = read_state(tmp_path)
    assert found is not None
    assert found["step"] == 1
    assert [record.levelno for record in caplog.records] == [logging.WARNING]
    assert "state.pt is damaged: the run continues from the state saved before it" in caplog.text
    (tmp_path / "state-before.pt").write_bytes(b"")
    with pytest.raises(
        InputError, match=r"state\.pt is damaged, and no state before it is whole: .* another --out"
    ):
        read_state(tmp_path)
    assert len(caplog.records) == 2  # one a call: after the last file nothing continues


def test_no_flipped_bit_is_read_as_a_state(tmp_path: Path) -> None:
    write_state(tmp_path, state(7))
    file = tmp_path / "state.pt"
    content, generator = file.read_bytes(), np.random.default_rng(0)
    noticed = 0
    for place in generator.integers(0, len(content), 80):
        flipped = bytearray(content)
        flipped[place] ^= 1 << int(generator.integers(8))
        file.write_bytes(flipped)
        try:
            found = read_state(tmp_path)
        except InputError:
            noticed += 1
        else:  # between the records
            assert found is not None
            assert found["step"] == 7
            assert torch.equal(found["model"]["w"], state(7)["model"]["w"])
            assert torch.equal(found["optimizer"]["state"][0]["exp_avg"], state(7)["model"]["w"])
    assert noticed > 20


def test_a_file_of_something_else_is_no_state(tmp_path: Path) -> None:
    torch.save(torch.zeros(3), tmp_path / "state.pt")
    with pytest.raises(InputError, match="is damaged"):
        read_state(tmp_path)


class Malice:
    """A pickle that writes a file when it is loaded."""

    def __init__(self, mark: Path) -> None:
        self.mark = mark

    def __reduce__(self) -> tuple[Any, ...]:
        return Path.touch, (self.mark,)


def test_a_state_runs_no_code(tmp_path: Path) -> None:
    write_state(tmp_path, {**state(1), "more": Malice(tmp_path / "mark")})
    with pytest.raises(InputError, match="is damaged"):
        read_state(tmp_path)
    assert not (tmp_path / "mark").exists()


def test_a_write_that_fails_leaves_the_states_as_they_were(tmp_path: Path) -> None:
    write_state(tmp_path, state(1))
    write_state(tmp_path, state(2))
    before = {file.name: file.read_bytes() for file in tmp_path.iterdir()}
    with pytest.raises(Exception, match="pickle"):
        write_state(tmp_path, {**state(3), "bad": lambda: None})
    assert {file.name: file.read_bytes() for file in tmp_path.iterdir()} == before


def test_a_process_killed_between_the_two_renames_loses_nothing(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    write_state(tmp_path, state(1))
    write_state(tmp_path, state(2))
    replace = module.os.replace

    def once(source: Path, target: Path) -> None:
        replace(source, target)
        raise KeyboardInterrupt

    monkeypatch.setattr(module.os, "replace", once)
    with pytest.raises(KeyboardInterrupt):
        write_state(tmp_path, state(3))
    found = read_state(tmp_path)
    assert found is not None
    assert found["step"] == 2


def test_the_cpus_random_numbers_go_on() -> None:
    before = random_state()
    expected = torch.rand(3)
    torch.rand(5)
    restore_random(before)
    assert torch.equal(torch.rand(3), expected)


def test_every_accelerators_random_numbers_go_on(monkeypatch: pytest.MonkeyPatch) -> None:
    """Two CUDA devices and Apple's, each with a state of its own; there is none where the tests run."""
    devices = {0: torch.tensor([10]), 1: torch.tensor([11])}
    apple = [torch.tensor([20])]
    monkeypatch.setattr(torch.cuda, "is_available", lambda: True)
    monkeypatch.setattr(torch.cuda, "device_count", lambda: len(devices))
    monkeypatch.setattr(torch.cuda, "get_rng_state_all", lambda: [devices[i].clone() for i in devices])
    monkeypatch.setattr(
        torch.cuda, "set_rng_state", lambda state, device="cuda": devices.__setitem__(device, state)
    )
    monkeypatch.setattr(torch.backends.mps, "is_available", lambda: True)
    monkeypatch.setattr(torch.mps, "get_rng_state", lambda: apple[0].clone())
    monkeypatch.setattr(torch.mps, "set_rng_state", lambda state: apple.__setitem__(0, state))
    kept = random_state()
    devices[0], devices[1], apple[0] = torch.tensor([0]), torch.tensor([0]), torch.tensor([0])
    restore_random(kept)
    assert (int(devices[0]), int(devices[1]), int(apple[0])) == (10, 11, 20)
    del devices[1]
    restore_random(kept)  # a machine with fewer devices
    restore_random({"cpu": torch.get_rng_state()})  # a state from a machine without any
    assert (int(devices[0]), int(apple[0])) == (10, 20)
