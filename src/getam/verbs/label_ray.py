"""`getam label --engine ray`: many processes, on one machine or many, label photos that may lie in an object store.

Photos go from the store to a worker and masks back: neither passes through the caller or Ray's shared memory, which
hold a row of plain values for each photo. A worker has a few photos in memory, whatever their number. Ray starts
workers anew that die, and gives their photos out again; a mask that is made twice is the same file twice.
"""

from __future__ import annotations

import json
import math
import os
from collections.abc import Iterator, Mapping, Sequence
from contextlib import contextmanager, suppress
from dataclasses import asdict, dataclass
from pathlib import Path
from tempfile import TemporaryDirectory
from types import ModuleType
from typing import Any

import numpy as np

from getam.data.class_map import ClassMap
from getam.data.collection import Sample, names_hash
from getam.data.map_cache import grey
from getam.data.masks import CLASSES_FILE
from getam.data.photos import PROTOCOL
from getam.data.places import exists, inside, is_remote, listing, place_of, read_bytes, stamp_of, write_bytes
from getam.data.remote_collection import RemotePhoto, remote_collection
from getam.engine.device import AUTO
from getam.engine.environment import environment
from getam.errors import GetamError, InputError, SkippedError
from getam.nets.network import Network
from getam.pipeline import Pipeline
from getam.verbs.export_masks import check_export, export
from getam.verbs.first_look import end_with_first_look
from getam.verbs.label_worker import Done, LabelWorker, Plan, Task, open_saliency, read_pixels
from getam.verbs.loading import load_and_say
from getam.verbs.outputs import Job, OutputFolder, in_the_way
from getam.verbs.photo_by_photo import GOES_ON, OnBadImage
from getam.verbs.progress import progress, say
from getam.verbs.ray_cluster import cluster, import_ray, workers_of
from getam.verbs.receipts import Receipts, hash_of, key_of
from getam.verbs.saliency import AUTO_PROVIDER, MADE
from getam.verbs.saliency_source import is_mute, left_out, looked_at
from getam.verbs.tags_to_mask import NetworkSource, call_of, check_tags

A_TASK = 64  # photos, at most, that are given out at once, and again where their worker dies
TASKS_A_WORKER = (
    8  # at least, where there are photos enough: the slowest worker keeps the others waiting for less
)
TRIES = 10  # of a task whose worker dies: a photo that kills every worker must come to an end


@dataclass(frozen=True)
class Photo:
    """One photo of a call, wherever it is.

    Attributes:
        name: what its mask is called.
        place, saliency: where it and its saliency map are.
        tags: names of classes.
        stamps: of these files.
    """

    name: str
    place: str
    saliency: str | None
    tags: tuple[str, ...]
    stamps: tuple[str, ...]


@dataclass(frozen=True)
class Asked:
    """Options of `getam label` that are passed on as they are."""

    data: Path
    tags: Path | None
    words: Path | None
    format: str | None
    classes: tuple[str, ...] | None
    class_map: ClassMap | None
    split: str | None
    out: Path
    to: str | None
    device: str
    on_bad_image: OnBadImage
    overwrite: bool
    workers: str | None
    ray_address: str | None
    saliency: Path | str | None


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
    with _Folder(asked, photos, call) as folder:
        folder.begin(net.classes)
        plan = Plan(origin, pipeline, provider, asked.device)
        skipped = _run(folder, plan, asked)
        folder.finish(skipped, net.classes)
    return asked.out


class _Folder:
    """The folder of the masks: of this machine, or of a store, whose small files are made beside and then sent.

    Raises:
        InputError: as `OutputFolder`.
    """

    def __init__(self, asked: Asked, photos: Sequence[Photo], call: Mapping[str, Any]) -> None:
        self._asked, self._photos, self._call = asked, photos, call
        self.place = place_of(asked.out)
        self._remote, self._far = is_remote(self.place), is_remote(place_of(asked.data))
        if asked.to is not None and (self._remote or self._far):
            raise InputError(
                f"--to {asked.to} reads masks and photos of this machine: call getam convert on a copy of them"
            )
        self._beside = TemporaryDirectory()
        self._folder = OutputFolder(
            self._beside.name if self._remote else self.place, [self._job(photo) for photo in photos], call,
            overwrite=True,  # what is in the way is decided by receipts
        )  # fmt: skip
        there = listing(self.place)
        names = names_hash(photo.name for photo in photos)
        whole = hash_of({**call, "versions": environment()["versions"]})
        self.receipts = Receipts(self.place, whole, names, there)
        self._written_before = CLASSES_FILE in there
        self.tasks: list[Task] = []
        for photo in photos:
            mask, key = f"{photo.name}.png", key_of(whole, photo.name, photo.tags, photo.stamps)
            if self.receipts.has(key, mask):
                continue
            if mask in there and not asked.overwrite and not self.receipts.ours(photo.name, mask):
                raise in_the_way(inside(self.place, mask))
            where = inside(self.place, mask)
            self.tasks.append(Task(photo.name, key, photo.place, where, photo.tags, photo.saliency))
        self.already = len(photos) - len(self.tasks)

    def __enter__(self) -> _Folder:
        try:
            self._folder.__enter__()
        except BaseException:
            self._beside.cleanup()
            raise
        return self

    def __exit__(self, *_: object) -> None:
        self._folder.__exit__()
        self._beside.cleanup()

    def begin(self, classes: Sequence[str]) -> None:
        """Write classes.txt, or check the one that is there, and that the call is begun."""
        check_export(self._folder, classes, self._asked.to, overwrite=True)
        if self._remote and self._written_before:
            content = read_bytes(inside(self.place, CLASSES_FILE))
            write_bytes(str(self._folder.path / CLASSES_FILE), content)
        with self._by_its_name():
            self._folder.classes(classes)
        if self._remote:
            self._send(CLASSES_FILE)
        self.receipts.note(self._call, finished=False)

    def finish(self, skipped: Mapping[str, InputError], classes: Sequence[str]) -> None:
        """The first look where photos and masks are here, and a line in the protocol.

        Raises:
            SkippedError: something was skipped.
        """
        if not self._remote and not self._far:
            numbers = {name: number for number, name in enumerate(classes)}
            tags = {photo.name: [numbers[tag] for tag in photo.tags] for photo in self._photos}
            end_with_first_look(self._folder, classes, skipped=skipped, tags=tags)
            export(self._folder, classes, self._asked.to, skipped=skipped)
        if self._remote and exists(inside(self.place, PROTOCOL)):
            write_bytes(str(self._folder.path / PROTOCOL), read_bytes(inside(self.place, PROTOCOL)))
        try:
            with self._by_its_name():
                self._folder.finish(
                    skipped, split=self._asked.split, split_sha256=names_hash(p.name for p in self._photos),
                    tags_at_test_time=True, engine="ray",
                )  # fmt: skip
        finally:
            if self._remote:
                self._send(PROTOCOL)
        self.receipts.note(self._call, finished=True)

    def _job(self, photo: Photo) -> Job:
        files = () if self._far else tuple(Path(p) for p in (photo.place, photo.saliency) if p is not None)
        return Job(photo.name, (f"{photo.name}.png",), files, facts=";".join(photo.tags))

    def _send(self, name: str) -> None:
        write_bytes(inside(self.place, name), (self._folder.path / name).read_bytes())

    @contextmanager
    def _by_its_name(self) -> Iterator[None]:
        """Messages name the folder that was asked for, not the one beside."""
        try:
            yield
        except (InputError, SkippedError) as error:
            raise type(error)(str(error).replace(str(self._folder.path), self.place)) from error


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


def _run(folder: _Folder, plan: Plan, asked: Asked) -> dict[str, InputError]:
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
