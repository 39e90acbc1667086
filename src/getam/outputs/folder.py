"""Where verbs put their results: nothing overwritten unasked, no photo ever, and an unfinished call can go on."""

from __future__ import annotations

import json
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass
from datetime import UTC, datetime
from pathlib import Path
from typing import Any

from getam.data.masks import CLASSES_FILE, read_classes, write_classes
from getam.data.photo_folder import PROTOCOL
from getam.data.tars import on_disk
from getam.engine.environment import environment
from getam.engine.ranks import world
from getam.errors import InputError, SkippedError
from getam.outputs.progress import say
from getam.outputs.shards import Shard, hold
from getam.outputs.unfinished import Unfinished
from getam.whole_files import PARTIAL, append_line, write_atomically

Identity = tuple[int, int]


@dataclass(frozen=True)
class Job:
    """What is made of one photo.

    Attributes:
        name: of the photo, and what its results begin with.
        results: files that will be written, relative to the folder, as far as that is known beforehand.
        sources: files that are read for it, the photo first; one may lie inside a tar.
        facts: what else decides on these results and not on those of other photos: its tags.
    """

    name: str
    results: tuple[str, ...]
    sources: tuple[Path, ...]
    facts: str = ""


class OutputFolder:
    """A folder of results, checked before the work starts.

    A call that stops, whatever stops it, leaves a list of what it has done (`getam.outputs.unfinished`): the same call
    again, with the same weights and versions, does the rest only. Several processes may each do their shard of it.

    It is opened by `with`, and then no other process does the same work until the end of the block.

    Args:
        out: the folder; made when it is opened.
        jobs: everything the call makes.
        call: what decides on all results: "verb", "weights_sha256", "options".
        overwrite: allow files that exist.
        shard: this process's part of the jobs; None: all of them, and the end.

    Attributes:
        path: the folder.
        jobs: as given.
        shard: as given.
        mine: the jobs of this shard.
        todo: those of them that no earlier call and no other shard has made already.
        begun: whether results of the call have been made before.
        read: identities of the files that are read, which nothing may be written over.

    Raises:
        InputError: `out` is a file, two results would have one name, or a result would be written over a file that is
            read; when it is opened, a result exists and `overwrite` is off, or another process is at the same work.
    """

    def __init__(
        self,
        out: Path | str,
        jobs: Sequence[Job],
        call: Mapping[str, Any],
        *,
        overwrite: bool,
        shard: Shard | None = None,
    ) -> None:
        self.path = Path(out)
        self.jobs = tuple(jobs)
        self.shard = shard
        self.mine = self.jobs if shard is None else tuple(shard.part(self.jobs))
        self.todo: tuple[Job, ...] = ()
        self.begun = False
        self.read = identities(source for job in self.jobs for source in job.sources)
        self._call = json.loads(json.dumps(dict(call), default=str))  # as JSON gives it back
        self._overwrite = overwrite
        seen: set[str] = set()
        for file in (file for job in self.jobs for file in job.results):
            if file in seen:
                raise InputError(
                    f"two results would both be written to {self.path / file}: rename one of the photos"
                )
            seen.add(file)
            refuse_input(self.path / file, self.read)

    def __enter__(self) -> OutputFolder:
        self._held = hold(self.path, self.shard)
        try:
            call = {**self._call, "versions": environment()["versions"]}
            self._unfinished = before = Unfinished(self.path, call, self.shard)
            self.begun = before.begun
            self.todo = tuple(
                job for job in self.mine if not before.has(job.results[0], job.sources, job.facts)
            )
            for file in (file for job in self.todo for file in job.results):
                if not self._overwrite and (self.path / file).exists() and not before.wrote(file):
                    raise in_the_way(self.path / file)
        except BaseException:
            self._held.close()
            raise
        return self

    def __exit__(self, *_: object) -> None:
        self._held.close()

    def classes(self, classes: Sequence[str]) -> None:
        """Write classes.txt, or check that the one there says the same."""
        if (self.path / CLASSES_FILE).is_file():
            before = read_classes(self.path)
            if before != tuple(classes):
                raise InputError(
                    f"{self.path} holds masks of the classes {', '.join(before)}, not {', '.join(classes)}: "
                    "choose another --out"
                )
            return
        write_classes(self.path, classes)

    def write(self, job: Job, contents: Mapping[str, bytes]) -> None:
        """Write all results of a job: relative path → content.

        Raises:
            InputError: one would be written over a file that is read.
        """
        for file in contents:
            refuse_input(self.path / file, self.read)
        self._unfinished.begin(job.results[0], job.sources, job.facts, contents)
        for file, content in contents.items():
            write_atomically(self.path / file, content)

    def leave(self, skipped: Mapping[str, InputError]) -> Path:
        """What a shard ends with, the others being at work still: says what it did, and what ends the call.

        Args:
            skipped: name of a photo of the shard that could not be read → why. The end of the call tries it again, and
                names it in the protocol.

        Returns:
            The folder.
        """
        if world() > 1:  # the first of several that torchrun started ends the call by itself
            return self.path
        for error in skipped.values():
            say(f"left out: {error}")
        say(
            f"shard {self.shard} has done its {len(self.mine) - len(skipped)} of {len(self.jobs)} photos; when all "
            "shards have ended, the same command without --shard does what is left and ends the call"
        )
        return self.path

    def finish(self, skipped: Mapping[str, InputError], **facts: Any) -> None:
        """Append what was done, with which options and versions, to the protocol, as one line; tidy up.

        Args:
            skipped: name of a photo that could not be read → why.
            facts: further entries of the line.

        Raises:
            SkippedError: something was skipped. The same call will try it again.
        """
        record = {
            "verb": self._call["verb"],
            "finished": datetime.now(UTC).isoformat(timespec="seconds"),
            "photos": len(self.jobs) - len(skipped),
            **({"skipped": list(skipped)} if skipped else {}),
            **facts,
            **self._call,
            "environment": environment(),
        }
        # left half written by processes that were killed; all that live are kept out
        for place in {(self.path / file).parent for job in self.jobs for file in job.results} | {self.path}:
            for left in place.glob(f".*{PARTIAL}"):
                left.unlink(missing_ok=True)
        append_line(self.path / PROTOCOL, json.dumps(record, default=str))
        if skipped:
            raise SkippedError(
                f"{len(skipped)} of {len(self.jobs)} photos were left out (all are named in {self.path / PROTOCOL}; "
                f"mend them, and the same command does the rest): {next(iter(skipped.values()))}"
            )
        self._unfinished.forget()


def in_the_way(file: Path | str) -> InputError:
    """What is raised where a result would replace a file that this call has not made."""
    return InputError(f"{file} exists: choose another --out, or replace it with --overwrite")


def refuse_input(path: Path, read: frozenset[Identity]) -> None:
    """Raises `InputError` where a result at `path` would be written over one of the files that are read."""
    if identities([path]) & read:
        raise InputError(f"{path} is read here and would be written over: choose another --out")


def identities(files: Iterable[Path]) -> frozenset[Identity]:
    """Device and inode of those files that exist: equal for one file, whatever links or spellings lead there."""
    return frozenset(
        (found.st_dev, found.st_ino)
        for found in (file.stat() for file in dict.fromkeys(map(on_disk, files)) if file.exists())
    )
