"""The batches of a training: which photos, in which order, from any step on."""

from __future__ import annotations

from collections.abc import Iterator
from typing import Any, Protocol

import torch
from torch import Tensor
from torch.utils.data import DataLoader, Dataset, default_collate

from getam.engine.ranks import rank, world
from getam.engine.stopping import leave_to_the_parent
from getam.errors import GetamError, InputError
from getam.recipes.base import CommonConfig


class EpochDataset(Protocol):
    """A map-style data set whose augmentation follows the epoch."""

    def __len__(self) -> int: ...
    def __getitem__(self, index: int) -> dict[str, Tensor]: ...
    def set_epoch(self, epoch: int) -> None: ...
    def name(self, index: int) -> str: ...


def batches(
    data: EpochDataset, config: CommonConfig, start: int, workers: int
) -> Iterator[tuple[int, list[str], dict[str, Tensor]]]:
    """(step, names of its photos, batch) from `start` on.

    Every epoch is a permutation drawn from (seed, epoch), incomplete batches dropped. Of several processes each has its
    share of every batch.
    """
    size, among = min(config.batch_size, len(data)), world()
    if size % among:
        raise InputError(
            f"a batch of {size} photos cannot be dealt to {among} processes: give a multiple of {among}"
        )
    per_epoch = len(data) // size
    step = start
    while step < config.steps:
        epoch, skipped = divmod(step, per_epoch)
        data.set_epoch(epoch)
        generator = torch.Generator().manual_seed(config.seed * 1_000_003 + epoch)
        order = torch.randperm(len(data), generator=generator).tolist()
        dealt = [order[i * size : (i + 1) * size] for i in range(skipped, per_epoch)]
        todo = [batch[rank() :: among] for batch in dealt][: config.steps - step]
        loader = DataLoader(
            _ErrorsAsItems(data), batch_sampler=todo, num_workers=workers, collate_fn=_collate,
            # With its own generator the loader leaves the global one alone, which a resumed run continues exactly.
            generator=generator, worker_init_fn=leave_to_the_parent,
        )  # fmt: skip
        for photos, batch in zip(todo, loader, strict=True):
            if isinstance(batch, GetamError):
                raise batch
            yield step, [data.name(index) for index in photos], batch
            step += 1


class _ErrorsAsItems(Dataset[Any]):
    """The same data, its errors handed over instead of raised: a worker's would arrive as the text of a traceback."""

    def __init__(self, data: EpochDataset) -> None:
        self.data = data

    def __getitem__(self, index: int) -> dict[str, Tensor] | GetamError:
        try:
            return self.data[index]
        except GetamError as error:
            return error


def _collate(items: list[dict[str, Tensor] | GetamError]) -> Any:
    """One batch, or the first error among its items."""
    error = next((item for item in items if isinstance(item, GetamError)), None)
    return default_collate(items) if error is None else error
