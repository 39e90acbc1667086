"""Batches are a permutation of the photos each epoch, known by name, and the same from any step on."""

from __future__ import annotations

import os
import signal

import pytest
import torch
from noisy_halves import CONFIG, Halves
from torch import Tensor

from getam.engine.batches import batches
from getam.errors import InputError


@pytest.mark.parametrize("workers", [0, 2])
def test_a_broken_photo_is_one_sentence_with_workers_too(workers: int) -> None:
    class Broken(Halves):
        def __getitem__(self, index: int) -> dict[str, Tensor]:
            if index == 3:
                raise InputError("photo 3 cannot be read")
            return super().__getitem__(index)

    with pytest.raises(InputError) as caught:
        list(batches(Broken(5), CONFIG, 0, workers))
    assert str(caught.value) == "photo 3 cannot be read"


def test_workers_give_the_same_batches() -> None:
    alone, shared = (list(batches(Halves(5), CONFIG, 1, workers)) for workers in (0, 2))
    assert [step for step, _, _ in alone] == [step for step, _, _ in shared] == [1, 2, 3, 4, 5, 6]
    assert [names for _, names, _ in alone] == [names for _, names, _ in shared]
    for (_, _, one), (_, _, other) in zip(alone, shared):
        assert one.keys() == other.keys()
        assert all(torch.equal(one[key], other[key]) for key in one)


def test_batches_are_a_permutation_each_epoch_and_can_be_skipped() -> None:
    class Indices(Halves):
        def __getitem__(self, index: int) -> dict[str, Tensor]:
            return {"index": torch.tensor(index), "epoch": torch.tensor(self.epoch)}

    config = CONFIG.model_copy(update={"steps": 7})
    whole = [
        (step, b["index"].tolist(), b["epoch"].tolist()) for step, _, b in batches(Indices(5), config, 0, 0)
    ]
    assert [step for step, _, _ in whole] == list(range(7))
    for first in range(0, 6, 2):  # 5 photos make two batches of 2 an epoch
        seen = whole[first][1] + whole[first + 1][1]
        assert len(set(seen)) == 4
        assert whole[first][2] == whole[first + 1][2] == [first // 2] * 2
    assert whole[0][1:2] + whole[1][1:2] != whole[2][1:2] + whole[3][1:2]
    later = [
        (step, b["index"].tolist(), b["epoch"].tolist()) for step, _, b in batches(Indices(5), config, 3, 0)
    ]
    assert later == whole[3:]
    other = config.model_copy(update={"seed": 1})
    assert [b["index"].tolist() for _, _, b in batches(Indices(5), other, 0, 0)] != [i for _, i, _ in whole]


def test_fewer_photos_than_a_batch_make_one_batch() -> None:
    config = CONFIG.model_copy(update={"batch_size": 16, "steps": 2})
    assert [len(b["image"]) for _, _, b in batches(Halves(3), config, 0, 0)] == [3, 3]


def test_a_batch_comes_with_the_names_of_its_photos() -> None:
    class Indices(Halves):
        def __getitem__(self, index: int) -> dict[str, Tensor]:
            return {"index": torch.tensor(index)}

    for _, names, batch in batches(Indices(5), CONFIG, 0, 0):
        assert names == [f"photo {index}" for index in batch["index"].tolist()]


def test_workers_leave_signals_to_the_parent() -> None:
    class Signalled(Halves):
        def __getitem__(self, index: int) -> dict[str, Tensor]:
            for number in (signal.SIGINT, signal.SIGTERM):
                os.kill(os.getpid(), number)
            return super().__getitem__(index)

    assert len(list(batches(Signalled(5), CONFIG, 5, 1))) == 2
