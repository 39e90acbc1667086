"""`getam label --engine ray`: many processes, on one machine or many, label photos that may lie in an object store.

Photos go from the store to a worker and masks back: neither passes through the caller or Ray's shared memory, which
hold a row of plain values for each photo. A worker has a few photos in memory, whatever their number. Ray starts
workers anew that die, and gives their photos out again; a mask that is made twice is the same file twice.
"""

from __future__ import annotations

import json
import math
import os
from collections.abc import Iterator, Sequence
from contextlib import suppress
from dataclasses import asdict
from pathlib import Path
from types import ModuleType
from typing import Any

import numpy as np

from getam.data.collection import Sample
from getam.data.map_cache import grey
from getam.data.places import is_remote, place_of, stamp_of
from getam.data.remote_collection import RemotePhoto, remote_collection
from getam.engine.device import AUTO
from getam.errors import GetamError, InputError
from getam.nets.network import Network
from getam.opened.saliency import AUTO_PROVIDER, MADE
from getam.opened.saliency_source import is_mute, left_out, looked_at
from getam.outputs.photo_by_photo import GOES_ON
from getam.outputs.progress import progress, say
from getam.pipeline import Pipeline
from getam.verbs.label_on_ray.cluster import cluster, import_ray, workers_of
from getam.verbs.label_on_ray.folder import Asked, Photo, RayFolder
from getam.verbs.label_on_ray.worker import Done, LabelWorker, Plan, Task, open_saliency, read_pixels
from getam.verbs.loading import load_and_say
from getam.verbs.tags_to_mask import NetworkSource, call_of, check_tags

A_TASK = 64  # photos, at most, that are given out at once, and again where their worker dies
TASKS_A_WORKER = (
    8  # at least, where there are photos enough: the slowest worker keeps the others waiting for less
)
TRIES = 10  # of a task whose worker dies: a photo that kills every worker must come to an end


def label_with_ray(
    asked: Asked, origin: NetworkSource, pipeline: Pipeline, source: Path | str | None
) -> Path:
    """Label photos in many processes; a call that is repeated does what is left.

    Args:
        asked: of the command line.
        origin, pipeline: what makes the masks.
        source: of the saliency maps, as `source_of` says; None for none.

    Returns:
        The folder of the masks, as it was given.

    Raises:
        InputError, SkippedError, CaptureError: as `getam label`.
    """
    import_ray()  # before anything is read
    if asked.device.startswith("cuda:"):
        raise InputError(
            f"--device {asked.device} with --engine ray: Ray gives each worker a GPU of its own, say cuda"
        )
    net = origin.open()  # to be asked: the photos are for the workers, who have their own
    provider = None if source is None or Path(source).exists() or str(source) not in MADE else str(source)
    classes, photos = _photos(asked, net, source if provider is None else None)
    if (
        provider is not None
        and str(asked.saliency) == AUTO_PROVIDER
        and _says_nothing(provider, photos, net, origin)
    ):
        source = provider = None
    check_tags(classes, (photo.tags for photo in photos), net, pipeline, saliency=source is not None)
    call = call_of(origin, pipeline, asked.data, source, asked.words)
    with RayFolder(asked, photos, call) as folder:
        folder.begin(net.classes)
        plan = Plan(origin, pipeline, provider, asked.device)
        skipped = _run(folder, plan, asked)
        folder.finish(skipped, net.classes)
    return asked.out


def _photos(asked: Asked, net: Network, maps: Path | str | None) -> tuple[tuple[str, ...], tuple[Photo, ...]]:
    """Names of all tags, and the photos; `maps` is the folder of their saliency maps."""
    data, tags = place_of(asked.data), asked.words or asked.tags
    known: dict[str, Any] = {"format": asked.format, "classes": asked.classes, "class_map": asked.class_map}
    if not is_remote(data):
        here = asked.data if asked.data.exists() else Path(data)
        collection = load_and_say(here, tags, split=asked.split, saliency=maps, known=net.classes, **known)
        return collection.classes, tuple(map(_local, collection.samples))
    if asked.split is not None:
        raise InputError(
            f"--split is for folders of this machine: give tags of these photos alone for {data}"
        )
    found = remote_collection(
        data, tags, saliency=None if maps is None else place_of(maps), known=net.classes, **known
    )
    for note in found.notes:
        say(note)
    return found.classes, tuple(map(_remote, found.photos))


def _local(sample: Sample) -> Photo:
    files = [sample.photo] if sample.saliency is None else [sample.photo, sample.saliency]
    places = [place_of(file) for file in files]
    maps = None if sample.saliency is None else places[1]
    return Photo(sample.name, places[0], maps, sample.tags, tuple(map(stamp_of, files)))


def _remote(found: RemotePhoto) -> Photo:
    files = [found.photo] if found.saliency is None else [found.photo, found.saliency]
    maps = None if found.saliency is None else found.saliency.place
    return Photo(found.name, found.photo.place, maps, found.tags, tuple(file.stamp for file in files))


def _says_nothing(provider: str, photos: Sequence[Photo], net: Network, origin: NetworkSource) -> bool:
    """Whether "auto" leaves saliency out, as the plain engine decides: by maps of some photos, which are made here."""
    opened = open_saliency(provider, net, origin)
    assert opened is not None
    mute = []
    for photo in looked_at(photos):
        with suppress(InputError):  # whoever needs the photo says so
            mute.append(is_mute(grey(opened.saliency(read_pixels(photo.place)[0]).cpu().numpy())))
    return left_out(float(np.mean(mute)) if mute else 0.0, AUTO_PROVIDER)


def _run(folder: RayFolder, plan: Plan, asked: Asked) -> dict[str, InputError]:
    """Do what is to do; name of a photo that was skipped → why."""
    skipped: dict[str, InputError] = {}
    tasks, receipts, mute = folder.tasks, folder.receipts, 0
    if not tasks:
        return skipped
    file = plan.origin.file()
    weights = None if file is None else file.read_bytes()
    most = workers_of(asked.workers, os.cpu_count() or 1)[1]
    with (
        cluster(asked.ray_address, workers=most, weights=len(weights or b"")) as ray,
        progress("labelling", folder.already + len(tasks)) as advance,
    ):
        try:
            for count, done in enumerate(_stream(ray, tasks, plan, weights, asked.workers), start=1):
                if not done.error:
                    receipts.add(done)
                    mute += done.mute
                elif asked.on_bad_image == "fail":
                    raise InputError(f"{done.error.rstrip('.')}; {GOES_ON}")
                else:
                    skipped[done.name] = InputError(done.error)
                advance(folder.already + count, done.name)
        except ray.exceptions.RayError as error:
            raise _failed(error) from error
        finally:
            receipts.write()
    if plan.provider is not None and str(asked.saliency) != AUTO_PROVIDER:
        left_out(mute / max(1, len(tasks) - len(skipped)), plan.provider)
    return skipped


def _stream(
    ray: ModuleType, tasks: Sequence[Task], plan: Plan, weights: bytes | None, workers: str | None
) -> Iterator[Done]:
    """What came of each task, as workers are done, in no order."""
    there = ray.cluster_resources()
    kind = "GPU" if plan.device == "cuda" or (plan.device == AUTO and there.get("GPU", 0) >= 1) else "CPU"
    least, most = workers_of(workers, int(there.get(kind, 0)))
    size = max(1, min(A_TASK, len(tasks) // (TASKS_A_WORKER * most)))
    rows = ray.data.from_items(
        [{"task": json.dumps(asdict(task))} for task in tasks],
        override_num_blocks=math.ceil(len(tasks) / size),
    )
    done = rows.map_batches(
        RayWorker,
        fn_constructor_args=(plan, ray.put(weights)),
        batch_size=None,
        batch_format="numpy",
        compute=ray.data.ActorPoolStrategy(min_size=least, max_size=most),
        num_cpus=1,
        num_gpus=int(kind == "GPU"),
        max_restarts=-1,
        max_task_retries=TRIES,
    )
    for row in done.iter_rows():
        yield Done(**json.loads(row["done"]))


class RayWorker:
    """A `LabelWorker` as Ray Data calls it: columns of JSON in, columns of JSON out.

    Args:
        plan: of the call.
        weights: Ray's reference of the weights' content.
    """

    def __init__(self, plan: Plan, weights: Any) -> None:
        import ray

        self._worker = LabelWorker(plan, ray.get(weights))

    def __call__(self, batch: dict[str, Any]) -> dict[str, list[str]]:
        """{"task": …} → {"done": …}, in any order."""
        tasks = [Task(**{**found, "tags": tuple(found["tags"])}) for found in map(json.loads, batch["task"])]
        return {"done": [json.dumps(asdict(done)) for done in self._worker(tasks)]}


def _failed(error: BaseException) -> InputError:
    """One sentence: ours where a worker raised one, else what Ray says last."""
    cause: BaseException | None = error
    while cause is not None and not isinstance(cause, (GetamError, OSError)):
        cause = getattr(cause, "cause", None) or cause.__cause__
    said = str(cause or error).strip().splitlines()
    return InputError(
        f"labelling stopped: {said[-1].rstrip('.') if said else type(error).__name__}; what is done is kept, and the "
        "same command does the rest"
    )
