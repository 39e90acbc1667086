"""What one process of many does for `getam label --engine ray`: reads photos, labels them, writes their masks."""

from __future__ import annotations

import hashlib
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from pathlib import Path
from tempfile import TemporaryDirectory

import numpy as np
import numpy.typing as npt
from torch import Tensor

from getam.data.grey_maps import as_map, fitted
from getam.data.map_cache import grey
from getam.data.overlap import read_ahead, write_behind
from getam.data.photos import as_tensor, decode_grey, decode_near
from getam.data.places import read_bytes, write_bytes
from getam.engine.device import choose_device
from getam.errors import InputError
from getam.nets.network import Network
from getam.opened.saliency import Opened, open_provider
from getam.opened.saliency_source import is_mute
from getam.pipeline import Pipeline
from getam.verbs.tags_to_mask import NetworkSource, TagsToMask

SALIENCY_MAP = "saliency map"


@dataclass(frozen=True)
class Task:
    """One photo to label; plain values.

    Attributes:
        name: of the photo.
        key: of everything its mask is made from (`getam.verbs.label_on_ray.receipts`).
        photo, mask: places (`getam.data.places`) to read and to write.
        tags: names of classes.
        saliency: the place of its map; None where maps are made here, or not used.
    """

    name: str
    key: str
    photo: str
    mask: str
    tags: tuple[str, ...]
    saliency: str | None = None


@dataclass(frozen=True)
class Done:
    """What came of a task.

    Attributes:
        name, key: of the task.
        size, sha256: of the mask's file.
        photo_sha256: of the photo's file.
        mute: the saliency map that was made says nothing (`is_mute`).
        error: why the photo could not be read; then there is no mask.
    """

    name: str
    key: str
    size: int = 0
    sha256: str = ""
    photo_sha256: str = ""
    mute: bool = False
    error: str = ""


@dataclass(frozen=True)
class Plan:
    """What all workers of a call are made from; plain values, to be sent to another machine.

    Attributes:
        origin, pipeline: what makes the masks.
        provider: what makes the saliency maps; None: they are files, or not used.
        device: as on the command line.
    """

    origin: NetworkSource
    pipeline: Pipeline
    provider: str | None
    device: str


class LabelWorker:
    """Opens the network once, then labels photos.

    Args:
        plan: of the call.
        weights: content of `plan.origin.file()`, which need not be on this machine; None where that is None.
    """

    def __init__(self, plan: Plan, weights: bytes | None = None) -> None:
        origin, device = plan.origin, choose_device(plan.device)
        with TemporaryDirectory() as folder:
            if weights is not None and (file := origin.file()) is not None:
                origin = origin.moved(Path(folder) / file.name)
                (Path(folder) / file.name).write_bytes(weights)
            net = origin.open(device)
            self._to_mask = TagsToMask(net, plan.pipeline)
            self._provider = open_saliency(plan.provider, net, origin)

    def __call__(self, tasks: Sequence[Task]) -> list[Done]:
        """Label photos and write their masks; no more than a few photos are in memory at a time.

        A task done twice writes the same bytes under the same name.

        Raises:
            OSError: a mask cannot be written, or a store not be reached.
        """
        done: list[Done] = []

        def skip(task: Task, error: InputError) -> None:
            done.append(Done(task.name, task.key, error=str(error)))

        with write_behind() as write:
            for task, (photo, saliency, digest) in read_ahead(tasks, _read, skip=skip):
                mute = False
                if self._provider is not None:
                    made = grey(self._provider.saliency(photo).cpu().numpy())
                    mute, saliency = is_mute(made), _fitted(made, task.photo, photo)
                write(_write, task, self._to_mask(photo, saliency, task.tags), digest, mute, done)
        return done


def open_saliency(provider: str | None, net: Network, origin: NetworkSource) -> Opened | None:
    """A provider by its name, on the device of the network, whose attention is read where it reads that."""
    if provider is None:
        return None
    own = (net, origin.file()) if provider == "attention" else (None, None)
    return open_provider(provider, net=own[0], model=own[1], device=next(net.parameters()).device)


def read_pixels(place: str) -> tuple[Tensor, str]:
    """The photo (3,H,W) uint8 at a place, and the sha256 of its file; raises `InputError` as `read_photo`."""
    content = _content(place)
    return as_tensor(decode_near(content, place, None)[0]), hashlib.sha256(content).hexdigest()


def _read(task: Task) -> tuple[Tensor, Tensor | None, str]:
    photo, digest = read_pixels(task.photo)
    if task.saliency is None:
        return photo, None, digest
    values = np.array(decode_grey(_content(task.saliency), task.saliency))
    return photo, _fitted(values, task.saliency, photo), digest


def _fitted(values: npt.NDArray[np.uint8], place: str, photo: Tensor) -> Tensor:
    size = (photo.shape[-2], photo.shape[-1])
    return fitted(as_map(values, place, size, SALIENCY_MAP), size)


def _content(place: str) -> bytes:
    try:
        return read_bytes(place)
    except (FileNotFoundError, IsADirectoryError):
        raise InputError(f"photo {place} does not exist or is no file: check the path.") from None


def _write(task: Task, encode: Callable[[], bytes], digest: str, mute: bool, done: list[Done]) -> None:
    content = encode()
    write_bytes(task.mask, content)
    done.append(Done(task.name, task.key, len(content), hashlib.sha256(content).hexdigest(), digest, mute))
