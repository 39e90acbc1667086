"""What a verb is to do: a collection, how its tags were understood said on stderr, and the jobs of photos."""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path
from typing import Any

from getam.data.collection import Collection, Sample, load_collection
from getam.data.photo_folder import left_out, photo_names, search_photos
from getam.errors import InputError
from getam.outputs.folder import Job
from getam.outputs.progress import say


def load_and_say(*given: Any, **options: Any) -> Collection:
    """`getam.data.collection.load_collection`, its notes on stderr, a line each: stdout is for results."""
    collection = load_collection(*given, **options)
    for note in collection.notes:
        say(note)
    return collection


def photo_jobs(photos: Path | str, out: Path | str, suffix: str = ".png") -> list[Job]:
    """A photo, or those of a folder without `out`, each with one result, called like the photo's path in the folder.

    Photos of the folder that cannot be read are said on stderr.
    """
    files, unread = search_photos(photos, leave_out=out)
    for line in left_out(unread):
        say(line)
    names = photo_names(files, Path(photos))
    return [Job(name, (f"{name}{suffix}",), (file,)) for name, file in zip(names, files, strict=True)]


def tagged_job(sample: Sample) -> Job:
    """The mask of one photo, what it is read from, and by which tags."""
    sources = (sample.photo,) if sample.saliency is None else (sample.photo, sample.saliency)
    unknown = "".join(f";?{name}" for name in sample.unknown)
    return Job(sample.name, (f"{sample.name}.png",), sources, facts=";".join(sample.tags) + unknown)


def require_known(tags: Sequence[str], classes: Sequence[str]) -> None:
    """Raise `InputError` where a tag is none of the classes of a model."""
    unknown = [name for name in tags if name not in classes]
    if unknown:
        raise InputError(
            f"the model does not know the tag {unknown[0]!r}: it knows {', '.join(classes)}; --classes takes some tags "
            "only, --map renames or drops them"
        )


def require_background(collection: Collection) -> None:
    """Raise `InputError` where no class of the true masks counts as background."""
    if collection.void and not collection.background:
        raise InputError(
            "the true masks have no background (their classes.txt begins with 'void'): name the classes that count as"
            f" background with --background, of {', '.join(collection.mask_classes)}"
        )
