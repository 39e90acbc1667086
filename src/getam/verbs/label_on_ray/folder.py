"""Where `getam label --engine ray` writes: a folder of masks, here or in a store, and what is left to do in it."""

from __future__ import annotations

from collections.abc import Iterator, Mapping, Sequence
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path
from tempfile import TemporaryDirectory
from typing import Any

from getam.data.class_map import ClassMap
from getam.data.collection import names_hash
from getam.data.masks import CLASSES_FILE
from getam.data.photo_folder import PROTOCOL
from getam.data.places import exists, inside, is_remote, listing, place_of, read_bytes, write_bytes
from getam.engine.environment import environment
from getam.errors import InputError, SkippedError
from getam.outputs.folder import Job, OutputFolder, in_the_way
from getam.outputs.photo_by_photo import OnBadImage
from getam.verbs.export_masks import check_export, export
from getam.verbs.first_look import end_with_first_look
from getam.verbs.label_on_ray.receipts import Receipts, hash_of, key_of
from getam.verbs.label_on_ray.worker import Task


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


class RayFolder:
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

    def __enter__(self) -> RayFolder:
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
            end_with_first_look(self._folder, classes, skipped=skipped, tags=tags, kind="pseudo_label")
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
